"""The form of a remote command: verbs and their arguments. Pure; ``request_text`` reads the text.

A request is a JSON object of at most 64 KiB, or nothing at all for a verb that needs no arguments (``callers`` has the
form of signed ones)::

    {"transaction": "any text", "device": "belt-3", "expires_at": "2026-11-23T15:20:59Z", ...arguments of the verb}
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_runtime.config.secret_values import ADVICE, find_secrets
from edge_runtime.config.strict_yaml import load
from edge_runtime.config.values import BASELINE_PATTERN
from edge_runtime.errors import CommandError, ConfigError, UnknownVerb
from edge_runtime.messaging.commands.request_text import describe
from edge_runtime.system.log import MOST_LINES

LONGEST_WAIT_S = 900.0
"""For an edit to be in force."""
LONGEST_TASK_S = 7200.0
"""For a commissioning or recalibration to end."""
MOST_CHUNKS = 1024
"""Of one archive: so many names fit into a signed request."""
CLAIMS = ("transaction", "device", "expires_at")
"""What every request may carry, and a signed one says by claims instead."""

Name = Annotated[str, Field(min_length=1, max_length=128)]
BaselineName = Annotated[str, Field(pattern=BASELINE_PATTERN)]
Days = Annotated[float, Field(gt=0, le=36_500)]


Transaction = str | int | tuple[str, str]
"""What a caller calls a request; with the id of the key where it is signed, so that nobody else can use it up."""


class Arguments(BaseModel):
    """Every request may carry these; ``status`` and ``restart`` have no others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    transaction: Name | int | None = None
    """Chosen by the caller; a repeated request is recognised by it."""
    device: Name | None = None
    """The device that is meant; another one refuses the request."""
    expires_at: AwareDatetime | None = None
    """After this moment the request is refused instead of obeyed."""

    def as_noted(self) -> dict[str, Any]:
        """What the log of commands keeps of it."""
        return self.model_dump(mode="json", by_alias=True, exclude=set(CLAIMS), exclude_defaults=True)


class ModelArguments(Arguments):
    """``rollback``: back to the previous generation. ``baselines``: list those of a model."""

    model: Name | None = None
    """A model of the configuration; None when there is only one."""


class TaskArguments(ModelArguments):
    """What every request may carry that begins a task."""

    stream: Name | None = None
    """Use only this stream's frames."""
    timeout_s: Annotated[float, Field(ge=0, le=LONGEST_TASK_S)] = 0.0
    """How long the answer may wait until the task has ended; 0: it comes when the task is begun."""


class RecalibrateArguments(TaskArguments):
    """``recalibrate``: collect frames, try the candidates, let the gate decide."""

    dry_run: bool = False
    """Do all of it, and change nothing: the report says what the gate decided."""
    reference: BaselineName | None = None
    """The pictures: ``live``, ``folder``, or a set of ``recalibration.reference.sets``; None: the folder where the
    configuration has one, else the frames of the cameras."""


class CommissionArguments(TaskArguments):
    """``commission``: approve the pictures of now as the healthy baseline."""

    frames: Annotated[int, Field(ge=8, le=4096)] | None = None
    """How many frames from now on to use, at most the reservoir; None is ``recalibration.commission.frames``."""
    name: BaselineName | None = None
    """Name of this state of the site, like day or night; None is ``recalibration.commission.name``."""
    expires_days: Days | None = None
    """After that no patch is made from it until it is approved again; None is ``commission.expires_days``."""


class BaselineArguments(ModelArguments):
    """``expire``: make no more patches from a baseline."""

    name: BaselineName | None = None
    """None is the baseline in use."""


class ApproveArguments(BaselineArguments):
    """``approve``: confirm, after a look at the site, that it is as healthy as a baseline shows it."""

    expires_days: Days | None = None
    """How long that holds; None is without end."""


class RemoveArguments(ModelArguments):
    """``remove``: forget a baseline for good."""

    name: BaselineName
    """Of the baseline."""


class PatchArguments(ModelArguments):
    """``approve-patch`` and ``reject-patch``: the patch that waits is used, or never."""

    patch: Name | None = None
    """Its id, refused when another one waits by now; None takes it whatever it is."""


class RolloutArguments(ModelArguments):
    """``rollout``: what becomes of the version that is on its way; ``status`` and ``history`` change nothing."""

    action: Literal["status", "promote", "abort", "pause", "resume", "retry", "history"] = "status"
    """``retry``: try a refused version again."""
    version: Annotated[int, Field(ge=1, le=999_999_999)] | None = None
    """retry: the refused version."""


class LogsArguments(Arguments):
    """``logs``: the newest lines of the log of this process, without secrets."""

    lines: Annotated[int, Field(ge=1, le=MOST_LINES)] = 50
    """At most so many."""


class SnapshotArguments(Arguments):
    """``snapshot``: the next picture of a camera as JPEG, where the configuration allows it."""

    camera: Name
    """Its name in the configuration."""
    max_side: Annotated[int, Field(ge=16, le=1920)] = 640
    """Pixels of the longer side; a smaller picture is not enlarged."""
    quality: Annotated[int, Field(ge=1, le=95)] = 80
    """Of the JPEG."""


KeyPath = Annotated[str, Field(pattern=r"^[^.\x00-\x1f]+(\.[^.\x00-\x1f]+)*$", max_length=512)]


class EditArguments(Arguments):
    """What every edit of the configuration may carry."""

    dry_run: bool = False
    """Check and try it, and change nothing."""
    timeout_s: Annotated[float, Field(gt=0, le=LONGEST_WAIT_S)] = 60.0
    """How long the answer may wait until the edit is in force."""


class UndoConfigArguments(EditArguments):
    """``undo-config``: put an earlier configuration back."""

    number: Annotated[int, Field(ge=1)] | None = None
    """In the history; None is the one that was in force before."""


