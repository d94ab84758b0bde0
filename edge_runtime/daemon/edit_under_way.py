"""What the reloader works on: edits that wait, and the one whose parts are being opened."""

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from edge_runtime.config import Changes, Config
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.deployment.versions import Skipped
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.messaging.connection import BrokerConnection

BY_FILE = "file"
"""Who made a configuration be in force, where it was an edit of the file."""

Edits = queue.SimpleQueue[Config | EdgeRuntimeError]
"""Valid configurations, and what is wrong with those that are none."""
Promoted = queue.SimpleQueue[str]
"""Names of models."""


@dataclass(frozen=True, slots=True)
class CommandedEdit:
    """An edit that is in the file only when it is in force."""

    config: Config
    """As it comes into force."""
    by: str
    """Who commanded it."""
    write: Callable[[], None]
    """Puts it into the file. Raises CommandError, StateError: then nothing is changed."""
    done: Future[Changes] = field(default_factory=Future)
    """Its changes when it is in force; else an EdgeRuntimeError."""


Commanded = queue.SimpleQueue[CommandedEdit]
Opened = tuple[dict[str, ModelRuntime], BrokerConnection | None, dict[str, str]]
"""The new parts, ready while the old ones run; and of the models that stay those that are trusted no longer."""


@dataclass(slots=True)
class EditUnderWay:
    """An edit under way."""

    config: Config
    plan: Changes
    deadline_s: float
    """Monotonic time; later whenever it gives a sign of life."""
    must_stop: threading.Event
    is_alive: threading.Event
    """Set by the thread that opens, cleared by the main one."""
    opened: Future[Opened]
    mended: Mapping[str, Skipped] = field(default_factory=dict)
    """Not empty when it is no edit of the file: versions that were skipped can be used now."""
    promoted: str | None = None
    """Nor is it then: a model whose newer version has passed its rollout."""
    commanded: CommandedEdit | None = None
    """None: it is an edit of the file."""


def close_late(opened: Future[Opened]) -> None:
    """Free the models of an edit that was given up, should they ever open."""
    if opened.exception() is None:
        stop_all(opened.result())


def stop_all(opened: Opened) -> None:
    """Free models that were opened and will not answer."""
    for runtime in opened[0].values():
        runtime.stop()
