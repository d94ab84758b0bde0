"""What ``bundle.yaml`` says, format version 1: how a model is fed, what its outputs mean and must be.

Only data and its validation live here; reading files is in ``verify``, writing them in ``build``. The
preprocessing and postprocessing specs are the very objects that ``preprocess`` and ``postprocess`` work from.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1
MANIFEST_FILE = "bundle.yaml"
SIGNATURE_FILE = "bundle.sig"

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
Finite = Annotated[float, Field(allow_inf_nan=False)]
PerChannel = Annotated[tuple[Finite, ...], Field(min_length=1, max_length=3)]
Colour = Literal["rgb", "bgr", "grey"]
CompareBy = Literal["outputs", "detections"]
ScoreKind = Literal["logits", "sigmoid_logits", "probabilities"]
Filter = Literal["area", "nearest", "bilinear", "bicubic", "antialias_bilinear", "antialias_bicubic"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PreprocessSpec(_Part):
    """How a picture becomes the model's input tensor; the order of the fields is the order of the work."""

    colour: Colour
    """Channel order the model wants."""
    alpha_background: Annotated[int, Field(ge=0, le=255)] = 255
    """Transparent pictures are composited over this grey level; the colour hidden below alpha 0 means
    nothing."""
    width: Annotated[int, Field(ge=1, le=8192)]
    height: Annotated[int, Field(ge=1, le=8192)]
    geometry: Literal["crop", "stretch", "letterbox"]
    """crop: the largest centred part with the model's aspect ratio, times ``crop_fraction``. stretch: the
    whole picture, aspect ratio lost. letterbox: the whole picture, the rest filled with ``pad_level``."""
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the sides that crop keeps; "resize the shorter side to 256, crop 224" is 224/256 = 0.875."""
    letterbox_anchor: Literal["centre", "top_left"] = "centre"
    pad_level: Annotated[int, Field(ge=0, le=255)] = 114
    filter: Filter
    """area: pixel means (cv2.INTER_AREA), bilinear when enlarging. bilinear, bicubic, nearest: OpenCV's,
    which do not smooth when shrinking. antialias_*: those of PIL and of torchvision with antialias."""
    mean: PerChannel
    """Subtracted, in units of 0..255 pixel levels, in the order of ``colour``. From torchvision's: times
    255."""
    std: PerChannel
    """Divided by, in units of 0..255 pixel levels."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    missing_value: Finite | None = None
    """What NaN in a raw tensor input is replaced with (in units of the tensor); null refuses such tensors."""

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return 1 if self.colour == "grey" else 3

    @property
    def tensor_shape(self) -> tuple[int, int, int]:
        """Shape of one prepared sample, without the batch axis."""
        if self.layout == "nchw":
            return (self.channels, self.height, self.width)
        return (self.height, self.width, self.channels)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(
                    f"{name} has {len(values)} values; colour {self.colour} needs {self.channels}"
                )
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be above 0 for every channel")
        if self.crop_fraction != 1 and self.geometry != "crop":
            raise ValueError(f"crop_fraction means nothing with geometry {self.geometry}")
        return self


class ClassificationSpec(_Part):
    """One vector of class scores a picture."""

    task: Literal["classification"] = "classification"
    output: str | None = None
    """Name of the output with the scores; null takes the only one."""
    scores: ScoreKind
    """logits: one class is meant, a softmax makes them probabilities. sigmoid_logits: a sigmoid of each (several labels
    at a time, or one score: yes or no). probabilities: the model made them itself."""
    top_k: Annotated[int, Field(ge=1, le=1000)] = 5


