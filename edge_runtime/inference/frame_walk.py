"""The way of one published frame, step by step, from what is measured of every frame anyway. Pure."""

from dataclasses import dataclass
from typing import Protocol

from edge_runtime.datatypes import Result
from edge_runtime.inference.scheduler import Queued


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the way."""

    name: str
    start_s: float
    """Monotonic."""
    end_s: float
    """Not before the start."""


class FrameTrace(Protocol):
    """Sees the way of every frame that is published; must return at once and never raise."""

    def note_frame(self, queued: Queued, result: Result) -> None:
        """The result of this sample has just been put into the outbox."""


def find_steps(queued: Queued, result: Result, published_s: float) -> tuple[Step, ...]:
    """The steps, each at or after the one before it.

    ``capture`` is from the device's frame to its decoding, and so includes that it waited to be taken. ``postprocess``
    includes that a batch waited for an earlier one of the same stream. ``publish`` ends in the outbox.

    Args:
        queued: The sample, and when it was queued (monotonic).
        result: Its timings are milliseconds.
        published_s: When it was in the outbox (monotonic).
    """
    sample, took = queued.sample, result.timings
    begins_s = sample.captured_at_s
    prepare_s = sample.prepared_at_s - took.prepare / 1000
    started_s = queued.queued_at_s + took.queue / 1000
    moments = (
        ("capture", prepare_s - took.decode / 1000),
        ("decode", prepare_s),
        ("prepare", sample.prepared_at_s),
        ("queue", started_s),
        ("infer", started_s + took.infer / 1000),
        ("postprocess", begins_s + took.total / 1000),
        ("publish", published_s),
    )
    steps, at_s = list[Step](), begins_s
    for name, moment_s in moments:
        end_s = max(at_s, moment_s)  # a clock of another process, or a rounding, never turns a step around
        steps.append(Step(name, at_s, end_s))
        at_s = end_s
    return tuple(steps)
