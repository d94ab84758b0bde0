"""The model behind mosec, raw bytes in and out (settings: ``answer``)."""

import sys

from mosec import Server, Worker

from benchmarks.performance.peers.answer import PORT, WORKERS, open_answer


class Pictures(Worker):  # type: ignore[misc]
    """One process of the pool."""

    def __init__(self) -> None:
        self._answer = open_answer()

    def deserialize(self, data: bytes) -> bytes:
        """The body as it is."""
        return data

    def serialize(self, data: bytes) -> bytes:
        """The answer as it is."""
        return data

    def forward(self, data: bytes) -> bytes:
        """One picture."""
        return self._answer(data)


if __name__ == "__main__":
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(PORT), "--log-level", "error"]
    server = Server()
    server.append_worker(Pictures, num=WORKERS)
    server.run()
