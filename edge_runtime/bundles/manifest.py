"""``bundle.yaml``, format version 1: how a model is fed, what its outputs mean, and the golden answers.

Only data and its validation. The preprocessing and postprocessing specs drive the live frames, too.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from edge_runtime.inference.specs import (
    AnomalySpec,
    ClassificationSpec,
    PostprocessSpec,
    PreprocessSpec,
    RegressionSpec,
    StrictModel,
    find_contradiction,
)
from edge_runtime.system.autonomy import Autonomy
from edge_runtime.system.model_formats import ModelFormat

SCHEMA_VERSION = 1
MANIFEST_FILE = "bundle.yaml"
SIGNATURE_FILE = "bundle.sig"
"""Signature over every other file; the manifest cannot list it. See ``bundles.signing``."""

_ADDED_LATER = ("requires",)
"""Keys that came after 0.1: left out of the digest while they are not set, so that those of older bundles stay; so is
``calibration.envelope``."""
_SAFE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")


def _relative(path: str) -> str:
    if not all(_SAFE_PART.fullmatch(part) for part in path.split("/")) or path.count("/") > 4:
        raise ValueError(
            "a relative path below the bundle: parts of letters, digits, '.', '_', '+', '-' joined by '/', "
            "none of them starting with '.'"
        )
    if path in (MANIFEST_FILE, SIGNATURE_FILE):
        raise ValueError(f"{path} cannot be named by itself")
    return path


RelativePath = Annotated[str, AfterValidator(_relative)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, Field(max_length=10_000)]
"""Text for people."""
DeviceClass = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]
"""x86-64, arm64, or another name: a class that a box does not know is one that it is not."""
CompareBy = Literal["outputs", "detections"]


class Golden(StrictModel):
    """An input and the outputs that the model must give for it."""

    picture: RelativePath | None = None
    window: RelativePath | None = None
    """Of a model of signals instead of a picture: an array file ``.npy`` with numbers as the sensor sends them, before
    scale and offset, (samples, channels) at the rate of the sensor; (channels, samples) for a payload of npy that is
    declared so."""
    expected: RelativePath
    """safetensors with one float32 array per output, without the batch axis."""

    @property
    def input(self) -> str:
        """The picture or the window."""
        return str(self.picture or self.window)

    @model_validator(mode="after")
    def _has_one_input(self) -> Self:
        if (self.picture is None) == (self.window is None):
            raise ValueError("either a picture or a window")
        return self

    @model_serializer(mode="wrap")
    def _say_one_input(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Windows came after 0.1: the digests of older bundles know no such key."""
        return {name: value for name, value in serialise(self).items() if value is not None}


class Envelope(StrictModel):
    """What recalibration may change on the box, as the bundle's provider declares it: a patch beyond it is refused.

    Of what the configuration says as well, the stricter counts.
    """

    first_taps: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """No more layers than this are corrected, from the input on; None: any."""
    largest_change: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Most that a patch may change a channel, in healthy standard deviations: how far its mean moves, and how much its
    spread grows (a factor of 1.5, or of 1 / 1.5, is 0.5); None: any."""
    least_frames: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Reference frames that a patch must be made and judged from; None: as configured."""
    autonomy: Autonomy = "auto"
    """observe: no patch is used; propose: it waits for a person; auto: as configured."""


