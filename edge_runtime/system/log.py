"""Structured logs on standard error: one JSON object a line, or lines for people.

Times are UTC, with the monotonic clock as well, so that the order survives a clock that jumps. Secrets are
hidden, repeated messages are thinned, and a closed or full standard error never stops the daemon. All our modules
log through ``structlog.get_logger()``; the standard library's ``logging`` is bridged for libraries only.
"""

import contextlib
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import structlog

from edge_runtime.system.redaction import HIDDEN, PROCESS
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.systemd import is_journal

Entry = MutableMapping[str, Any]
Renderer = Callable[[Any, str, Entry], str]

SECRET_WORDS = ("password", "passwd", "secret", "token", "authorization", "credential")
REPEATS = 5
"""So many equal messages pass ..."""
PERIOD_S = 10.0
"""... in this time; the rest are counted and the count is put on the next one that passes."""
MAX_REMEMBERED = 1000
MOST_LINES = 500
"""That are kept in memory for a command that asks for them."""
LONGEST_LINE = 2000
"""Characters of a line that are kept."""
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def configure_log(
    level: str = "info",
    format: str = "json",  # noqa: A002 - the word of the configuration
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Set up logging for the whole process; may be called again after an edit of the configuration.

    Shown are lines of ``level`` and above, on standard error unless ``stream`` is given. Secrets that
    ``redaction.PROCESS`` knows are hidden. ``clock`` gives monotonic seconds.
    """
    written = stream if stream is not None else sys.stderr
    target = SafeStream(written)
    render = RECENT.keep(_renderer(format, target))
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            RepeatLimit(clock),
            structlog.stdlib.add_log_level,
            _stamp(clock),
            structlog.processors.format_exc_info,
            _hide_secrets,
            _with_priority(render) if is_journal(written, os.environ) else render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(target),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,  # so that a new configuration reaches loggers that exist
    )
    # The chatter of libraries below warning is left out.
    logging.raiseExceptions = False
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[_Bridge()], force=True)


class _Bridge(logging.Handler):
    """Hands on what libraries log through ``logging``; a record that cannot be read is left out."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
            structlog.get_logger().log(
                level, record.getMessage(), library=record.name, exc_info=record.exc_info
            )
        except Exception:  # noqa: BLE001 - a library's bad record must not end its caller
            self.handleError(record)


def _renderer(format_: str, target: "SafeStream") -> Any:
    if format_ == "json":
        return structlog.processors.JSONRenderer(serializer=_to_json)
    plain = structlog.dev.plain_traceback  # the traceback is text by now, with secrets taken out
    render = structlog.dev.ConsoleRenderer(
        colors=target.isatty(), pad_event_to=32, exception_formatter=plain, timestamp_key="time"
    )

    def render_for_people(logger: Any, method: str, entry: Entry) -> str:
        return str(
            render(logger, method, {key: value for key, value in entry.items() if key != "monotonic_s"})
        )

    return render_for_people


def _with_priority(render: Renderer) -> Renderer:
    """Put the priority before every line, as sd-daemon(3) has it: ``journalctl -p warning`` finds the warnings."""

    def render_for_journal(logger: Any, method: str, entry: Entry) -> str:
        prefix = f"<{_PRIORITIES.get(entry.get('level', ''), 6)}>"
        return "\n".join(prefix + line for line in render(logger, method, entry).splitlines())

    return render_for_journal


def _to_json(entry: Any, **_: Any) -> str:
    import orjson

    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(entry, default=str, option=options).decode()


def _stamp(clock: Callable[[], float]) -> Callable[[Any, str, Entry], Entry]:
    def stamp(_: Any, __: str, entry: Entry) -> Entry:
        return {"time": format_rfc3339(time.time()), "monotonic_s": round(clock(), 3), **entry}

    return stamp


def _hide_secrets(_: Any, __: str, entry: Entry) -> Entry:
    """Hide values under secret-sounding keys, passwords in URLs, and known secrets wherever they stand."""
    return {key: _clean(key, value) for key, value in entry.items()}


def _clean(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return HIDDEN if _sounds_secret(key) and value else PROCESS.text(value)
    if isinstance(value, MutableMapping):
        return {name: _clean(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(key, item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return HIDDEN if _sounds_secret(key) else PROCESS.text(str(value))


def _sounds_secret(key: str) -> bool:
    lowered = key.lower()
    return any(word in lowered for word in SECRET_WORDS)


class RepeatLimit:
    """Thins out a message that comes again and again, so that a dead camera does not fill the disk.

    Equal means: the same event, level, and stream, model or thread. Errors are thinned too; the count is not lost.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[tuple[Any, ...], list[float]] = {}  # key -> [start of the period, passed, held back]

    def __call__(self, _: Any, level: str, entry: Entry) -> Entry:
        """The entry, with ``suppressed`` when some were held back before it.

        Raises:
            structlog.DropEvent: enough of these have passed.
        """
        key = (level, entry.get("event"), *(str(entry.get(name)) for name in ("stream", "model", "thread")))
        now_s = self._clock()
        if len(self._seen) >= MAX_REMEMBERED and key not in self._seen:
            self._seen.clear()
        start_s, passed, held_back = self._seen.get(key, [now_s, 0, 0])
        if now_s - start_s >= PERIOD_S:
            self._seen[key] = [now_s, 1, 0]
            return {**entry, "suppressed": int(held_back)} if held_back else entry
        if passed >= REPEATS:
            self._seen[key] = [start_s, passed, held_back + 1]
            raise structlog.DropEvent
        self._seen[key] = [start_s, passed + 1, held_back]
        return entry


class RecentLines:
    """The newest lines that were shown; without the priorities of the journal."""

    def __init__(self) -> None:
        self._lock, self._lines = threading.Lock(), deque[tuple[str, str]](maxlen=MOST_LINES)

    def keep(self, render: Renderer) -> Renderer:
        """The same renderer, which keeps what it renders."""

        def render_and_keep(logger: Any, method: str, entry: Entry) -> str:
            level = str(entry.get("level", ""))  # before it is rendered: a renderer may take it out
            text = render(logger, method, entry)
            with self._lock:
                self._lines.extend((level, line[:LONGEST_LINE]) for line in text.splitlines())
            return text

        return render_and_keep

    def newest(self, count: int) -> list[str]:
        """At most so many, oldest first."""
        return [line for _, line in self.newest_with_levels(count)]

    def newest_with_levels(self, count: int) -> list[tuple[str, str]]:
        """In the same way, with the level before each line: ``warning``, ``info``, ..."""
        with self._lock:
            return list(self._lines)[-count:]


RECENT = RecentLines()
"""Of this process."""


class SafeStream:
    """A text stream that never raises into a worker thread: a closed pipe, a full disk or a closed file loses lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()
