"""The operator's machine: ``mosquitto-clients``, openssl, and Python with ``joserfc`` and ``paho``; nothing of ours."""

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.commands.remote.machines import Machine
from benchmarks.commands.remote.page import block

_LIBRARIES = ("joserfc", "paho", "cryptography", "cffi", "_cffi_backend", "pycparser")
"""The two that docs/commands.md names, and what they need."""
BROKER = ("-h", "broker.example", "-p", "8883", "-V", "5")
"""Options of the mosquitto clients."""
ROLES = {"anna": "operator", "plant": "owner", "panel": "viewer", "mallory": ""}
"""Keys of the trial; the last one is known to no box."""


class NotAnswered(Exception):
    """No answer came; the text is what the client said."""


class Office:
    """Commands a box with the text of docs/commands.md."""

    def __init__(self, machine: Machine, device: str, ca: Path, password: str) -> None:
        """Make the keys as the page says."""
        self._machine, self._device = machine, device
        self._where = {"HOST": "broker.example", "PORT": "8883", "DEVICE": device}
        self._folder, self._password, self._authority = machine.folder, password, f"--cafile {ca}"
        self._shell, self._python = block("commands.md", "mosquitto_rr"), self._make_python(ca)
        (self._folder / "lib").mkdir()
        for name in _LIBRARIES:
            self._link(name)
        self.key_ids = {name: self._make_key(name) for name in ROLES}
        self._log_in("anna", password, self._authority)

    def _make_key(self, name: str) -> str:
        made = self._machine.do("bash", "-euc", block("commands.md", "openssl genpkey"))
        for ending in ("", ".pub"):
            (self._folder / f"anna{ending}").rename(self._folder / f"key-{name}{ending}")
        return made

    def public_key(self, name: str) -> bytes:
        """The half that the boxes get."""
        return (self._folder / f"key-{name}.pub").read_bytes()

    def _link(self, name: str) -> None:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            return  # not every version of the others needs it
        origin = Path(found.origin)
        source = origin.parent if found.submodule_search_locations else origin
        (self._folder / "lib" / source.name).symlink_to(source)

    def _make_python(self, ca: Path) -> str:
        """The page's, with the two lines for TLS and password that it names."""
        text = block("commands.md", "import paho")
        more = f"client.tls_set({str(ca)!r})\nclient.username_pw_set('anna', {self._password!r})\n"
        return text.replace("client.connect(", f"{more}client.connect(")

    def _log_in(self, user: str, password: str, authority: str) -> None:
        """What the mosquitto clients use from now on."""
        folder = self._folder / ".config"
        folder.mkdir(exist_ok=True)
        for name in ("mosquitto_rr", "mosquitto_pub", "mosquitto_sub"):
            (folder / name).write_text(f"{authority}\n-u {user}\n-P {password}\n")

    @contextmanager
    def logged_in(self, user: str, password: str, authority: str | None = None) -> Iterator[None]:
        """As another user while the context lasts; ``authority`` is the option that names the authority to trust."""
        self._log_in(user, password, authority or self._authority)
        try:
            yield
        finally:
            self._log_in("anna", self._password, self._authority)

    def send(
        self,
        verb: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str = "anna",
        wait_s: int = 70,
        answer_to: str = "edge/$DEVICE/response/mine",
    ) -> dict[str, Any]:
        """The answer to a command from the shell, with the text of the page but for these two.

        Raises:
            NotAnswered: there was none.
        """
        given = {
            **self._where, "VERB": verb, "ARGUMENTS": json.dumps(arguments or {}),
            "KEY": f"key-{key}", "KEY_ID": self.key_ids[key],
        }  # fmt: skip
        text = self._shell.replace("-W 70", f"-W {wait_s}").replace("edge/$DEVICE/response/mine", answer_to)
        done = self._machine.run("bash", "-euc", text, env=given, timeout_s=wait_s + 60.0)
        return _read(done.stdout, done.stderr, done.returncode)

    def upload(self, archive: Path, *, key: str) -> dict[str, Any]:
        """The answer to an installation in chunks.

        Raises:
            NotAnswered: there was none.
        """
        (self._folder / "command.sh").write_text(self._shell)
        given = {**self._where, "KEY": f"key-{key}", "KEY_ID": self.key_ids[key], "FILE": str(archive)}
        done = self._machine.run("bash", "-euc", block("commands.md", "split -b"), env=given)
        return _read(done.stdout, done.stderr, done.returncode)

    def send_by_python(
        self, verb: str, arguments: Mapping[str, Any] | None = None, *, key: str = "anna"
    ) -> dict[str, Any]:
        """The same from Python.

        Raises:
            NotAnswered: there was no answer.
        """
        to = (self._device, verb, json.dumps(arguments or {}), "broker.example", "8883")
        command = ("timeout", "70", sys.executable, "-S", "-c", self._python, f"key-{key}", *to)
        done = self._machine.run(*command, env={"PYTHONPATH": str(self._folder / "lib")})
        return _read(done.stdout, done.stderr, done.returncode)

    def ask(self, topic: str, answer_topic: str, payload: str = "{}", *, wait_s: int = 4) -> dict[str, Any]:
        """The answer to any payload on any topic, by ``mosquitto_rr``.

        Raises:
            NotAnswered: there was none.
        """
        how = (*BROKER, "-q", "1", "-W", str(wait_s))
        done = self._machine.run("mosquitto_rr", *how, "-t", topic, "-e", answer_topic, "-m", payload)
        return _read(done.stdout, done.stderr, done.returncode)

    def hear(self, topic: str, *options: str, wait_s: int = 10) -> str:
        """The first message on a topic.

        Raises:
            NotAnswered: none came in time.
        """
        done = self._machine.run(
            "mosquitto_sub", *BROKER, "-W", str(wait_s), *options, "-t", topic, "-C", "1"
        )
        if not done.stdout:
            raise NotAnswered(done.stderr.strip() or f"nothing on {topic}")
        return done.stdout

    def run(self, *words: str) -> str:
        """What any program of this machine prints, errors included."""
        done = self._machine.run(*words)
        return done.stdout + done.stderr


def _read(output: str, errors: str, code: int) -> dict[str, Any]:
    if not output.strip():
        raise NotAnswered(errors.strip()[-300:] or f"no answer, exit code {code}")
    found: dict[str, Any] = json.loads(output)
    return found
