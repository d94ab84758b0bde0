"""The model a recipe names, whatever it is, and its float forms: each checked to answer as the source itself.

Frameworks are imported only for the kinds and formats that need them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.targets import model_files
from calibration.targets.base import ModelFiles
from calibration.targets.safe_form.onnx_wire import NotOnnx, read_onnx
from edge_runtime.bundles.build.candidates import ALONE, ModelCandidate, open_candidate
from edge_runtime.bundles.build.file_kind import Kind, detect_kind
from edge_runtime.bundles.build.measure import run_all
from edge_runtime.bundles.build.recipe_file import RecipeFile
from edge_runtime.bundles.build.refusals import FormatAttempts, refuse_engine_errors, refuse_own_model
from edge_runtime.bundles.compare import measure_difference
from edge_runtime.bundles.input_check import check_input
from edge_runtime.bundles.verify import check_model
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.factory import open_engine
from edge_runtime.inference.engines.parts import parts_of
from edge_runtime.inference.specs import PreprocessSpec, read_preprocess
from edge_runtime.system.model_formats import ModelFormat

FORMATS: dict[Kind, tuple[ModelFormat, ...]] = {
    "checkpoint": ("onnx", "openvino", "torchscript"),
    "onnx": ("onnx", "openvino"),
    "openvino": ("openvino",),
    "torchscript": ("torchscript", "openvino"),
}
"""What each kind of source can become; the first is taken when the recipe does not say."""

Answers = Callable[[NDArray[np.float32]], dict[str, NDArray[Any]]]
"""A model as a function of a batch."""

FLOAT_PARITY = 1e-3
"""Largest difference between float forms of one model, RMS over the spread of the outputs. Other kernels add in another
order and fold BatchNorm (measured: EfficientNet-Lite0 1.6e-6 in each of three formats); a wrong operator, layout or
padding changes far more than this."""

_FIX = "Report it to the converter's authors; until then take another of the formats."


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A model as its author has it."""

    path: Path
    kind: Kind
    files: ModelFiles | None
    """None for a checkpoint."""
    net: Any = None
    """The ``torch.nn.Module`` of a checkpoint."""
    preprocessing: Any = None
    version: Any = None


def open_source(recipe: RecipeFile, folder: Path) -> SourceModel:
    """Read the model that the recipe names; ``folder`` is the recipe's.

    Raises:
        BundleError: not readable, or not what the recipe says it is.
    """
    path = recipe.model
    try:
        files = model_files.read(path)
    except ModelError as err:
        raise BundleError(path, err.found, err.expected, err.fix) from err
    kind = detect_kind(path, files.data)
    if kind != "checkpoint":
        if recipe.factory is not None:
            found = f"factory given, but this is a whole model ({kind})"
            fix = "Take factory out of the recipe, or name the checkpoint as model."
            raise BundleError(path, found, "a checkpoint", fix)
        if kind == "onnx":
            files = _without_constant_norms(_in_one_file(path, files))
        return SourceModel(path, kind, check_model(path, files, kind))
    if recipe.factory is None:
        found, expected = "a checkpoint (weights without the net)", "a factory that makes the net"
        raise BundleError(path, found, expected, "Write factory: package.module:function into the recipe.")
    from edge_runtime.bundles.build.export import build_net, read_checkpoint

    saved = read_checkpoint(path)
    net = build_net(path, saved.weights, recipe.factory, recipe.factory_arguments, folder)
    return SourceModel(path, kind, None, net, saved.preprocessing, saved.version)


def find_preprocess(recipe: RecipeFile, source: SourceModel) -> PreprocessSpec:
    """How the model wants its pictures, by recipe or checkpoint.

    Raises:
        BundleError: neither says it, or they differ: one of them is wrong, and nothing else would notice.
    """
    if source.preprocessing is None:
        if recipe.preprocess is None:
            fix = "Write preprocess into the recipe: as it was when the model was validated."
            raise BundleError(source.path, "nothing says how inputs are prepared", "preprocess", fix)
        return recipe.preprocess
    at = f"{source.path}: preprocessing"
    try:
        said = read_preprocess(source.preprocessing)
    except pydantic.ValidationError as err:
        if recipe.preprocess is not None:  # in words of the training's own
            return recipe.preprocess
        found = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in err.errors()[:5])
        fix = "Save it so, or write preprocess into the recipe."
        raise BundleError(at, found, "the keys of preprocess in a recipe", fix) from err
    if recipe.preprocess is not None and recipe.preprocess != said:
        ours = recipe.preprocess.model_dump()
        names = [name for name, value in said.model_dump().items() if value != ours.get(name)]
        found = f"{', '.join(names)} differ from the recipe's preprocess"
        raise BundleError(at, found, "the same in both", "Take preprocess out of the recipe, or correct it.")
    return said