class DetectionSpec(_Part):
    """Boxes with scores, as separate outputs or packed into one."""

    task: Literal["detection"] = "detection"
    packing: Literal["separate", "rows", "columns", "end2end", "detection_output"] = "separate"
    """separate: ``boxes`` (N,4) and ``scores`` (N,) or (N,classes), maybe ``classes`` (N,). rows:
    ``boxes`` is one output (N, 4 + objectness? + classes). columns: its transpose. end2end: rows of box, score, class
    (N,6), as detectors with NMS inside give them. detection_output: OpenVINO's and Caffe's (1,1,N,7), rows of picture,
    class, score, box, ended by a picture of -1."""
    boxes: str
    scores: str | None = None
    classes: str | None = None
    count: str | None = None
    """Name of an output that says how many rows are valid."""
    has_objectness: bool = False
    box_format: Literal["xyxy", "yxyx", "xywh", "cxcywh"]
    is_normalised: bool
    """True: boxes in 0..1 of the model input; False: in its pixels."""
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    """Applied to the scores (and objectness)."""
    background_class: Annotated[int, Field(ge=0)] | None = None
    """Score column that means "nothing"."""
    class_offset: int = 0
    """Added to the class number before it is looked up in the labels."""
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    nms_iou: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    """Overlap above which the weaker of two boxes of a class goes; null when the model already did this."""
    max_detections: Annotated[int, Field(ge=1, le=1000)] = 100

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.packing == "separate" and self.scores is None:
            raise ValueError("packing separate needs the name of the scores output")
        if self.packing != "separate" and (self.scores or self.classes or self.count):
            raise ValueError(
                f"packing {self.packing} has everything in boxes; scores, classes, count must go"
            )
        if self.packing not in ("rows", "columns") and self.has_objectness:
            raise ValueError("has_objectness needs packing rows or columns")
        return self


class RawSpec(_Part):
    """Publish output arrays as they are."""

    task: Literal["raw"] = "raw"
    outputs: tuple[str, ...] | None = None
    """Names to publish; null publishes all."""


PostprocessSpec = Annotated[ClassificationSpec | DetectionSpec | RawSpec, Field(discriminator="task")]


class Golden(_Part):
    """A picture and what the model must say to it."""

    picture: RelativePath
    expected: RelativePath
    """safetensors with one float32 array per output, without the batch axis."""


class CalibrationHints(_Part):
    """What recalibration should know about this model."""

    moments: RelativePath | None = None
    """Factory baseline (see ``calibration.baseline``): good for scoring drift, not for patching a site."""
    no_moments: str = ""
    """Why there is none although there were pictures: the model serves, and cannot be recalibrated."""
    first_taps: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Never correct more than this many taps."""


class Measured(_Part):
    """Accuracy of what is in the bundle beside the float model it came from, when it was measured."""

    on: str
    samples: Annotated[int, Field(ge=1)]
    float_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    """With the float model: share of pictures with the same first class; F1 of the boxes of a detector; share of the
    outputs' variance that is the same for anything else."""
    estimated_loss: Annotated[float, Field(ge=0, le=1)] | None = None
    """Accuracy lost, estimated without labels from the float model's probabilities (see ``bundle.measure``)."""
    score_change: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of scores that say yes or no each by itself: how far the one that changed most on a picture moved, on average."""
    float_infer_ms: Annotated[float, Field(ge=0)] | None = None
    """Median of runs of one picture with one thread, in turn with those of ``infer_ms``."""
    infer_ms: Annotated[float, Field(ge=0)] | None = None
    machine: str = ""
    """The processor that the times are of."""


class Provenance(_Part):
    """Where the model came from."""

    source: str = ""
    licence: str = ""
    tools: dict[str, str] = {}
    command: str = ""
    measured: tuple[Measured, ...] = ()


class Manifest(_Part):
    """The whole of ``bundle.yaml``."""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: Annotated[int, Field(ge=1, le=999_999_999)]
    format: Literal["onnx", "openvino", "torchscript"]
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
    files: Annotated[dict[RelativePath, Sha256], Field(min_length=1, max_length=1000)]
    """Every file of the bundle except this one and the signature."""

    @property
    def id(self) -> str:
        """Name and version, e.g. ``parts/4``."""
        return f"{self.name}/{self.version}"

    @model_validator(mode="before")
    @classmethod
    def _without_engine_hints(cls, data: Any) -> Any:
        """Earlier builders wrote ``engine: {max_batch_size: 8}``; nothing ever read it, the configuration decides."""
        return {key: data[key] for key in data if key != "engine"} if isinstance(data, Mapping) else data

    @property
    def scores_output(self) -> str | None:
        """Name of the output with the class scores; None where there is only one, or the model is no classifier."""
        return self.postprocess.output if isinstance(self.postprocess, ClassificationSpec) else None

    @model_validator(mode="after")
    def _names_only_listed_files(self) -> Self:
        named = [self.model, self.weights, self.labels, self.calibration.moments]
        named += [path for golden in self.golden for path in (golden.picture, golden.expected)]
        missing = sorted({path for path in named if path is not None} - self.files.keys())
        if missing:
            raise ValueError(f"not listed under files with their sha256: {', '.join(missing)}")
        if (self.weights is None) == (self.format == "openvino"):
            raise ValueError("weights (the .bin file) belongs to format openvino and only to it")
        return self
