"""How inputs become tensors and outputs become results: the specifications that a bundle carries.

Typed, frozen and checked on construction. They drive ``preprocess``, ``signals`` and ``postprocess``.
"""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from edge_runtime.inference.specs.base import MAX_NAME_CHARACTERS, Finite, StrictModel, TensorName
from edge_runtime.inference.specs.outputs import (
    AnomalySpec,
    ClassificationSpec,
    DetectionSpec,
    PostprocessSpec,
    RawSpec,
    RegressionSpec,
    RegressionValue,
    ScoreKind,
)
from edge_runtime.inference.specs.pictures import MAX_INPUT_PIXELS, Colour, Filter, PictureSpec
from edge_runtime.inference.specs.signal_inputs import SignalInput
from edge_runtime.inference.specs.signals import PayloadSpec, SignalChannel, SignalSpec
from edge_runtime.system.lazy_adapter import LazyAdapter

__all__ = [
    "MAX_INPUT_PIXELS",
    "MAX_NAME_CHARACTERS",
    "AnomalySpec",
    "ClassificationSpec",
    "Colour",
    "DetectionSpec",
    "Filter",
    "Finite",
    "PayloadSpec",
    "PictureSpec",
    "PostprocessSpec",
    "PreprocessSpec",
    "RawSpec",
    "RegressionSpec",
    "RegressionValue",
    "ScoreKind",
    "SignalChannel",
    "SignalInput",
    "SignalSpec",
    "StrictModel",
    "TensorName",
    "find_contradiction",
    "find_obstacle_to_recalibration",
    "read_preprocess",
    "reads_input",
]


def _kind_of(data: Any) -> str:
    """Pictures are told by no key: their bundles are older than signals. Another kind is refused by ``SignalSpec``."""
    kind = data.get("kind") if isinstance(data, dict) else getattr(data, "kind", None)
    return "picture" if kind in (None, "picture") else "signal"


PreprocessSpec = Annotated[
    Annotated[PictureSpec, Tag("picture")] | Annotated[SignalSpec, Tag("signal")], Discriminator(_kind_of)
]
"""How an input becomes the model's tensor: a picture, or with ``kind: signal`` a window of samples."""
_PREPROCESS: LazyAdapter[PreprocessSpec] = LazyAdapter(PreprocessSpec)


def read_preprocess(data: Any) -> PreprocessSpec:
    """The specification in a mapping.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return _PREPROCESS.adapter.validate_python(data)


def find_contradiction(preprocess: PreprocessSpec, postprocess: PostprocessSpec) -> str | None:
    """What ``postprocess.task`` must be instead, with these inputs; None where it fits."""
    if isinstance(preprocess, SignalSpec) and isinstance(postprocess, DetectionSpec):
        return "classification, regression, anomaly or raw: windows of a sensor have no boxes to detect"
    return None


def find_obstacle_to_recalibration(preprocess: PreprocessSpec) -> str | None:
    """Why no model with these inputs can be watched and corrected; None where that is up to the model itself."""
    if not isinstance(preprocess, SignalSpec) or not preprocess.inputs:
        return None
    names = ", ".join(one.name for one in preprocess.inputs)
    return f"the model has several inputs ({names}), and only models with one can be watched and corrected"


def reads_input(postprocess: PostprocessSpec) -> bool:
    """Whether an answer is read from the prepared input as well as from the outputs."""
    return isinstance(postprocess, AnomalySpec) and postprocess.score == "reconstruction"