class CalibrationHints(StrictModel):
    """Facts for recalibration."""

    moments: RelativePath | None = None
    """Baseline of the pictures at building (see ``calibration.baseline.baseline``), for information: drift is scored
    and patches are made against the baseline of the site."""
    no_moments: Words = ""
    """Why there is none although there were pictures: the model serves, and cannot be recalibrated."""
    first_taps: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Recalibration corrects no more layers than this, from the input on."""
    envelope: Envelope | None = None
    """What a patch may change; None: nothing is declared."""

    @property
    def most_taps(self) -> int | None:
        """The stricter one of both limits of layers."""
        limits = [self.first_taps, None if self.envelope is None else self.envelope.first_taps]
        return min((limit for limit in limits if limit is not None), default=None)


class Measured(StrictModel):
    """Accuracy of the bundle's model and of the float model it came from, when they were measured."""

    on: Words
    samples: Annotated[int, Field(ge=1)]
    float_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    """With the float model: share of pictures with the same first class; F1 of the boxes of a detector; share of the
    outputs' variance that is the same for anything else."""
    estimated_loss: Annotated[float, Field(ge=0, le=1)] | None = None
    """Accuracy lost, estimated without labels from the float model's probabilities (see ``bundles.build.measure``)."""
    score_change: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of scores that say yes or no each by itself: how far the one that changed most on a picture moved, on average."""
    float_infer_ms: Annotated[float, Field(ge=0)] | None = None
    """Median of runs of one picture with one thread, in turn with those of ``infer_ms``."""
    infer_ms: Annotated[float, Field(ge=0)] | None = None
    machine: Words = ""
    """The processor that the times are of."""


class Provenance(StrictModel):
    """Where the model came from."""

    source: Words = ""
    licence: Words = ""
    tools: Annotated[dict[Words, Words], Field(max_length=100)] = Field(default_factory=dict)
    command: Words = ""
    measured: Annotated[tuple[Measured, ...], Field(max_length=100)] = ()


class Requirements(StrictModel):
    """The boxes that the bundle is for (see ``bundles.requirements``)."""

    runtime: Annotated[str, Field(pattern=r"^>=[0-9]{1,9}(\.[0-9]{1,9}){0,3}$")] | None = None
    """The least version of this runtime, e.g. ``>=0.2``; None: any."""
    devices: Annotated[tuple[DeviceClass, ...], Field(max_length=16)] = ()
    """Classes of devices, e.g. ``[x86-64, arm64]``; empty: any."""


class Manifest(StrictModel):
    """The whole of ``bundle.yaml``."""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: Annotated[int, Field(ge=1, le=999_999_999)]
    format: ModelFormat
    model: RelativePath
    weights: RelativePath | None = None
    """The .bin of an OpenVINO model."""
    labels: RelativePath | None = None
    preprocess: PreprocessSpec
    postprocess: PostprocessSpec
    golden: Annotated[tuple[Golden, ...], Field(min_length=1, max_length=64)]
    tolerance: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Largest accepted difference to the golden outputs: RMS of the difference over the RMS spread of the outputs (of
    one number: over its spread from picture to picture); with ``compare: detections`` 1 - F1 of the boxes."""
    compare: CompareBy = "outputs"
    """detections: by the boxes that are read, for detectors whose rows change places by themselves."""
    calibration: CalibrationHints = CalibrationHints()
    provenance: Provenance = Provenance()
    requires: Requirements | None = None
    """The boxes that it is for; None: all."""
    files: Annotated[dict[RelativePath, Sha256], Field(min_length=1, max_length=1000)]
    """Every file of the bundle except this one. The hashes show that a copy is whole, not who made it."""

    @property
    def id(self) -> str:
        """Name and version, e.g. ``parts/4``."""
        return f"{self.name}/{self.version}"

    @property
    def sha256(self) -> str:
        """Digest of all it says, the hash of every file included: two bundles with the same one are the same."""
        unset: dict[str, Any] = {name: True for name in _ADDED_LATER if getattr(self, name) is None}
        if self.calibration.envelope is None:
            unset["calibration"] = {"envelope"}
        return hashlib.sha256(self.model_dump_json(exclude=unset).encode()).hexdigest()

    @model_validator(mode="before")
    @classmethod
    def _without_engine_hints(cls, data: Any) -> Any:
        """Earlier builders wrote ``engine: {max_batch_size: 8}``; nothing ever read it, the configuration decides."""
        return {key: data[key] for key in data if key != "engine"} if isinstance(data, Mapping) else data

    @property
    def scores_output(self) -> str | None:
        """Name of the output with the class scores, values or score; None where there is only one, or none of these."""
        one_output = ClassificationSpec | RegressionSpec | AnomalySpec
        return self.postprocess.output if isinstance(self.postprocess, one_output) else None

    @model_validator(mode="after")
    def _outputs_fit_inputs(self) -> Self:
        if (contradiction := find_contradiction(self.preprocess, self.postprocess)) is not None:
            raise ValueError(f"postprocess.task must be {contradiction}")
        return self

    @model_validator(mode="after")
    def _names_only_listed_files(self) -> Self:
        named = [self.model, self.weights, self.labels, self.calibration.moments]
        named += [path for golden in self.golden for path in (golden.input, golden.expected)]
        missing = sorted({path for path in named if path is not None} - self.files.keys())
        if missing:
            raise ValueError(f"not listed under files with their sha256: {', '.join(missing)}")
        if (self.weights is None) == (self.format == "openvino"):
            raise ValueError("weights (the .bin file) belongs to format openvino and only to it")
        return self

    @model_validator(mode="after")
    def _is_tested_with_its_own_inputs(self) -> Self:
        noun = self.preprocess.noun
        if any(getattr(golden, noun) is None for golden in self.golden):
            raise ValueError(f"the preprocessing takes {noun}s, so every golden input is a {noun}")
        return self
