"""A real registry for tests: free loopback port, passwords, kill -9 and restart with the same storage.

Independent of pytest: ``with DockerRegistry(folder) as registry: ...``. A missing one is a failure with the command
that installs it.
"""

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.support.mosquitto import free_port
from tests.support.programs import find_program, kill, wait_until_it_answers
from tests.support.waiting import WAIT_S


class DockerRegistry:
    """Debian's docker-registry, stopped by its process id."""

    def __init__(self, folder: Path, *, htpasswd: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.clients = ExitStack()
        """Closed at the end."""
        self._process: subprocess.Popen[bytes] | None = None
        settings: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(folder / "storage")},
                "delete": {"enabled": True},
            },
            # of uploads: without a secret of its own a restarted registry knows none of them any more
            "http": {"addr": self.host, "secret": "of these tests"},
        }
        if htpasswd is not None:
            (folder / "htpasswd").write_text(htpasswd)
            settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
        self._config = folder / "config.yml"
        self._config.write_text(json.dumps(settings))

    def reference(self, name: str) -> str:
        """``oci://127.0.0.1:PORT/NAME``."""
        return f"oci://{self.host}/{name}"

    @property
    def blobs(self) -> list[Path]:
        """The files with the bytes of all blobs."""
        return sorted((self.folder / "storage").glob("docker/registry/v2/blobs/sha256/*/*/data"))

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def requests(self) -> list[str]:
        """The access log: ``GET /v2/...``, one a request."""
        marks = ('"GET ', '"HEAD ', '"PUT ', '"POST ', '"PATCH ')
        return [line for line in self.log.splitlines() if any(mark in line for mark in marks)]

    def start(self) -> Self:
        """Start and wait until the port answers."""
        with (self.folder / "log").open("ab") as log:
            command = [find_program("docker-registry"), "serve", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        if not wait_until_it_answers(self._process, self.port, WAIT_S):
            self.kill()
            raise RuntimeError(f"docker-registry did not start on port {self.port}:\n{self.log[-2000:]}")
        return self

    @property
    def is_dead(self) -> bool:
        return self._process is None

    def kill(self) -> None:
        """SIGKILL: every connection breaks off."""
        process, self._process = self._process, None
        kill(process)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.clients.close()
        self.kill()
