"""How the outputs of a model become results."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge_runtime.inference.specs.base import StrictModel, TensorName

ScoreKind = Literal["logits", "sigmoid_logits", "probabilities"]


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