class SetConfigArguments(EditArguments):
    """``set-config``: edit the configuration file; comments stay."""

    values: dict[KeyPath, Any] = Field(default_factory=dict, max_length=256, alias="set")
    """New values by dotted key, such as ``cameras.belt.fps``."""
    remove: Annotated[list[KeyPath], Field(max_length=256)] = Field(default_factory=list)
    """Dotted keys to take out, before anything is set."""
    text: Annotated[str, Field(min_length=1)] | None = None
    """A whole new file, instead of both. A line of ``get-config`` in which a secret is hidden stands for the line of
    the file."""
    before_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Of the file that was edited, as ``get-config`` gives it: refused where the file is another one by now."""

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if (self.text is None) == (not self.values and not self.remove):
            raise ValueError("expected 'set' or 'remove', or else 'text'")
        text = {}
        if self.text is not None:
            with suppress(ConfigError):  # which the check of the whole configuration puts into words
                text = load(self.text, "").data
        # A hidden one stands for that of the file, and nothing else: the editor looks at its line.
        for key in (*find_secrets(self.values), *find_secrets(text, but_hidden=True)):
            raise ValueError(f"{key} would be a secret; expected {ADVICE}")
        return self

    def as_noted(self) -> dict[str, Any]:
        """With a digest of the text: it may be long, and its secrets are found only where it is YAML."""
        noted = super().as_noted()
        if self.text is not None:
            noted["text"] = f"sha256:{hashlib.sha256(self.text.encode()).hexdigest()}"
        return noted


Chunk = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]


class InstallArguments(Arguments):
    """``install``: put a version of a bundle into the store; from an address, or in chunks."""

    source: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(default=None, alias="from")
    """``oci://HOST/NAME:VERSION`` or ``...@sha256:...``, or ``https://HOST/FILE``."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Of the file at an https address."""
    chunks: Annotated[list[Chunk], Field(min_length=1, max_length=MOST_CHUNKS)] | None = None
    """SHA-256 of each chunk of the archive, base64url without padding, in its order."""
    size_bytes: Annotated[int, Field(ge=1, le=2**32)] | None = None
    """Of the archive that comes in chunks."""
    timeout_s: Annotated[float, Field(gt=0, le=LONGEST_WAIT_S)] = 60.0
    """How long nothing may come before it is given up; what came is kept."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.source is None) == (self.chunks is None):
            raise ValueError("expected 'from', or else 'chunks'")
        if (self.chunks is None) != (self.size_bytes is None):
            raise ValueError("expected 'size_bytes' with 'chunks'")
        if self.source is not None and "://" not in self.source:
            raise ValueError(
                "'from' is no address; expected oci://HOST/NAME:VERSION or https://HOST/FILE, or 'chunks' "
                "for a file of the caller (send --file)"
            )
        needs_hash = self.source is not None and not self.source.startswith("oci://")
        if needs_hash != (self.sha256 is not None):
            raise ValueError(
                "expected 'sha256' of the file (sha256sum FILE) with an https address, and with nothing else"
            )
        return self

    def as_noted(self) -> dict[str, Any]:
        """With a digest of the names of the chunks, which may be many."""
        noted = super().as_noted()
        if self.chunks is not None:
            noted["chunks"] = f"sha256:{hashlib.sha256(' '.join(self.chunks).encode()).hexdigest()}"
        return noted


ARGUMENTS: Mapping[str, type[Arguments]] = {
    "status": Arguments,
    "recalibrate": RecalibrateArguments,
    "rollback": ModelArguments,
    "commission": CommissionArguments,
    "baselines": ModelArguments,
    "approve": ApproveArguments,
    "bless": ApproveArguments,  # the old name, for one release
    "expire": BaselineArguments,
    "remove": RemoveArguments,
    "rollout": RolloutArguments,
    "approve-patch": PatchArguments,
    "reject-patch": PatchArguments,
    "logs": LogsArguments,
    "snapshot": SnapshotArguments,
    "install": InstallArguments,
    "restart": Arguments,
    "get-config": Arguments,
    "set-config": SetConfigArguments,
    "config-history": Arguments,
    "undo-config": UndoConfigArguments,
}

READS = frozenset({"status", "baselines", "logs", "get-config", "config-history"})
"""Verbs that change nothing: they may be carried out again, and share an answer."""
_ASKING = frozenset({"status", "history"})
"""Actions of ``rollout`` that change nothing."""
UNKEPT = frozenset({"snapshot"})
"""Verbs whose data is not kept for a repetition: no picture stays in memory."""
QUICK = frozenset({"status", "logs"})
"""Verbs that wait for nothing."""
PATIENT = frozenset({"baselines"})
"""Reads that wait for a recalibration loop."""


def is_read(verb: str, arguments: Arguments) -> bool:
    """Whether a request changes nothing."""
    return verb in READS or (isinstance(arguments, RolloutArguments) and arguments.action in _ASKING)


def check_arguments(verb: str, content: Mapping[str, Any]) -> Arguments:
    """Check the content of a request.

    Raises:
        CommandError: names the fault and the expectation, for the caller.
    """
    arguments = ARGUMENTS.get(verb)
    if arguments is None:
        raise UnknownVerb(f"unknown verb {verb[:64]!r}; known are {', '.join(ARGUMENTS)}")
    try:
        # From JSON once more: pydantic's strict mode takes a time from JSON text but not from a Python string.
        return arguments.model_validate_json(orjson.dumps(content))
    except orjson.JSONEncodeError as err:
        raise CommandError(
            f"{verb}: the request is nested too deep; the arguments of all verbs are flat"
        ) from err
    except ValidationError as err:
        raise CommandError(f"{verb}: {describe(err)}") from err
