"""A command whose answer comes later, when its work is done. Pure: ``under_way`` has the threads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.messaging.commands.answers import Answer


class Progress(Protocol):
    """What such a command tells its caller meanwhile, and hears of the daemon."""

    @property
    def is_ending(self) -> bool:
        """Whether the daemon ends, so that the work must end too."""

    def report(self, data: Mapping[str, Any]) -> None:
        """Tell the caller how far it is; of several within a second only the first is sent."""


Work = Callable[[Progress], Mapping[str, Any]]
"""Gives the data of the answer; a :class:`CommandError` becomes an error answer."""
Outcome = Mapping[str, Any] | EdgeRuntimeError | None
"""What became of a command: its data, why the device did not do it, or None: it failed unexpectedly."""


@dataclass(frozen=True, slots=True)
class Later:
    """What a verb's handler returns instead of the data; nothing has been done yet."""

    work: Work
    """Called once, in a thread of its own."""
    in_turn: str | None = None
    """Commands with the same name here are carried out one after the other, as they came; None waits for none."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A command that was accepted and noted, and is not answered yet."""

    verb: str
    later: Later
    settle: Callable[[Outcome, float], Answer]
    """The one answer, which is noted at this POSIX time; to be called once."""
    encode_progress: Callable[[Mapping[str, Any]], bytes]
