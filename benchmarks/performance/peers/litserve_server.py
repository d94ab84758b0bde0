"""The model behind LitServe, raw bytes in (settings: ``answer``)."""

from typing import Annotated, Any

import litserve
from fastapi import Body, Response

from benchmarks.performance.peers.answer import PORT, WORKERS, open_answer

Picture = Annotated[bytes, Body(media_type="application/octet-stream")]


class Pictures(litserve.LitAPI):  # type: ignore[misc]
    """One process of the pool."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Open the model in the worker."""
        self._answer = open_answer()

    def decode_request(self, request: Picture) -> bytes:
        """The body as it is."""
        return request

    def predict(self, x: bytes) -> bytes:
        """One picture."""
        return self._answer(x)

    def encode_response(self, output: bytes) -> Any:
        """The answer as it is."""
        return Response(output, media_type="application/json")


if __name__ == "__main__":
    server = litserve.LitServer(
        Pictures(api_path="/inference"), accelerator="cpu", workers_per_device=WORKERS, timeout=30
    )
    server.run(host="127.0.0.1", port=PORT, log_level="error", generate_client_file=False)
