"""A box is commanded from another machine, over TLS with password and access rules, by stock tools alone.

``python -m benchmarks run commands-remote``, as root. Three machines, which are network namespaces: *box* and *office*
each have a cable to *hub* and none to each other, so that every effect came over the broker. The texts are those of
docs/operations.md (broker, access rules) and docs/commands.md (keys, shell, Python). After each command the trial looks
at its effect: on the box itself, and on the topics.
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.commands.remote.machines import Unusable, connect, machines, require_programs
from benchmarks.commands.remote.office import NotAnswered, Office
from benchmarks.commands.remote.site import NAME, EdgeBox, Hub

DEVICE, HAZE = "belt-3", {"drift": "haze", "drift_at_s": 0}
SETTLING_S = 12.0
"""So many new pictures fill the reference set, at 10 frames/s."""


class Wrong(Exception):
    """A command had another answer or effect than it should have."""


@dataclass
class Trial:
    """What was done, and what came of it."""

    hub: Hub
    office: Office
    box: EdgeBox
    rows: list[tuple[str, str, float]] = field(default_factory=list)
    faults: int = 0

    def step(self, what: str, act: Callable[[], str]) -> None:
        """One row of the table; a fault does not end the trial."""
        began_s = time.monotonic()
        try:
            seen = act()
        except (Wrong, NotAnswered, Unusable) as err:
            self.faults += 1
            seen = f"WRONG: {err}"
        self.rows.append((what, seen, time.monotonic() - began_s))
        click.echo(f"{time.monotonic() - began_s:6.1f} s  {what}: {seen}")

    # ---- what an operator does ------------------------------------------------------------------------------

    def ask_status(self) -> str:
        """A viewer's question, from Python."""
        data = _good(self.office.send_by_python("status", key="panel"))
        _require(data["models"]["parts"]["generation"] == f"{NAME}/1", data["models"])
        return f"{len(json.dumps(data))} bytes, {data['models']['parts']['generation']}"

    def commission(self) -> str:
        """The baseline that a recalibration needs."""
        _good(self.office.send("commission", {"model": "parts"}))
        found = self.box.wait(lambda now: _part(now)["baselines"])
        return f"baseline {', '.join(_part(found)['baselines'])}"

    def let_haze_come(self) -> str:
        """By the configuration of the demo's camera, since there is no lens to breathe on."""
        answer = _good(self.office.send("set-config", {"set": {"cameras.belt.demo": HAZE}}, key="plant"))
        found = self.box.wait(lambda now: (_part(now)["drift"]["score"] or 0) > 1)
        time.sleep(SETTLING_S)
        return f"{answer['outcome']}; drift score {_part(found)['drift']['score']:.1f}"

    def recalibrate(self) -> str:
        """For real: the results are those of the patched model."""
        _good(self.office.send("recalibrate", {"model": "parts"}))
        found = self.box.wait(
            lambda now: _part(now)["accepted"] + _part(now)["refused"] + _part(now)["failed"]
        )
        _require(_part(found)["accepted"] == 1, _part(found)["last_report"])
        return self._answers_as(f"{NAME}/1+p1")

    def roll_back(self) -> str:
        """The results are those of the model without its patch."""
        _good(self.office.send_by_python("rollback", {"model": "parts"}))
        return self._answers_as(f"{NAME}/1")

    def edit(self) -> str:
        """First dry."""
        values = {"set": {"cameras.belt.fps": 4}}
        outcome = _good(self.office.send("set-config", {**values, "dry_run": True}, key="plant"))["outcome"]
        _require(outcome == "checked" and self._fps() == 10, outcome)
        outcome = _good(self.office.send("set-config", values, key="plant"))["outcome"]
        _require(outcome == "in_force" and self._fps() == 4, outcome)
        return "checked, then in force: fps 10 -> 4"

    def undo(self) -> str:
        """The edit before."""
        outcome = _good(self.office.send("undo-config", key="plant"))["outcome"]
        _require(outcome == "in_force" and self._fps() == 10, outcome)
        return "in force: fps 4 -> 10"

    def _fps(self) -> float:
        text = _good(self.office.send("get-config"))["text"]
        return float(yaml.safe_load(text)["cameras"]["belt"]["fps"])

    def _answers_as(self, generation: str) -> str:
        """Wait until the status has it; the next result then has it as well, as somebody at the office sees."""
        self.box.wait(lambda now: now["models"]["parts"]["generation"] == generation)
        self.office.hear(f"edge/{DEVICE}/result/belt", *self._panel())  # one may have been under way
        result = json.loads(self.office.hear(f"edge/{DEVICE}/result/belt", *self._panel()))
        _require(result["generation"] == generation, result)
        return f"results of {generation}"

    def _panel(self) -> tuple[str, ...]:
        return ("-u", "panel", "-P", self.hub.password("panel"))

    # ---- what others try ------------------------------------------------------------------------------------

    def break_in(self, user: str, password: str) -> Callable[[], str]:
        """The broker lets nobody in with a wrong password."""

        def act() -> str:
            self.office.log_in(user, password)
            try:
                return self._without_answer(lambda: self.office.send("status", key="panel", wait_s=4))
            finally:
                self.office.log_in("anna", self.hub.password("anna"))

        return act

    def publish(self, user: str, topic: str) -> Callable[[], str]:
        """Nobody speaks for a device but itself."""

        def act() -> str:
            login = ("-u", user, "-P", self.hub.password(user))
            to = ("-h", "broker.example", "-p", "8883", "-V", "5", "-q", "1", *login, "-t", topic, "-m", "{}")
            said = self.office.run("mosquitto_pub", *to).strip()
            _require("not authorized" in said.lower(), said or "published")
            return said

        return act

    def eavesdrop(self) -> str:
        """Who may command may not see the results."""
        return self._without_answer(lambda: {"heard": self.office.hear(f"edge/{DEVICE}/result/#", wait_s=4)})

    def refused(self, verb: str, key: str, arguments: dict[str, Any] | None = None) -> Callable[[], str]:
        """The box says no, whatever the broker let through."""
        return lambda: self._refused(lambda: self.office.send(verb, arguments, key=key, wait_s=10))

    def unsigned(self) -> str:
        """A JSON object instead of a signed request."""
        topics = f"edge/{DEVICE}/request/rollback", f"edge/{DEVICE}/response/mine"
        return self._refused(lambda: self.office.ask(*topics))

    def answer_as_another(self) -> str:
        """The box answers on no other device's topic."""
        before = self.box.status()["broker"]["commands"]["redirected"]
        self._without_answer(
            lambda: self.office.send("status", key="panel", wait_s=4, answer_to="edge/belt-4/response/mine")
        )
        redirected = self.box.status()["broker"]["commands"]["redirected"] - before
        _require(redirected == 1, redirected)
        return "nothing there; answered on its own topic, counted as redirected"

    def _refused(self, send: Callable[[], dict[str, Any]]) -> str:
        before = self._changes()
        answer = send()
        _require(answer["status"] == "error" and self._changes() == before, answer)
        return str(answer["error"])

    def _without_answer(self, send: Callable[[], dict[str, Any]]) -> str:
        before = self._changes()
        try:
            answer = send()
        except NotAnswered as err:
            _require(self._changes() == before, "a change was obeyed")
            return str(err)
        raise Wrong(f"answered: {answer}")

    def _changes(self) -> int:
        """Lines of the box's account of who did what."""
        return self.box.changes()


