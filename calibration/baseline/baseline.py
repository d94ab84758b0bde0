"""The baseline: what flows through a model at this site while all is well, kept in one file.

Moments of the input and of every tap, single-frame moments of the first few (the drift monitor draws its threshold
from them), and optionally some healthy samples with the healthy model's answers, against which a candidate
patch is judged; its file calls them ``witness``. No model is run here.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.baseline.metadata import BaselineFacts, require_date
from calibration.errors import BaselineError, DataError
from calibration.outputs.detection_layout import DetectionLayout
from calibration.outputs.detections import Detections
from calibration.outputs.read import Answers, ClassScores, Layout
from calibration.outputs.values import Numbers, Values
from calibration.stats import atomic_file, tensor_file
from calibration.stats.moments import ANSWERS_TAP, INPUT_TAP, FrameMoments, Moments, TapMoments
from calibration.stats.sensor_features import SENSOR_TAPS

FORMAT = 1
MOST = 2**40
"""Far above any size or count of a real baseline, and a number that every reader of JSON takes."""
_KIND = "baseline"
_DETECTION_PARTS = ("boxes", "scores", "classes")
_AGAIN = "Record the baseline again (`python -m calibration profile`)."


@dataclass(frozen=True, slots=True, repr=False)
class HealthySamples:
    """Healthy samples, packed, and what the healthy model answered.

    Attributes:
        packed: (M, C, ...) uint8 steps, or float16/float32 values when the data did not come from 8-bit pictures.
        step: (C,) size of a uint8 step; ones for float pictures, half of the range for signals.
        low: (C,) value of step 0; zeros for float pictures, the middle for signals.
        probabilities: (M, K) answers of the healthy model; None when it is no classifier.
        detections: Of the healthy model in the M samples; None when it is no detector.
        numbers: (M, K) answers of the healthy model; None when it does not answer numbers.
        layout: How its outputs were read; None in the files of a classifier that version 0.1.0 wrote.
    """

    packed: NDArray[Any]
    step: NDArray[np.float32]
    low: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None
    detections: Detections | None = None
    layout: Layout | None = None
    numbers: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        return f"HealthySamples({len(self)} of {self.packed.shape[1:]}, answers={self.answers is not None})"

    @property
    def answers(self) -> Answers | None:
        """What the healthy model answered: (M, K) float64 probabilities, detections or numbers; None when neither."""
        if self.numbers is not None:
            return Numbers(self.numbers)
        return self.detections if self.probabilities is None else self.probabilities.astype(np.float64)

    def with_answers(self, answers: Answers, layout: Layout | None) -> "HealthySamples":
        """The same samples with what the healthy model answered, and how that was read."""
        if isinstance(answers, Detections):
            return replace(self, probabilities=None, detections=answers, numbers=None, layout=layout)
        if isinstance(answers, Numbers):
            return replace(self, probabilities=None, detections=None, numbers=answers.rows, layout=layout)
        found = answers.astype(np.float32)
        return replace(self, probabilities=found, detections=None, numbers=None, layout=layout)

    def samples(self) -> NDArray[np.float32]:
        """The healthy samples, float32 (M, C, ...)."""
        shape = (1, -1) + (1,) * (self.packed.ndim - 2)
        x = self.packed.astype(np.float32)
        x *= self.step.reshape(shape)  # in place, which takes half of the memory
        x += self.low.reshape(shape)
        return x

    def only(self, chosen: NDArray[np.intp]) -> "HealthySamples":
        """Those of its samples, with their answers."""
        answers = None if self.probabilities is None else self.probabilities[chosen]
        found = None if self.detections is None else self.detections[chosen]
        numbers = None if self.numbers is None else self.numbers[chosen]
        return replace(
            self, packed=self.packed[chosen], probabilities=answers, detections=found, numbers=numbers
        )

    def __len__(self) -> int:
        return len(self.packed)


@dataclass(frozen=True, slots=True, repr=False)
class Baseline:
    """The healthy site, for exactly one model file.

    Attributes:
        moments: Mean and variance per channel of the input and of every tap.
        frames: Single-frame moments of ``input`` and the first taps, and the features of the
            sensor and of the answers (newer files).
        model_sha256: The model file it was recorded with.
        input_shape: (C, ...) of one sample.
        count: Frames it was recorded on.
        effective_count: How many independent frames they are worth (those of a fixed camera resemble each other).
        created_wall_s: Unix time of the recording.
        library: Version that wrote it.
        healthy_samples: Some of them with the model's answers to them, to judge patches on; None keeps no picture.
        facts: Name, origin and approval.
        output: Name of the model's output with the answers; None where all belong to them (and in older files).
    """

    moments: Moments
    frames: Mapping[str, FrameMoments]
    model_sha256: str
    input_shape: tuple[int, ...]
    count: int
    effective_count: float
    created_wall_s: float
    library: str
    healthy_samples: HealthySamples | None = None
    facts: BaselineFacts = field(default_factory=BaselineFacts)
    output: str | None = None

    def __repr__(self) -> str:
        worth = f"{self.count} frames worth {self.effective_count:.0f}"
        return f"Baseline({self.name!r}, {self.id}, {worth}, {self.moments!r}, {self.healthy_samples!r})"

    @property
    def name(self) -> str:
        """What a person calls this state of the site."""
        return self.facts.name

    @property
    def id(self) -> str:
        """First 16 hex digits of the sha256 over model and moments."""
        digest = hashlib.sha256(self.model_sha256.encode())
        for tap, moments in self.moments.items():
            digest.update(tap.encode() + b"\0" + moments.mean.tobytes() + moments.var.tobytes())
        return digest.hexdigest()[:16]

    def with_facts(self, facts: BaselineFacts) -> "Baseline":
        """The same figures, and so the same id, with another name or word."""
        return replace(self, facts=facts)

    def rename(self, name: str) -> "Baseline":
        """The same under another name.

        Raises:
            DataError: it cannot be a name.
        """
        return replace(self, facts=replace(self.facts, name=name))

    def without_samples(self) -> "Baseline":
        """The same without any picture in it."""
        return replace(self, healthy_samples=None)

    def describe(self, now_wall_s: float) -> dict[str, Any]:
        """Everything about it but the figures, as plain data."""
        return {
            **self.facts.to_json(),
            "id": self.id,
            "is_expired": self.facts.is_expired(now_wall_s),
            "recorded_wall_s": self.created_wall_s,
            "frames": self.count,
            "effective_frames": round(self.effective_count, 1),
            "taps": len(self.moments),
            "channels": sum(tap.channels for tap in self.moments.values()),
            "witness": 0 if self.healthy_samples is None else len(self.healthy_samples),
            "input_shape": list(self.input_shape),
            "model_sha256": self.model_sha256,
            "library": self.library,
        }

    def to_bytes(self) -> bytes:
        """The baseline file."""
        taps = list(self.moments.values())
        arrays: dict[str, NDArray[Any]] = {
            "mean": np.concatenate([tap.mean for tap in taps]),
            "var": np.concatenate([tap.var for tap in taps]),
        }
        for i, frame_moments in enumerate(self.frames.values()):
            arrays[f"frames.{i}.mean"] = frame_moments.mean
            arrays[f"frames.{i}.var"] = frame_moments.var
        layout = None
        if self.healthy_samples is not None:
            kept, layout = self.healthy_samples, self.healthy_samples.layout
            arrays |= {f"witness.{part}": getattr(kept, part) for part in ("packed", "step", "low")}
            if kept.probabilities is not None:
                arrays["witness.probabilities"] = kept.probabilities
            if kept.numbers is not None:
                arrays["witness.numbers"] = kept.numbers
            if kept.detections is not None:
                arrays |= {f"witness.{part}": getattr(kept.detections, part) for part in _DETECTION_PARTS}
        header = {
            "format": FORMAT,
            "taps": [[tap, moments.channels, moments.count] for tap, moments in self.moments.items()],
            "frames": list(self.frames),
            "model_sha256": self.model_sha256,
            "input_shape": list(self.input_shape),
            "count": self.count,
            "effective_count": self.effective_count,
            "created_wall_s": self.created_wall_s,
            "library": self.library,
            "output": self.output,
            "facts": self.facts.to_json(),
            "detection_layout": layout.to_json() if isinstance(layout, DetectionLayout) else None,
            "class_scores": layout.value if isinstance(layout, ClassScores) else None,
        }
        if isinstance(layout, Values):
            header["values"] = layout.value
        return tensor_file.encode(_KIND, arrays, header)

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        atomic_file.write_atomically(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> "Baseline":
        """Read a baseline file.

        Raises:
            BaselineError: missing, damaged, of another kind or format, or values that cannot be.
        """
        try:
            arrays, header = tensor_file.read(_KIND, Path(path))
            return _decode(arrays, header)
        except tensor_file.TensorFileProblem as err:
            raise BaselineError(str(path), str(err), "a baseline written by this library", _AGAIN) from err
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, DataError) as err:
            raise BaselineError(str(path), f"fields are wrong ({err})", f"format {FORMAT}", _AGAIN) from err


def _decode(arrays: tensor_file.Arrays, header: Mapping[str, Any]) -> Baseline:
    if header["format"] != FORMAT:
        raise ValueError(tensor_file.other_format(header["format"], FORMAT))
    names = [str(tap) for tap, _, _ in header["taps"]]
    sizes = [int(size) for _, size, _ in header["taps"]]
    if not names or names[0] != INPUT_TAP or len(set(names)) != len(names) or min(sizes) < 1:
        raise ValueError("the list of taps is empty, doubled or does not start with the input")
    parts = (np.split(_wide(arrays[part], sum(sizes)), np.cumsum(sizes)[:-1]) for part in ("mean", "var"))
    moments = {
        name: TapMoments(mean, var, _weight(tap[2]))
        for name, tap, mean, var in zip(names, header["taps"], *parts, strict=True)
    }
    frames = {
        str(tap): FrameMoments(arrays[f"frames.{i}.mean"], arrays[f"frames.{i}.var"])
        for i, tap in enumerate(header["frames"])
    }
    _require_sound_frames(frames, dict(zip(names, sizes, strict=True)))
    input_shape = tuple(int(n) for n in header["input_shape"])
    if not all(0 <= n <= MOST for n in input_shape):
        raise ValueError("the input's shape is one that no sample has")
    return Baseline(
        moments=Moments(moments),
        frames=frames,
        model_sha256=str(header["model_sha256"]),
        input_shape=input_shape,
        count=int(_positive(header, "count")),
        effective_count=_positive(header, "effective_count"),
        created_wall_s=require_date(float(header["created_wall_s"])),
        library=str(header["library"]),
        output=None if header.get("output") is None else str(header["output"]),
        healthy_samples=_healthy_samples(arrays, header, input_shape),
        facts=BaselineFacts.from_json(header.get("facts", {})),  # files of version 0.1.0 have none
    )


def _weight(value: Any) -> float:
    """How many values moments stand for."""
    if not 0 <= float(value) <= MOST:
        raise ValueError(f"moments of {value} values")
    return float(value)


def _positive(header: Mapping[str, Any], field_name: str) -> float:
    value = float(header[field_name])
    if not 0 < value <= MOST:
        raise ValueError(f"{field_name} is {value}")
    return value


def _wide(array: NDArray[Any], size: int) -> NDArray[np.float64]:
    if array.dtype != np.float64 or array.shape != (size,):
        raise ValueError(f"moments are {array.dtype} {array.shape}; expected float64 ({size},)")
    return array


def _require_sound_frames(frames: Mapping[str, FrameMoments], channels: Mapping[str, int]) -> None:
    for tap, part in frames.items():
        known = channels.get(tap, part.mean.shape[1] if tap in (*SENSOR_TAPS, ANSWERS_TAP) else 0)
        if part.mean.dtype != np.float64 or part.mean.shape[1] != known:
            raise ValueError(f"frame moments of {tap!r} do not fit its channels")
        if not (np.isfinite(part.mean).all() and np.isfinite(part.var).all() and (part.var >= 0).all()):
            raise ValueError(f"frame moments of {tap!r} are not finite or negative")


def _with_numbers(kept: HealthySamples, arrays: tensor_file.Arrays, layout: Values) -> HealthySamples:
    rows = arrays["witness.numbers"]
    if rows.dtype != np.float64 or rows.ndim != 2 or len(rows) != len(kept) or not np.isfinite(rows).all():
        raise ValueError(f"{rows.dtype} {rows.shape} numbers for {len(kept)} healthy samples, or not finite")
    return kept.with_answers(Numbers(rows), layout)


def _healthy_samples(
    arrays: tensor_file.Arrays, header: Mapping[str, Any], input_shape: tuple[int, ...]
) -> HealthySamples | None:
    """The samples with the answers to them, and how these were read, as far as the file holds them."""
    packed = arrays.get("witness.packed")
    if packed is None:
        return None
    step, low = arrays["witness.step"], arrays["witness.low"]
    answers = arrays.get("witness.probabilities")
    if packed.dtype not in (np.uint8, np.float16, np.float32) or packed.shape[1:] != input_shape:
        raise ValueError(
            f"the healthy samples are {packed.dtype} {packed.shape}; expected samples of {input_shape}"
        )
    if step.shape != input_shape[:1] or low.shape != step.shape or not len(packed):
        raise ValueError("the steps of the samples do not fit their channels")
    if answers is not None and (answers.ndim != 2 or len(answers) != len(packed)):
        raise ValueError(f"{answers.shape} answers for {len(packed)} healthy samples")
    if not all(np.isfinite(part).all() for part in (packed, step, low, answers) if part is not None):
        raise ValueError("values of the samples are not finite")
    kind, layout = header.get("class_scores"), header.get("detection_layout")  # older files have neither
    known = None if kind is None else ClassScores(kind)
    healthy_samples = HealthySamples(packed, step, low, answers, layout=known)
    if header.get("values") is not None:
        return _with_numbers(healthy_samples, arrays, Values(header["values"]))
    if layout is None:
        return healthy_samples
    read_by = DetectionLayout.from_json(layout)
    boxes, scores, classes = (arrays[f"witness.{part}"] for part in _DETECTION_PARTS)
    if boxes.dtype != np.float32 or scores.dtype != np.float32 or classes.dtype != np.int32:
        raise ValueError(f"detections are {boxes.dtype}, {scores.dtype}, {classes.dtype}")
    detections = Detections(boxes, scores, classes, read_by.score_threshold)
    if len(detections) != len(healthy_samples) or not detections.is_finite:
        raise ValueError(f"detections of {len(detections)} frames for {len(healthy_samples)} healthy samples")
    return healthy_samples.with_answers(detections, read_by)
