"""How far a search is, told to a callback: a phase, and the share of this phase that is done.

It may raise to stop the search: what it raises passes through unchanged.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar

SearchPhase = Literal["measuring", "distilling", "correcting", "screening", "judging"]
"""In this order: the drift, patches by distillation, patches by moments, all candidates on a few frames, the best of
them on all frames. A search that ends early leaves the others out, and one of few candidates the few frames."""

Progress = Callable[[SearchPhase, float], None]
"""(phase, share of it that is done, 0..1)."""

T = TypeVar("T")


def tell_nobody(phase: SearchPhase, share: float) -> None:
    """For a search that nobody waits for."""


def track(progress: Progress, phase: SearchPhase, items: Sequence[T]) -> Iterator[T]:
    """The items one after the other; tells how many are done before each of them, and after the last."""
    for done, item in enumerate(items):
        progress(phase, done / len(items))
        yield item
    progress(phase, 1.0)
