"""How the outputs of a model become results."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge_runtime.inference.specs.base import Finite, StrictModel, TensorName, Text

ScoreKind = Literal["logits", "sigmoid_logits", "probabilities"]


class ClassificationSpec(StrictModel):
    """One vector of class scores for each input."""

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


class RegressionValue(StrictModel):
    """One number of a regression: its name, and what it means."""

    name: Annotated[Text, Field(min_length=1, max_length=100)]
    unit: Annotated[Text, Field(max_length=32)] = ""
    """For people, and for Home Assistant, which knows A, V, W, Hz, mm/s, degC and the like."""
    scale: Finite = 1.0
    """The model's number times ``scale`` plus ``offset`` is the value in ``unit``."""
    offset: Finite = 0.0
    low: Finite | None = None
    """A value below it is told as such; null: no limit."""
    high: Finite | None = None
    """A value above it is told as such; null: no limit."""
    spread: Annotated[Finite, Field(gt=0)] | None = None
    """Standard deviation of healthy values in ``unit``, by which the answers of two versions are compared; null: as
    large as ``scale``, which is right where the model was trained on values divided by it."""

    @property
    def usual_spread(self) -> float:
        """Standard deviation of healthy values in ``unit``, above 0."""
        return abs(self.scale) if self.spread is None else self.spread

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.scale == 0:
            raise ValueError("scale is 0: every value would be the same")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be less than high")
        return self


class RegressionSpec(StrictModel):
    """Numbers with a name and a unit, such as a temperature or the days until a bearing fails."""

    task: Literal["regression"]
    output: TensorName | None = None
    """Name of the output with the numbers; null takes the only one."""
    values: Annotated[tuple[RegressionValue, ...], Field(min_length=1, max_length=1000)]
    """One for each number of the output, in its order."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if len({value.name for value in self.values}) != len(self.values):
            raise ValueError("two values have the same name")
        return self


class AnomalySpec(StrictModel):
    """One number that is the higher the less an input is like the healthy ones."""

    task: Literal["anomaly"]
    score: Literal["output", "reconstruction"]
    """output: the model gives it. reconstruction: the model gives its input again, and the score is the root mean
    square of the difference, in the units of the prepared input."""
    output: TensorName | None = None
    """Name of the output with the score or the reconstruction; null takes the only one."""
    threshold: Finite | None = None
    """Scores above it are anomalous; null: it comes from the scores while the site was commissioned."""
    quantile: Annotated[float, Field(gt=0.5, le=1)] = 0.995
    """Of those scores, for a threshold of null."""
    factor: Annotated[Finite, Field(ge=1, le=1000)] = 1.5
    """The threshold is so many times as far above their median as that quantile is."""


PostprocessSpec = Annotated[
    ClassificationSpec | DetectionSpec | RegressionSpec | AnomalySpec | RawSpec, Field(discriminator="task")
]
