"""A real mosquitto for tests: free loopback port, TLS, passwords, persistence, kill -9 and restart.

Independent of pytest: ``with Mosquitto(tmp_path) as broker: ...``. A missing mosquitto is a failure with the command
that installs it, never a skip.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.programs import find_program, wait_until_it_answers
from tests.support.waiting import WAIT_S


def free_port() -> int:
    """Of those that no outgoing connection is given by itself: it would be taken again before a server has it."""
    while True:
        port = secrets.choice(range(10_000, 32_000))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True)
class TlsFiles:
    """PEM files for one broker and one client, from the same authority."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path


def make_tls_files(directory: Path, server_name: str = "127.0.0.1") -> TlsFiles:
    """A throw-away authority with a server and a client certificate."""
    import trustme

    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    server, client = authority.issue_cert(server_name), authority.issue_cert("device.example")
    files = TlsFiles(
        *(directory / f"{name}.pem" for name in ("ca", "server", "server-key", "client", "client-key"))
    )
    authority.cert_pem.write_to_path(str(files.ca))
    server.cert_chain_pems[0].write_to_path(str(files.server_cert))
    server.private_key_pem.write_to_path(str(files.server_key))
    client.cert_chain_pems[0].write_to_path(str(files.client_cert))
    client.private_key_pem.write_to_path(str(files.client_key))
    return files


class Mosquitto:
    """One broker process. ``start``, ``kill`` (SIGKILL) and ``stop`` may alternate; the port stays the same."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        passwords: dict[str, str] | None = None,
        tls: TlsFiles | None = None,
        wants_client_cert: bool = False,
        is_persistent: bool = False,
        extra: str = "",
    ) -> None:
        self.directory, self.host, self.port = directory, "127.0.0.1", port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        lines = [f"listener {self.port} 127.0.0.1", "set_tcp_nodelay true", "log_dest stderr", "log_type all"]
        if os.getuid() == 0:
            lines.append("user root")  # else it drops to a user who cannot read a test's directory
        if passwords:
            lines += ["allow_anonymous false", f"password_file {self._password_file(passwords)}"]
        else:
            lines.append("allow_anonymous true")
        if tls is not None:
            lines += [f"cafile {tls.ca}", f"certfile {tls.server_cert}", f"keyfile {tls.server_key}"]
            lines.append(f"require_certificate {'true' if wants_client_cert else 'false'}")
        if is_persistent:
            lines += ["persistence true", f"persistence_location {directory}/"]
            lines += ["autosave_on_changes true", "autosave_interval 1"]
        self._config = directory / "mosquitto.conf"
        self._config.write_text("\n".join([*lines, extra, ""]))

    def _password_file(self, passwords: dict[str, str]) -> Path:
        path = self.directory / "passwords"
        path.touch(mode=0o600)
        for user, password in passwords.items():
            subprocess.run(
                [find_program("mosquitto_passwd"), "-b", str(path), user, password],
                check=True,
                timeout=WAIT_S,
            )
        return path

    @property
    def log(self) -> str:
        path = self.directory / "mosquitto.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, timeout_s: float = WAIT_S) -> Self:
        """Start and wait until the port answers."""
        with (self.directory / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [find_program("mosquitto"), "-c", str(self._config)], stderr=log, stdout=log
            )
        if not wait_until_it_answers(self._process, self.port, timeout_s):
            self.kill()
            raise RuntimeError(f"mosquitto did not start on port {self.port}:\n{self.log[-2000:]}")
        return self

    def kill(self) -> None:
        """SIGKILL: nothing is saved, no goodbye."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: saves its database when it is persistent."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP: the connections stand, none is answered."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(with_signal)
            process.wait(WAIT_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
