"""All errors this package raises, split by who must act; each knows the exit code it leads to.

Facts are attributes, the text is derived from them. Adapters translate third-party exceptions into these at
their border. A bad *picture* is not an error at all: it is a :class:`edge_runtime.datatypes.Rejected` value.

Exit codes are those of sysexits(3); :class:`ExitCode` is the one list of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import ClassVar

_MAX_SHOWN = 4000


class ExitCode(IntEnum):
    """How a command ends. Scripts and systemd look at the numbers: they stay."""

    OK = 0
    USAGE = 64
    DATA = 65
    UNAVAILABLE = 69
    SOFTWARE = 70
    IO = 74
    PROTOCOL = 76
    CONFIG = 78
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """What it says, in one line."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "done; a refusal by the gate of a recalibration is an answer like others",
    ExitCode.USAGE: "wrong usage",
    ExitCode.DATA: "bad data: a bundle, a picture, a baseline; or the device refused the command",
    ExitCode.UNAVAILABLE: "not there now: a device or library of an engine, a broker, an answer, a free port",
    ExitCode.SOFTWARE: "a fault inside; an engine that cannot run the model",
    ExitCode.IO: "the state directory or a file cannot be read or written, or another daemon uses it",
    ExitCode.PROTOCOL: "a registry does not have, or does not give, what a command asks for",
    ExitCode.CONFIG: "the configuration must be changed",
    ExitCode.INTERRUPTED: "ended by Ctrl-C",
}
GRAVEST_FIRST = (ExitCode.CONFIG, ExitCode.DATA, ExitCode.IO, ExitCode.SOFTWARE, ExitCode.UNAVAILABLE)
"""A person must edit, supply a bundle, repair a disk, or look; a missing device may come by itself."""


def gravest(codes: Iterable[int]) -> ExitCode:
    """The exit code of a command that found several problems; 0 when it found none."""
    return min(map(ExitCode, codes), key=GRAVEST_FIRST.index, default=ExitCode.OK)


class EdgeRuntimeError(Exception):
    """Root of all errors of this package."""

    exit_code: ClassVar[ExitCode] = ExitCode.SOFTWARE
    where: str = ""
    """The configuration key that the error is about, e.g. ``models.parts``; the code that opens its object sets it."""
    line: int | None = None
    """Line of that key in the file."""

    def __str__(self) -> str:
        return _place(self.line, self.where) + self.reason_text

    @property
    def reason_text(self) -> str:
        """The text without the place in the configuration."""
        return super().__str__()


