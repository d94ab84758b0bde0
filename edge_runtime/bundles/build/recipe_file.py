"""The recipe of a bundle: one YAML file, checked like the configuration. Relative paths count from its folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from edge_runtime.bundles.manifest import Envelope, Requirements
from edge_runtime.config.problems import problems_of, show
from edge_runtime.config.section import Section
from edge_runtime.config.strict_yaml import MAX_BYTES, load
from edge_runtime.config.values import FilePath, Text
from edge_runtime.errors import ConfigError, Problem
from edge_runtime.inference.specs import PostprocessSpec, PreprocessSpec, find_contradiction
from edge_runtime.system.model_formats import ModelFormat

WeightBits = Literal[7, 8]
MODEL_SUFFIXES = (".onnx", ".xml", ".pt", ".pth", ".ckpt", ".bin", ".pb")

TEMPLATE = """\
name: parts
version: 1
model: {model}
preprocess: {{colour: rgb, width: 224, height: 224, geometry: crop, filter: area_fast, mean: [...], std: [...]}}
postprocess: {{task: classification, scores: logits}}
labels: labels.txt
golden: golden            # a folder of 4 to 16 colourful pictures; they travel with the bundle
quantize: int8            # or none
calibration: pictures     # a folder of 100 to 300 pictures like those of the camera"""
"""The shortest useful recipe, for the message when a model is named where a recipe is expected."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a model is to be quantized."""

    keep_float: tuple[str, ...] = ()
    """Regular expressions for names of layers that stay float."""
    weight_bits: WeightBits = 7
    """7 keeps weights within -64..64, which every CPU adds exactly; 8 is for CPUs with VNNI and for Arm (see
    ``calibration.targets.int8_arithmetic``)."""
    keeps_decoding: bool = False
    """Whether the layers behind the last ones with weights stay float, as those of a detector must."""
    keeps_extremes: bool = False
    """Whether activations keep the range of the loudest sample, as signals need: windows are quiet and loud, and the
    mean of their ranges, NNCF's default, cuts off the loud ones. A net of Conv1d with int8 layers then differs from the
    float one by 0.13 of the spread of its outputs in place of 0.32. ONNX Runtime's quantizer does it always."""


