"""Makes a bundle: golden outputs from the real preprocessing and engine, factory moments, hashes, all or nothing.

The folder appears by one rename, after it passed the checks that a device makes at every start.
"""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import safetensors.numpy
import yaml
from numpy.typing import NDArray

import calibration
from calibration.errors import ModelError
from calibration.targets import model_files
from calibration.targets.base import ModelFiles
from calibration.targets.safe_form.onnx_wire import OnnxFile, read_onnx
from edge_runtime.bundles.answer_check import require_numbers
from edge_runtime.bundles.build.refusals import shorten
from edge_runtime.bundles.build.tolerance import measure_tolerance
from edge_runtime.bundles.input_check import check_input
from edge_runtime.bundles.manifest import (
    MANIFEST_FILE,
    CalibrationHints,
    Envelope,
    Golden,
    Manifest,
    Provenance,
    Requirements,
)
from edge_runtime.bundles.self_test import prepare_golden, run_one, self_test
from edge_runtime.bundles.verify import check_model, load_bundle
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.base import Engine
from edge_runtime.inference.preprocess import channels_first
from edge_runtime.inference.specs import PostprocessSpec, PreprocessSpec, find_obstacle_to_recalibration
from edge_runtime.system.model_formats import ModelFormat

LABELS_FILE, MOMENTS_FILE = "labels.txt", "moments.safetensors"
FORMATS: dict[str, ModelFormat] = {".onnx": "onnx", ".xml": "openvino", ".pt": "torchscript"}
"""A model's format by the suffix of its file."""
_OF_ONE_CPU = frozenset({"com.microsoft.nchwc", "com.ms.internal.nhwc"})
_DYNAMIC = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Decisions of the author; the rest of the manifest is computed."""

    name: str
    version: int
    preprocess: PreprocessSpec
    postprocess: PostprocessSpec
    first_taps: int | None = None
    """Recalibration never corrects more taps than this."""
    provenance: Provenance = field(default_factory=Provenance)
    tolerance: float | None = None
    """Largest accepted difference in the self-test, 0..1; None measures it, and sees that mistakes would show."""
    envelope: Envelope | None = None
    """What recalibration may change on the box; None: nothing is declared."""
    requires: Requirements | None = None
    """The boxes that the bundle is for; None: all."""


@dataclass(frozen=True, slots=True)
class Materials:
    """Model, golden inputs and labels of a bundle."""

    model: ModelFiles
    """A complete ONNX or TorchScript file, or both files of an OpenVINO IR."""
    golden: Mapping[str, bytes]
    """By file name: encoded pictures, colourful, different from each other, larger than the model's input; or windows
    as array files."""
    labels: Sequence[str] = ()
    healthy: NDArray[np.float32] | None = None
    """Prepared healthy samples (N, ...) in the model's layout for the factory moments; None leaves them out, and so do
    models that moments cannot be taken of."""


def find_target(recipe: Recipe, out_dir: Path) -> Path:
    """The folder of the bundle.

    Raises:
        BundleError: it exists.
    """
    target = out_dir / recipe.name / str(recipe.version)
    if target.exists():
        raise BundleError(target, "it exists", "a new version", "Bundles never change: raise the version.")
    return target


def build_bundle(recipe: Recipe, materials: Materials, engine: Engine, out_dir: Path) -> Path:
    """Write ``out_dir/<name>/<version>/`` and return its path; ``engine`` runs ``materials.model``.

    Raises:
        BundleError: the model or pictures cannot make a bundle that works, or this version exists; nothing is left.
        EngineError: the engine failed.
    """
    target = find_target(recipe, out_dir)
    if model_files.suffix(materials.model) == ".onnx":
        check_model("model", materials.model, "onnx")
        read = read_onnx(materials.model.data)
        _check_quantization(read)
        _check_portability(read)
    check_input(recipe.name, recipe.preprocess, engine.input)
    moments, no_moments = _factory_moments(recipe, materials)
    files = _contents(recipe, materials, engine, moments)
    manifest = _manifest(recipe, materials, engine, files, no_moments)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=".draft-"))
    try:
        for name, data in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(data)
        (draft / MANIFEST_FILE).write_text(to_yaml(manifest), encoding="utf-8")
        try:
            self_test(load_bundle(draft), engine)
        except BundleError as err:
            raise _as_the_author_knows_it(err, recipe.name, draft) from err
        draft.chmod(0o755)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds bundles
            target.parent.rmdir()
    return target


def _check_quantization(model: OnnxFile) -> None:
    """Refuse quantized ONNX models that can never be recalibrated on the device; float models pass.

    Recalibration rescales the weight scale of each output channel (one for all channels is spread out first), so
    weights and scales must be constants of the graph, and activations must be quantized with fixed scales.
    """
    operators = model.operators
    dynamic = ", ".join(name for name in _DYNAMIC if operators[name])
    if dynamic:
        fix = "Quantize with onnxruntime.quantization.quantize_static, QuantFormat.QDQ and calibration pictures."
        raise BundleError("model", f"dynamic quantization ({dynamic})", "static QDQ quantization", fix)
    if operators["QLinearConv"]:
        fix = "Quantize with QuantFormat.QDQ instead of QOperator."
        raise BundleError("model", "fused quantized operators (QLinearConv)", "QDQ format", fix)


def _check_portability(model: OnnxFile) -> None:
    """Refuse what ONNX Runtime has optimised for one kind of CPU and written to a file.

    Its operators have the names of ONNX and other weights (in blocks of 8 or 16 channels): no other CPU runs them, and
    nothing here may take them for ONNX's own.
    """
    bound = sorted(_OF_ONE_CPU & (model.domains.keys() - model.functions))
    if bound:
        found = f"optimised for one kind of CPU ({model.domains[bound[0]]} of {bound[0]})"
        fix = "Give the file that it was made from: ONNX Runtime optimises it on each box."
        raise BundleError("model", found, "a model for every CPU", fix)


def _as_the_author_knows_it(err: BundleError, name: str, draft: Path) -> BundleError:
    """The same refusal about what its author has: the draft folder is gone when it is read."""
    inside = Path(err.path)
    at = str(inside.relative_to(draft)) if inside.is_relative_to(draft) else err.path
    at = {".": name, MANIFEST_FILE: name, LABELS_FILE: "labels"}.get(at, at)
    return BundleError(at, err.found, err.expected, err.fix)


def to_yaml(manifest: Manifest) -> str:
    """The text of ``bundle.yaml``: only what differs from the defaults, plus the task."""
    data = manifest.model_dump(mode="json", exclude_defaults=True)
    data["postprocess"] = {"task": manifest.postprocess.task, **data["postprocess"]}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    return f"# An edge-runtime bundle; made by `edge-runtime bundle build`, checked at every load. Do not edit.\n{text}"


def _named_files(model: ModelFiles) -> dict[str, bytes]:
    """The model's file, and the .bin of an IR, by name."""
    files = {f"model{model_files.suffix(model)}": model.data}
    return files if model.weights is None else {**files, "model.bin": model.weights}


