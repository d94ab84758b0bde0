"""What a rollout asks of its surroundings: the store of versions, the opening of a model, the main thread, clocks."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_runtime.deployment.trial_run import Candidate
from edge_runtime.messaging.events import Fact
from edge_runtime.system.due_time import NextDue


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPorts:
    """What a rollout asks of its surroundings."""

    find_newest: Callable[[int, frozenset[int]], int | None]
    """The newest installed version above this one that is none of those; None when there is none. May raise OSError."""
    find_newer: Callable[[int], frozenset[int]]
    """The installed versions above this one. May raise OSError."""
    find_problem: Callable[[], str | None] = lambda: None
    """Why a newer version was passed over by the last look, such as one that is half copied; None: none was."""
    open_candidate: Callable[[int, Callable[[], bool]], Candidate]
    """Verify, open and self-test a version; asks the function whether to stop. Raises EdgeRuntimeError."""
    hand_over: Callable[[], None]
    """Ask the main thread to open the version that is active by ``versions.json``."""
    emit: Callable[[Fact], None]
    """Takes what has happened."""
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    find_due_wall_s: NextDue = lambda _line, _after_wall_s: None
    """When ``promote_at`` is due."""