def choose_formats(recipe: RecipeFile, source: SourceModel, spec: PreprocessSpec) -> tuple[ModelFormat, ...]:
    """What the model is to become.

    Raises:
        BundleError: it cannot become that.
    """
    if recipe.quantize == "int8" and parts_of(spec):
        fix = "Write quantize: none; a model that is quantized already (static QDQ) is taken as it is."
        raise BundleError(source.path, "int8 from a model with several inputs", "a model with one input", fix)
    possible = FORMATS[source.kind]
    wanted = recipe.formats or possible[:1]
    impossible = [name for name in wanted if name not in possible]
    if impossible:
        found = f"formats {', '.join(impossible)} from a model that is {source.kind}"
        fix = "Give the checkpoint or the ONNX file it was made from."
        raise BundleError(source.path, found, f"{', '.join(possible)}", fix)
    if recipe.quantize == "int8" and "torchscript" in wanted:
        fix = "Write formats: [openvino], or quantize: none."
        raise BundleError(source.path, "int8 from TorchScript as TorchScript", "another format", fix)
    return wanted


def make_answer_function(source: SourceModel, spec: PreprocessSpec) -> Answers:
    """The source as a function of a batch of prepared pictures (N, ...), which gives its outputs by name.

    Raises:
        BundleError: it does not run, or takes other pictures.
        EngineError: its library is not installed.
    """
    if source.kind == "checkpoint":
        from edge_runtime.bundles.build.export import run_net

        return lambda batch: run_net(source.net, batch, parts_of(spec))
    assert source.files is not None
    with refuse_engine_errors(source.path):
        engine = open_engine(source.files, source.kind, spec.tensor_shape, ALONE, parts=parts_of(spec))
    check_input(source.path, spec, engine.input)

    def answers(batch: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        with refuse_engine_errors(source.path):
            return run_all(engine, batch)

    return answers


def convert_source(
    source: SourceModel,
    formats: Sequence[ModelFormat],
    spec: PreprocessSpec,
    probes: NDArray[np.float32],
    attempts: FormatAttempts,
    answers: Answers,
) -> list[ModelCandidate]:
    """The model in each format, checked to say the same as the source on ``probes``, prepared pictures (N, ...).

    Raises:
        BundleError: every conversion fails, or changes the answers by more than ``FLOAT_PARITY``.
        EngineError: a library is not installed.
    """
    expected, found = answers(probes), list[ModelCandidate]()
    forms = _Forms(source, spec, list(expected))
    for name in formats:
        with attempts.trying(name):
            model = forms.of(name)
            if model is source.files:
                candidate = open_candidate(name, model, spec)
            else:
                with refuse_own_model(f"as {name}"):
                    candidate = open_candidate(name, model, spec)
                gap = measure_difference(run_all(candidate.engine, probes), expected)
                if not gap <= FLOAT_PARITY:
                    words = f"as {name} its answers to the golden inputs differ by {gap:.3g}"
                    raise BundleError(source.path, words, f"at most {FLOAT_PARITY:g}", _FIX)
            found.append(candidate)
    if not found:
        raise attempts.refusal()
    return found


def _in_one_file(path: Path, files: ModelFiles) -> ModelFiles:
    try:
        if not read_onnx(files.data).external:
            return files
    except NotOnnx:  # said by check_model
        return files
    from edge_runtime.bundles.build.onnx_source import embed_weights

    return ModelFiles(embed_weights(path, files.data))


def _without_constant_norms(files: ModelFiles) -> ModelFiles:
    try:
        if not read_onnx(files.data).training:
            return files
    except NotOnnx:  # said by check_model
        return files
    from edge_runtime.bundles.build.constant_norm import fold_constant_norms

    return ModelFiles(fold_constant_norms(files.data))


class _Forms:
    """The source in each format; a checkpoint is exported once for all, an old ONNX file brought up to date."""

    def __init__(self, source: SourceModel, spec: PreprocessSpec, outputs: Sequence[str]) -> None:
        self._source, self._outputs = source, outputs
        self._shape, self._parts = spec.tensor_shape, parts_of(spec)
        self._onnx: ModelFiles | BundleError | None = None

    def of(self, wanted: ModelFormat) -> ModelFiles:
        """The files of a format.

        Raises:
            BundleError: the source cannot become that.
        """
        source = self._source
        if wanted == "onnx":
            return self._as_onnx()
        if wanted == source.kind:
            assert source.files is not None
            return source.files
        if wanted == "torchscript":
            from edge_runtime.bundles.build.export import export_torchscript

            return export_torchscript(source.net, self._shape, self._parts)
        from edge_runtime.bundles.build.convert import convert_onnx, convert_torchscript

        if source.kind == "torchscript":
            assert source.files is not None
            return convert_torchscript(source.files.data, self._shape, self._outputs, self._parts)
        return convert_onnx(self._as_onnx().data, self._shape, self._parts)

    def _as_onnx(self) -> ModelFiles:
        """Once: an export takes ten seconds, and one that failed fails again."""
        if self._onnx is None:
            try:
                self._onnx = self._exported()
            except BundleError as err:
                self._onnx = err
        if isinstance(self._onnx, BundleError):
            raise self._onnx
        return self._onnx

    def _exported(self) -> ModelFiles:
        source = self._source
        if source.kind == "checkpoint":
            from edge_runtime.bundles.build.export import export_onnx

            return export_onnx(source.net, self._shape, parts=self._parts)
        from edge_runtime.bundles.build.onnx_source import upgrade_opset

        assert source.files is not None
        data = upgrade_opset(source.files.data)
        return source.files if data == source.files.data else ModelFiles(data)