def _place(line: int | None, where: str) -> str:
    """``line 3: models.parts: ``, as far as it is known."""
    return (f"line {line}: " if line is not None else "") + (f"{where}: " if where else "")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]} ..."


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration."""

    where: str
    """Dotted path of the key, e.g. ``cameras.belt.fps``; empty for the file as a whole."""
    line: int | None
    """1-based line in the file (of the parent section for a missing key); None when there is none."""
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{_place(self.line, self.where)}{self.found}; expected {self.expected}"


class ConfigError(EdgeRuntimeError):
    """The configuration cannot be used; the operator must change it. Lists every problem, not the first one."""

    exit_code: ClassVar[ExitCode] = ExitCode.CONFIG

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        self.source, self.problems = source, problems
        super().__init__("\n".join([f"{source}: {len(problems)} problem(s)", *(f"  {p}" for p in problems)]))


class ConfigUnreadable(ConfigError):
    """The configuration, or a file it names, cannot be read just now; that says nothing about its content."""


class BundleError(EdgeRuntimeError):
    """A bundle is damaged, unsafe or does not do what its manifest says; its publisher must act."""

    exit_code: ClassVar[ExitCode] = ExitCode.DATA

    def __init__(self, path: Path | str, found: str, expected: str, fix: str) -> None:
        found, expected = _cut(found), _cut(expected)  # names that a bundle brings may be of any length
        self.path, self.found, self.expected, self.fix = str(path), found, expected, fix
        super().__init__(f"{path}: {found}; expected {expected}. {fix}")


class RecordingError(EdgeRuntimeError):
    """A recording is damaged, made by another program, or cannot be used for this; the person who made it must act."""

    exit_code: ClassVar[ExitCode] = ExitCode.DATA

    def __init__(self, path: Path | str, found: str, expected: str, fix: str) -> None:
        found, expected = _cut(found), _cut(expected)
        self.path, self.found, self.expected, self.fix = str(path), found, expected, fix
        super().__init__(f"{path}: {found}; expected {expected}. {fix}")


class KeyUnusable(EdgeRuntimeError):
    """A key file cannot be used; the person who named it must act. The text never holds a key."""

    exit_code: ClassVar[ExitCode] = ExitCode.CONFIG

    def __init__(self, path: Path | str, found: str, expected: str, fix: str) -> None:
        self.path, self.found, self.expected, self.fix = str(path), found, expected, fix
        super().__init__(f"{path}: {found}; expected {expected}. {fix}")


class BadReference(EdgeRuntimeError):
    """A text does not name a bundle in a registry. A password in it is never in the text of this."""

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE

    def __init__(self, shown: str, found: str, expected: str) -> None:
        self.shown, self.found, self.expected = shown, found, expected
        super().__init__(f"{shown}: {found}; expected {expected}")


class RegistryLost(EdgeRuntimeError):
    """A registry cannot be reached or breaks off; what arrived is kept, and a later try goes on."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNAVAILABLE

    def __init__(self, where: str, reason: str) -> None:
        self.registry, self.reason = where, reason
        super().__init__(f"{where}: {reason}; run it again, it goes on where it ended")


class RegistryRefused(EdgeRuntimeError):
    """A registry does not have or give what is asked for; its operator, or the caller, must act."""

    exit_code: ClassVar[ExitCode] = ExitCode.PROTOCOL

    def __init__(self, where: str, reason: str) -> None:
        self.registry, self.reason = where, reason
        super().__init__(f"{where}: {reason}")


class ExtraMissing(EdgeRuntimeError):
    """An optional library is not installed."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNAVAILABLE

    def __init__(self, needed_for: str, extra: str) -> None:
        self.needed_for, self.extra = needed_for, extra
        super().__init__(f"{needed_for} need the extra '{extra}': pip install 'edge-runtime[{extra}]'")


class OpeningStopped(EdgeRuntimeError):
    """A model was not opened to the end: a later edit came, or the daemon is to stop. Nothing is known against it."""


class SourceLost(EdgeRuntimeError):
    """A source stopped giving frames; it is reopened with back-off."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNAVAILABLE

    def __init__(self, stream: str, reason: str) -> None:
        self.stream, self.reason = stream, reason
        super().__init__(f"source {stream!r} lost: {reason}")


class BrokerLost(EdgeRuntimeError):
    """The MQTT broker cannot be reached; results wait in the outbox."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNAVAILABLE


class EngineError(EdgeRuntimeError):
    """An engine could not be built or failed while it ran; the previous generation takes over."""

    exit_code: ClassVar[ExitCode] = ExitCode.SOFTWARE


class EngineMissing(EngineError):
    """The device or the library is not on this box (yet): a driver may load late, so that a later start may help."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNAVAILABLE


class EngineMismatch(EngineError):
    """What the configuration asks for cannot run this model on any box; the operator must change it."""

    exit_code: ClassVar[ExitCode] = ExitCode.CONFIG


class StateError(EdgeRuntimeError):
    """The state directory cannot be read or written (permissions, disk full, I/O error)."""

    exit_code: ClassVar[ExitCode] = ExitCode.IO


class CommandError(EdgeRuntimeError):
    """A remote command is malformed, unknown, not allowed or impossible now; the text is sent to the caller."""

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class UnknownVerb(CommandError):
    """No command has this name."""


class CommandForbidden(CommandError):
    """The caller's role is too small for it, or the caller is not known."""


class NoAnswer(CommandError):
    """No answer to a command came in time; the device may be off, away from the broker, or have another name."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNAVAILABLE
