"""The model behind MLServer, raw bytes in (settings: ``answer``).

A handler of its own path takes the body as it is; MLServer's protocol would carry the picture as base64 in JSON. The
model runs in threads of the serving process, which saves MLServer the way to its worker processes and back.
"""

import asyncio
import json
import socket
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastapi import Request, Response
from mlserver import MLModel
from mlserver.handlers import custom_handler

from benchmarks.performance.peers.answer import PORT, WORKERS, open_answer

PATH = "/inference"


class Pictures(MLModel):  # type: ignore[misc]
    """The model in MLServer's hands."""

    async def load(self) -> bool:
        """Open the model once, for all threads."""
        self._answer, self._threads = open_answer(WORKERS), ThreadPoolExecutor(WORKERS)
        return True

    @custom_handler(rest_path=PATH)  # type: ignore[untyped-decorator]
    async def picture(self, request: Request) -> Response:
        """One picture."""
        body = await request.body()
        answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, body)
        return Response(answer, media_type="application/json")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def main() -> None:
    """Write the two settings files that MLServer wants, and serve."""
    from mlserver.cli import main as mlserver

    with tempfile.TemporaryDirectory() as folder:
        server = {"host": "127.0.0.1", "http_port": PORT, "grpc_port": _free_port(), "metrics_endpoint": None}
        server |= {"parallel_workers": 0, "debug": False, "metrics_port": _free_port()}
        Path(folder, "settings.json").write_text(json.dumps(server))
        model = {
            "name": "pictures",
            "implementation": "benchmarks.performance.peers.mlserver_server.Pictures",
        }
        Path(folder, "model-settings.json").write_text(json.dumps(model))
        sys.argv[1:] = ["start", folder]
        mlserver()


if __name__ == "__main__":
    main()
