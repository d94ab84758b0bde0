"""What others try, and that nothing comes of it."""

from collections.abc import Callable
from typing import Any

from benchmarks.commands.remote.checks import Place, Wrong, require
from benchmarks.commands.remote.office import BROKER, NotAnswered
from benchmarks.commands.remote.site import BOX_ADDRESS, DEVICE

Step = Callable[[], str]


class BadSteps:
    """Each step gives how it failed, as a row of the table."""

    def __init__(self, place: Place) -> None:
        self._hub, self._office, self._box = place.hub, place.office, place.box

    def reach_directly(self) -> str:
        """There is no way to the box but the broker."""
        address = f"http://{BOX_ADDRESS}:8080/status"
        said = self._office.run("curl", "-sS", "--max-time", "3", address).strip()
        require(said.startswith("curl: "), said)
        return said

    def trust_another(self) -> str:
        """A client that does not know the broker's authority sends it no password."""
        login = ("--tls-use-os-certs", "-u", "anna", "-P", self._hub.password("anna"))
        with self._office.logged_in("anna", self._hub.password("anna"), "--tls-use-os-certs"):
            said = self._office.run("mosquitto_pub", *BROKER, *login, "-t", "edge/x", "-m", "x").strip()
        require("tls" in said.lower(), said or "published")
        return said.splitlines()[-1]

    def log_in_as(self, user: str, password: str) -> Step:
        """A command of a user whom the broker does not let in, or does not let command."""

        def act() -> str:
            with self._office.logged_in(user, password):
                return self._without_answer(lambda: self._office.send("status", key="panel", wait_s=4))

        return act

    def publish(self, user: str, topic: str) -> Step:
        """Only a device itself may speak for it."""

        def act() -> str:
            login = ("-u", user, "-P", self._hub.password(user))
            said = self._office.run(
                "mosquitto_pub", *BROKER, "-q", "1", *login, "-t", topic, "-m", "{}"
            ).strip()
            require("not authorized" in said.lower(), said or "published")
            return said

        return act

    def eavesdrop(self) -> str:
        """Who may command may not see the results."""
        return self._without_answer(lambda: {"heard": self._office.hear(f"edge/{DEVICE}/result/#", wait_s=4)})

    def command(self, verb: str, key: str, arguments: dict[str, Any] | None = None) -> Step:
        """The box says no, whatever the broker let through."""
        return lambda: self._refused(lambda: self._office.send(verb, arguments, key=key, wait_s=10))

    def command_unsigned(self) -> str:
        """A JSON object instead of a signed request."""
        topics = f"edge/{DEVICE}/request/rollback", f"edge/{DEVICE}/response/mine"
        return self._refused(lambda: self._office.ask(*topics))

    def answer_as_another(self) -> str:
        """The box answers on no other device's topic."""
        before = self._box.status()["broker"]["commands"]["redirected"]
        other = "edge/belt-4/response/mine"
        self._without_answer(lambda: self._office.send("status", key="panel", wait_s=4, answer_to=other))
        redirected = self._box.status()["broker"]["commands"]["redirected"] - before
        require(redirected == 1, redirected)
        return "nothing there; answered on its own topic, counted as redirected"

    def _refused(self, send: Callable[[], dict[str, Any]]) -> str:
        before = self._box.changes()
        answer = send()
        require(answer["status"] == "error" and self._box.changes() == before, answer)
        return str(answer["error"])

    def _without_answer(self, send: Callable[[], dict[str, Any]]) -> str:
        before = self._box.changes()
        try:
            answer = send()
        except NotAnswered as err:
            require(self._box.changes() == before, "a change was obeyed")
            return str(err)
        raise Wrong(f"answered: {answer}")
