"""The messages between the daemon and the recalibration process: a request, and one of three results, as JSON.

Both ends are of one version: a field that is missing or of another type is refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from calibration.baseline.metadata import BaselineFacts
from calibration.verdict import Verdict
from edge_runtime.config import RecalibrationConfig
from edge_runtime.errors import StateError
from edge_runtime.messaging.events import RecalibrationReport
from edge_runtime.recalibration.reference.reservoir import InputMoments
from edge_runtime.recalibration.task import Cause, Kind, Task


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One job."""

    kind: Kind
    cause: Cause
    at_wall_s: float
    """Unix time of now, seconds."""
    bundle: Path
    baseline: Path
    """The file to recalibrate from; not read by a commissioning."""
    reference_folder: Path | None
    """Pictures to use; None takes the frames that are handed over."""
    most: int
    """Frames to read from the folder at most."""
    keep_pictures: bool
    """Whether results may hold pictures: the healthy frames in a baseline, thumbnails in a report."""
    memory_mib: int
    strictness: float = 1.0
    """Factor on the gains that the gate asks for, > 0; see ``recalibration.strictness``."""
    margin: float | None = None
    """The deprecated ``recalibration.margin``."""
    facts: BaselineFacts | None = None
    """Of the baseline that a commissioning makes."""
    further_input: tuple[InputMoments, ...] = ()
    """Moments of samples of which no picture may be kept; they join in the correction of the input."""
    threads: int = 1
    seed: int = 0

    @classmethod
    def for_task(
        cls,
        task: Task,
        settings: RecalibrationConfig,
        bundle: Path,
        baseline: Path,
        reference_folder: Path | None,
        at_wall_s: float,
        further_input: tuple[InputMoments, ...] = (),
        facts: BaselineFacts | None = None,
    ) -> "JobRequest":
        """The request for a task under these settings."""
        return cls(
            task.kind,
            task.cause,
            at_wall_s,
            bundle,
            baseline,
            reference_folder,
            most=settings.reference.frames,
            keep_pictures=settings.reference.pictures == "keep",
            memory_mib=settings.memory_mib,
            strictness=settings.strictness,
            margin=settings.margin,
            facts=facts,
            further_input=further_input,
        )


@dataclass(frozen=True, slots=True)
class CommissioningResult:
    """A baseline and a probe model are in the job's folder."""

    frames: int
    taps: int
    effective_frames: float
    """As many independent frames would tell as much; <= frames."""


@dataclass(frozen=True, slots=True)
class JobFailure:
    """There is no result."""

    error: str
    is_lasting: bool = False
    """Whether trying again with the same model and configuration must fail too."""


JobResult = CommissioningResult | RecalibrationReport | JobFailure
"""A refusal by the gate is a report, not a failure."""

T = TypeVar("T")

_REQUEST: TypeAdapter[JobRequest] = TypeAdapter(JobRequest)
_RESULT: TypeAdapter[JobResult] = TypeAdapter(JobResult)
_REPORT = TypeAdapter(RecalibrationReport)


def encode_request(request: JobRequest) -> bytes:
    """The JSON that :func:`parse_request` reads."""
    return _REQUEST.dump_json(request)


def encode_result(result: JobResult) -> bytes:
    """The JSON that :func:`parse_result` reads."""
    return _RESULT.dump_json(result)


def parse_request(data: bytes) -> JobRequest:
    """A request.

    Raises:
        StateError: a field is missing or of another type; the message names it.
    """
    return _parse(_REQUEST, data, "job.json")


def parse_result(data: bytes) -> JobResult:
    """A result.

    Raises:
        StateError: a field is missing or of another type; the message names it.
    """
    return _parse(_RESULT, data, "outcome.json")


def make_report(verdict: Verdict, request: JobRequest) -> RecalibrationReport:
    """The report of a verdict."""
    facts = {**verdict.to_json(), "frames": verdict.frames, "cause": request.cause, "at": request.at_wall_s}
    return _REPORT.validate_python(facts)


def _parse(adapter: TypeAdapter[T], data: bytes, name: str) -> T:
    try:
        return adapter.validate_json(data)
    except ValidationError as err:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in err.errors())
        raise StateError(f"{name} cannot be read: {problems}") from err
