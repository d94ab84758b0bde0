"""A real HTTP server (uvicorn, starlette) for the files of a folder, with Range; killed -9 and started again."""

import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.support.mosquitto import free_port
from tests.support.programs import kill, wait_until_it_answers
from tests.support.waiting import WAIT_S

_PROGRAM = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.staticfiles import StaticFiles
application = Starlette()
application.mount("/", StaticFiles(directory=sys.argv[1]))
uvicorn.run(application, port=int(sys.argv[2]), log_level="info")
"""


class FileServer:
    """``with FileServer(folder) as server``; ``server.address("x.tar")`` names a file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._log = folder.parent / f"{folder.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    @property
    def is_dead(self) -> bool:
        return self._process is None

    def statuses(self, name: str) -> list[int]:
        """Of the answers to requests for a file."""
        return [
            int(line.split('"')[2].split()[0])
            for line in self._log.read_text().splitlines()
            if f'"GET /{name} ' in line
        ]

    def start(self) -> Self:
        with self._log.open("ab") as log:
            command = [sys.executable, "-c", _PROGRAM, str(self.folder), str(self.port)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        assert wait_until_it_answers(self._process, self.port, WAIT_S), self._log.read_text()
        return self

    def kill(self) -> None:
        """SIGKILL: every connection breaks off."""
        process, self._process = self._process, None
        kill(process)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
