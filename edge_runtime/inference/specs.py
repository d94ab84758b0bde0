"""How pictures become model inputs and how model outputs become results: the specifications that a bundle carries.

Typed, frozen and checked on construction. They drive ``preprocess`` and ``postprocess``.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_INPUT_PIXELS = 4096 * 4096
"""Of a model's input: 200 MB as float32 in colour."""
MAX_NAME_CHARACTERS = 1000
TensorName = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)]
"""Name of an output of a model."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
PerChannel = Annotated[tuple[Finite, ...], Field(min_length=1, max_length=3)]
Colour = Literal["rgb", "bgr", "grey"]
ScoreKind = Literal["logits", "sigmoid_logits", "probabilities"]
Filter = Literal["area", "nearest", "bilinear", "bicubic", "antialias_bilinear", "antialias_bicubic"]


class StrictModel(BaseModel):
    """Unknown fields are refused; values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PreprocessSpec(StrictModel):
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
    """Replaces NaN in a raw tensor input (in units of the tensor); null refuses such tensors."""

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
    def _check_consistency(self) -> Self:
        if self.width * self.height > MAX_INPUT_PIXELS:
            raise ValueError(f"width x height of at most {MAX_INPUT_PIXELS} pixels (as 4096 x 4096 has)")
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


class ClassificationSpec(StrictModel):
    """One vector of class scores a picture."""

    task: Literal["classification"] = "classification"
    output: TensorName | None = None
    """Name of the output with the scores; null takes the only one."""
    scores: ScoreKind
    """logits: one class is meant, a softmax makes them probabilities. sigmoid_logits: a sigmoid of each (several labels
    at a time, or one score: yes or no). probabilities: the model made them itself."""
    top_k: Annotated[int, Field(ge=1, le=1000)] = 5


class DetectionSpec(StrictModel):
    """Boxes with scores, as separate outputs or packed into one."""

    task: Literal["detection"] = "detection"
    packing: Literal["separate", "rows", "columns", "end2end", "detection_output"] = "separate"
    """separate: ``boxes`` (N,4) and ``scores`` (N,) or (N,classes), maybe ``classes`` (N,). rows:
    ``boxes`` is one output (N, 4 + objectness? + classes). columns: its transpose. end2end: rows of box, score, class
    (N,6), as detectors with NMS inside give them. detection_output: OpenVINO's and Caffe's (1,1,N,7), rows of picture,
    class, score, box, ended by a picture of -1."""
    boxes: TensorName
    scores: TensorName | None = None
    classes: TensorName | None = None
    count: TensorName | None = None
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
    def _check_consistency(self) -> Self:
        if self.packing == "separate" and self.scores is None:
            raise ValueError(
                "packing separate needs the name of the scores output; where one output has everything, packing is "
                "rows, columns, end2end or detection_output"
            )
        if self.packing != "separate" and (self.scores or self.classes or self.count):
            raise ValueError(
                f"packing {self.packing} has everything in boxes; scores, classes, count must go"
            )
        if self.packing not in ("rows", "columns") and self.has_objectness:
            raise ValueError("has_objectness needs packing rows or columns")
        return self


class RawSpec(StrictModel):
    """Publish output arrays as they are."""

    task: Literal["raw"] = "raw"
    outputs: Annotated[tuple[TensorName, ...], Field(max_length=1000)] | None = None
    """Names to publish; null publishes all."""


PostprocessSpec = Annotated[ClassificationSpec | DetectionSpec | RawSpec, Field(discriminator="task")]