def _factory_moments(recipe: Recipe, materials: Materials) -> tuple[bytes | None, str]:
    """The factory baseline, or why there is none: the model serves without it, but cannot be recalibrated."""
    if materials.healthy is None:
        return None, ""
    if (obstacle := find_obstacle_to_recalibration(recipe.preprocess)) is not None:
        return None, obstacle
    healthy = channels_first(materials.healthy, recipe.preprocess)
    try:
        model = replace(materials.model, layout=recipe.preprocess.layout)
        baseline = calibration.profile(model, healthy, healthy_samples=0, created_wall_s=0.0)
    except ModelError as err:
        return None, shorten(f"{err.found}; expected {err.expected}", 300)
    return baseline.to_bytes(), ""


def _contents(
    recipe: Recipe, materials: Materials, engine: Engine, moments: bytes | None
) -> dict[str, bytes]:
    """Every file but the manifest, by relative name."""
    if not materials.golden:
        found, fix = f"no golden {recipe.preprocess.noun}s", "Correct it and build again."
        raise BundleError(recipe.name, found, "at least one", fix)
    files = _named_files(materials.model)
    if materials.labels:
        files[LABELS_FILE] = ("\n".join(materials.labels) + "\n").encode()
    if moments is not None:
        files[MOMENTS_FILE] = moments
    for name, payload in materials.golden.items():
        outputs = run_one(engine, prepare_golden(recipe.preprocess, f"golden/{name}", payload).tensor)
        require_numbers(outputs)
        broken = [key for key, array in outputs.items() if not np.isfinite(array).all()]
        if broken:
            found = f"output {', '.join(broken)} is not finite for {name}"
            raise BundleError("model", found, "finite outputs", "Check weights and mean/std.")
        files[f"golden/{name}"] = payload
        arrays = {key: np.array(array, np.float32, order="C") for key, array in outputs.items()}
        files[_expected_name(name)] = safetensors.numpy.save(arrays)
    return files


def _manifest(
    recipe: Recipe, materials: Materials, engine: Engine, files: Mapping[str, bytes], no_moments: str
) -> Manifest:
    tolerance, compare = measure_tolerance(recipe, recipe.tolerance, materials.golden, engine)
    return Manifest(
        schema_version=1,
        name=recipe.name,
        version=recipe.version,
        format=FORMATS[model_files.suffix(materials.model)],
        model=next(iter(_named_files(materials.model))),
        weights=None if materials.model.weights is None else "model.bin",
        labels=LABELS_FILE if LABELS_FILE in files else None,
        preprocess=recipe.preprocess,
        postprocess=recipe.postprocess,
        golden=tuple(_golden(recipe.preprocess, name) for name in materials.golden),
        tolerance=tolerance,
        compare=compare,
        calibration=CalibrationHints(
            moments=MOMENTS_FILE if MOMENTS_FILE in files else None,
            no_moments=no_moments,
            first_taps=recipe.first_taps,
            envelope=recipe.envelope,
        ),
        provenance=recipe.provenance,
        requires=recipe.requires,
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    )


def _golden(spec: PreprocessSpec, name: str) -> Golden:
    return Golden.model_validate({spec.noun: f"golden/{name}", "expected": _expected_name(name)})


def _expected_name(name: str) -> str:
    return f"golden/{Path(name).stem}.safetensors"