def _part(status: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = status["models"]["parts"]["recalibration"]
    return found


def _good(answer: dict[str, Any]) -> dict[str, Any]:
    _require(answer["status"] == "ok", answer)
    data: dict[str, Any] = answer["data"]
    return data


def _require(is_so: object, found: object) -> None:
    if not is_so:
        raise Wrong(str(found)[:1000])


def _run(trial: Trial) -> None:
    step = trial.step
    step("status (viewer, Python)", trial.ask_status)
    step("commission (operator, shell)", trial.commission)
    step("set-config: haze comes (owner, shell)", trial.let_haze_come)
    step("recalibrate (operator, shell)", trial.recalibrate)
    step("rollback (operator, Python)", trial.roll_back)
    step("set-config, dry and real (owner, shell)", trial.edit)
    step("undo-config (owner, shell)", trial.undo)
    step("wrong password", trial.break_in("anna", "guess"))
    step("user without rights", trial.break_in("panel", trial.hub.password("panel")))
    step("operator publishes a result", trial.publish("anna", f"edge/{DEVICE}/result/belt"))
    step("box speaks for another box", trial.publish(DEVICE, "edge/belt-4/event"))
    step("operator listens to results", trial.eavesdrop)
    step("unsigned", trial.unsigned)
    step("unknown key", trial.refused("rollback", "mallory"))
    step("viewer rolls back", trial.refused("rollback", "panel"))
    step("operator edits", trial.refused("set-config", "anna", {"set": {"cameras.belt.fps": 1}}))
    step("answer to another device's topic", trial.answer_as_another)


@click.command()
def main() -> None:
    """Command a box from another machine and print what came of it."""
    knows = {"hub": "127.0.0.1", "box": "10.77.1.1", "office": "10.77.2.1"}
    hosts = {name: {"broker.example": address} for name, address in knows.items()}
    try:
        require_programs()
        with tempfile.TemporaryDirectory(prefix="remote-") as folder, machines(Path(folder), hosts) as made:
            connect(made["box"], "10.77.1.2", made["hub"], knows["box"])
            connect(made["office"], "10.77.2.2", made["hub"], knows["office"])
            hub = Hub(made["hub"], secret="7c1f")
            office = Office(made["office"], DEVICE, hub.ca, hub.password("anna"))
            trial = Trial(hub, office, EdgeBox(made["box"], hub, office))
            _run(trial)
    except Unusable as err:
        raise click.ClickException(str(err)) from err
    click.echo("\n| command | what came of it | s |\n|---|---|---|")
    for what, seen, took_s in trial.rows:
        click.echo(f"| {what} | {seen} | {took_s:.1f} |")
    raise SystemExit(1 if trial.faults else 0)