class QuantizationLimits(Section):
    """How much a quantization may lose; one that loses more is refused."""

    accuracy_points: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Of a classifier, in points of accuracy: counted on labelled pictures, else estimated from the float model's own
    probabilities (see ``measure``)."""
    score_change: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Of a classifier whose scores say yes or no each by itself (one score, several labels): how far the one that
    changed most on a picture may move on average. Consumers compare such scores with thresholds."""
    agreement: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Of other models: least agreement with the float model's answers. The pedestrian detector agrees to 0.955 on
    street video when calibrated on pictures of that street, to 0.88 when on those of another: 0.9 tells them apart."""
    time_over_float: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 1.1
    """Of the float model's time for a picture, both measured in turn on the machine that builds: int8 that takes more
    has only made the answers worse (a tenth is noise). Raise it for a box with other instructions, or for the size."""


class RecipeFile(Section):
    """All keys of a recipe."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="what to call the bundle")]
    version: Annotated[int, Field(ge=1, le=999_999_999)] | None = None
    """Of the bundle; None takes the checkpoint's, or else 1."""
    model: Annotated[FilePath, Field(description="the model: .onnx, .xml, TorchScript .pt, or a checkpoint")]
    factory: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    """``package.module:function`` that makes the net of a checkpoint; also looked for in the recipe's folder."""
    factory_arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the factory."""
    preprocess: PreprocessSpec | None = None
    """How pictures or windows are prepared; None takes what the checkpoint says."""
    postprocess: Annotated[PostprocessSpec, Field(description="what the outputs mean")]
    labels: FilePath | tuple[Text, ...] | None = None
    """A text file with a name a line, or the names."""
    golden: Annotated[
        FilePath, Field(description="a folder of 1 to 64 pictures or windows that travel with the bundle")
    ]
    calibration: FilePath | None = None
    """A folder of inputs like those on the box: to quantize with, to compare with, for the factory moments."""
    labelled: FilePath | None = None
    """A folder of them in sub-folders named like labels: to count accuracy on."""
    formats: Annotated[tuple[ModelFormat, ...], Field(min_length=1, max_length=3)] | None = None
    """What the bundle may hold; of several the best by measurement. None: the model's own, ONNX for a checkpoint."""
    quantize: Literal["none", "int8"] = "none"
    weight_bits: WeightBits = 7
    """Of int8 weights. x86 CPUs with AVX2 and no VNNI (Intel before Ice Lake and Cascade Lake, AMD before Zen 4) add
    products of 8 bits wrongly; 7 bits are exact everywhere. 8 is for fleets of newer CPUs or Arm only: on an old CPU
    such a bundle needs slower kernels."""
    keep_float: tuple[Text, ...] = ()
    """Regular expressions for names of layers that quantization leaves alone, such as the decoding of boxes."""
    limits: QuantizationLimits = QuantizationLimits()
    first_taps: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Recalibration corrects no more layers than this, from the input on."""
    envelope: Envelope | None = None
    """What recalibration may change on the box: ``{first_taps: 10, largest_change: 2, least_frames: 64, autonomy:
    propose}``; a patch beyond it is refused. None: nothing is declared."""
    tolerance: Annotated[float, Field(gt=0, le=1)] | None = None
    """Largest difference to the golden answers that the self-test at every start accepts: 0 is the same answer, 1 one
    that has nothing to do with it. None measures it (0.02 to 0.25) and refuses golden pictures on which the usual
    mistakes in the preprocessing do not show. With a value here that check is left out: smaller
    mistakes go unnoticed."""
    requires: Requirements | None = None
    """The boxes that it is for: ``{runtime: ">=0.2", devices: [x86-64, arm64]}``; None: all."""
    source: str = ""
    """Where the model came from, for the manifest."""
    licence: str = ""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.quantize == "int8":
            self.require(self.calibration is not None, "calibration", "a folder to quantize with")
            is_int8_possible = self.formats is None or "torchscript" not in self.formats
            self.require(is_int8_possible, "formats", "onnx or openvino (there is no int8 TorchScript here)")
        for pattern in self.keep_float:
            try:
                re.compile(pattern)
            except re.error:
                self.require(False, "keep_float", "regular expressions for names of layers", repr(pattern))
        if self.preprocess is not None:
            contradiction = find_contradiction(self.preprocess, self.postprocess)
            self.require(
                contradiction is None, "postprocess", f"the task {contradiction}", self.postprocess.task
            )
        if self.labelled is not None:
            is_classifier = self.postprocess.task == "classification"
            self.require(is_classifier, "labelled", "no such folder: only classifiers are measured by labels")
        return self


def read_recipe(path: Path, changes: Mapping[str, Any]) -> RecipeFile:
    """Read and check a recipe; ``changes`` is what flags say instead of the file, by key.

    Raises:
        ConfigError: with every problem: key, line, what was found, what was expected.
    """
    text = _text(path)
    document = load(text, str(path))
    if not isinstance(document.data, dict):
        found = "an empty file" if document.data is None else show(document.data)
        problem = Problem("", None, found, "'key: value' lines: name, model, preprocess, ...")
        raise ConfigError(str(path), (problem,))
    try:
        data, context = {**document.data, **changes}, {"base": path.resolve().parent}
        return RecipeFile.model_validate(data, context=context)
    except ValidationError as err:
        raise ConfigError(str(path), tuple(problems_of(err, document, RecipeFile))) from err


def _text(path: Path) -> bytes:
    if path.suffix.lower() in MODEL_SUFFIXES:
        written = "\n".join(f"    {line}" for line in TEMPLATE.format(model=path.name).splitlines())
        expected = f"a recipe, a YAML file such as:\n{written}"
        raise ConfigError(str(path), (Problem("", None, "a model", expected),))
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as err:
        problem = Problem("", None, f"cannot be read ({err.strerror or err})", "a readable YAML file")
        raise ConfigError(str(path), (problem,)) from err
