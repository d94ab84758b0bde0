"""The way of a request for an answer, from the one who asks to the models and back, whatever carries it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.config.install_sources import SourceAddress
from edge_runtime.datatypes import Rejected, RejectReason
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.access import Access
from edge_runtime.serving.picture_fetcher import PictureFetcher
from edge_runtime.serving.predictions import Answered, Predictions, Read
from edge_runtime.serving.refusals import Refusal, late
from edge_runtime.serving.room import LARGEST_BODIES, PICTURE_KEY, Room
from edge_runtime.system.supervised_thread import Crashes

AROUND_BYTES = 64 * 1024
"""For what is around a picture in a form, in JSON or in a message."""
NEEDED_ROLE = Role.OPERATOR
"""An answer takes the box's time."""
_OWN_FAULTS = (RejectReason.ENGINE_ERROR, RejectReason.BAD_OUTPUT)


@dataclass(frozen=True, slots=True)
class PredictService:
    """What requests for answers need; one for all servers, which share its limits."""

    predictions: Predictions
    access: Access
    room: Room
    fetcher: PictureFetcher
    max_picture_bytes: int
    crashes: Crashes
    is_enabled: bool = True

    @classmethod
    def make(
        cls,
        predictions: Predictions,
        access: Access,
        max_picture_bytes: int,
        most_requests: int,
        crashes: Crashes,
        *,
        fetch_from: Sequence[SourceAddress] = (),
        is_enabled: bool = True,
    ) -> "PredictService":
        """All for one daemon.

        Args:
            predictions: The way to the models.
            access: Who may.
            max_picture_bytes: Of one picture.
            most_requests: As many may be under way at a time.
            crashes: Counts requests that fail unexpectedly.
            fetch_from: Beginnings of addresses that pictures may be loaded from.
            is_enabled: Off, all are refused.
        """
        room = Room(most_requests, LARGEST_BODIES * _largest_body(max_picture_bytes))
        fetcher = PictureFetcher(fetch_from, max_picture_bytes, predictions.timeout_s, crashes)
        return cls(predictions, access, room, fetcher, max_picture_bytes, crashes, is_enabled)

    @property
    def max_body_bytes(self) -> int:
        """Of the largest picture in Base64, and what is around it."""
        return _largest_body(self.max_picture_bytes)

    def require_enabled(self) -> None:
        """Refuse all requests where they are turned off.

        Raises:
            Refusal: they are.
        """
        if not self.is_enabled:
            raise Refusal(403, "requests are turned off in the configuration (http.predict.enabled)")

    def check_size(self, data: bytes) -> None:
        """Refuse a picture or window that is too large for a camera's folder, too.

        Raises:
            Refusal: it is.
        """
        most = self.max_picture_bytes
        if len(data) > most:
            raise Refusal(413, f"{len(data)} bytes; at most {most} are taken ({PICTURE_KEY})")

    async def answer(self, model: str, inputs: Read, *, keeps_outputs: bool = False) -> tuple[Answered, ...]:
        """The answers to the inputs of one request.

        Args:
            model: One that runs.
            inputs: Finds them. The caller keeps no name for it: what it holds leaves the memory when it is read.
            keeps_outputs: Whether raw outputs are wanted.

        Raises:
            Refusal: it is not answered.
        """
        future = self.predictions.ask(model, inputs, keeps_outputs=keeps_outputs)
        del inputs
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self.predictions.timeout_s)
        except TimeoutError as err:
            raise late() from err


def code_of(answered: Answered) -> int:
    """The status of one answer, as in HTTP."""
    if not isinstance(answered.answer, Rejected):
        return 200
    return 500 if answered.answer.reason in _OWN_FAULTS else 422


def _largest_body(max_picture_bytes: int) -> int:
    return max_picture_bytes * 4 // 3 + AROUND_BYTES
