"""How often the start of a version ended the process before it was ready.

A count goes up before a version is opened and is cleared when the daemon is READY with it; so what is left over is the
number of times it took the process with it. Keys are version numbers, or names of generations.
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

MOST_ENDS = 2
"""A version that ended the process so often before READY is not tried again by itself."""

K = TypeVar("K", bound=Hashable)


def count_start(starts: Mapping[K, int], version: K) -> dict[K, int]:
    """The counts to write before a version is opened."""
    return {**starts, version: starts.get(version, 0) + 1}


def clear_starts(starts: Mapping[K, int], version: K) -> dict[K, int]:
    """The counts once the daemon is READY with a version, or a person wants it tried again."""
    return {known: count for known, count in starts.items() if known != version}
