"""The port of preprocessing, which pictures and signals implement; their samples, and the one end of their errors."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import Flaw, Frame, Geometry, Rejected, RejectReason, Sample
from edge_runtime.inference.flaw import InputFlaw, shorten
from edge_runtime.inference.specs import PreprocessSpec
from edge_runtime.system.supervised_thread import Contained

T = TypeVar("T")


class Preprocessor(Protocol):
    """Prepares frames for one model. Holds no state between frames; callable from several threads at once."""

    @property
    def spec(self) -> PreprocessSpec:
        """The input of the model."""

    def prepare(self, frame: Frame) -> Sample | Rejected:
        """The sample of a frame, or why there is none; never raises for bad input."""

    def normalise(self, values: NDArray[Any], /) -> NDArray[np.float32]:
        """The tensor of a kept picture or window (``Sample.values``), owned by the caller.

        Raises:
            ValueError: another shape or dtype; those values did not go through :meth:`prepare`.
        """


def read_or_flaw(
    read: Callable[[], T], note_failure: Callable[[Exception], object] = lambda _: None
) -> T | Flaw:
    """What it reads, or why that cannot be: what a stranger sends ends no stream's worker.

    ``note_failure`` is called with every exception that no check foresaw, while it is being handled.
    """
    with Contained(note_failure) as failure:
        try:
            return read()
        except InputFlaw as flaw:
            return Flaw(flaw.reason, flaw.detail)
    detail = f"cannot be read ({type(failure.error).__name__}: {failure.error})"
    return Flaw(RejectReason.UNREADABLE, shorten(detail), failure.error)


def prepare_or_reject(
    frame: Frame, prepare: Callable[[Frame], Sample], note_failure: Callable[[Exception], object]
) -> Sample | Rejected:
    """What ``prepare`` makes of a frame, or the frame rejected; ``note_failure`` as in :func:`read_or_flaw`."""
    found = read_or_flaw(partial(_prepare, frame, prepare), note_failure)
    if not isinstance(found, Flaw):
        return found
    return Rejected(
        frame.stream, frame.seq, found.reason, found.detail, frame.captured_at_wall_s, frame.origin
    )


def make_sample(
    frame: Frame,
    tensor: NDArray[np.float32],
    values: NDArray[np.uint8] | NDArray[np.float32] | None,
    times_s: tuple[float, float],
    *,
    geometry: Geometry | None = None,
    filled: float | None = None,
) -> Sample:
    """The sample of a frame that is prepared now.

    ``times_s`` says when its preparation began and when its payload was decoded, monotonic; the others are those of the
    sample.
    """
    (started_s, decoded_s), prepared_s = times_s, time.monotonic()
    return Sample(
        stream=frame.stream,
        seq=frame.seq,
        tensor=tensor,
        values=values,
        geometry=geometry,
        captured_at_s=frame.captured_at_s,
        captured_at_wall_s=frame.captured_at_wall_s,
        prepared_at_s=prepared_s,
        decode_ms=frame.decode_ms + (decoded_s - started_s) * 1000,
        prepare_ms=(prepared_s - decoded_s) * 1000,
        origin=frame.origin,
        settle=frame.settle,
        asker=frame.asker,
        filled=filled,
        slots=frame.slots,
    )


def _prepare(frame: Frame, prepare: Callable[[Frame], Sample]) -> Sample:
    """What its source has found wrong ends as what is found here does."""
    if frame.flaw is not None:
        raise frame.flaw.error or InputFlaw(frame.flaw.reason, frame.flaw.detail)
    return prepare(frame)
