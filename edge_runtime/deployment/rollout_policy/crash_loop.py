"""Which version to start with, when starts ended the process before it was ready.

A count goes up before a version is opened and is cleared when the daemon is READY with it; so what is left over is the
number of times it took the process with it. Keys are version numbers, or names of generations.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

MOST_ENDS = 2
"""A version that ended the process so often before READY is not tried again by itself."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class StartChoice(Generic[K]):
    """The version to start with, and those that were passed over."""

    chosen: K | None
    """None: every one ended the process too often."""
    passed_over: tuple[K, ...]
    """Better ones that ended the process too often, best first."""


def choose_start(wanted: Sequence[K], starts: Mapping[K, int]) -> StartChoice[K]:
    """The first that did not end the process ``MOST_ENDS`` times before READY.

    Args:
        wanted: Best first: the active one, then previous ones.
        starts: Unfinished starts of each; one that is missing had none.
    """
    passed_over: list[K] = []
    for version in wanted:
        if starts.get(version, 0) < MOST_ENDS:
            return StartChoice(version, tuple(passed_over))
        passed_over.append(version)
    return StartChoice(None, tuple(passed_over))


def count_start(starts: Mapping[K, int], version: K) -> dict[K, int]:
    """The counts to write before a version is opened."""
    return {**starts, version: starts.get(version, 0) + 1}


def clear_starts(starts: Mapping[K, int], version: K) -> dict[K, int]:
    """The counts once the daemon is READY with a version, or a person wants it tried again."""
    return {known: count for known, count in starts.items() if known != version}
