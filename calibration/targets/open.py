"""Which framework a model file belongs to: from a path, bytes or the two files of an IR to a target.

The one place that names the backends; their frameworks are imported only when a file asks for them.
"""

from dataclasses import replace
from pathlib import Path

from calibration.errors import ModelError
from calibration.patch import Patch
from calibration.stats.moments import ANSWERS_TAP, INPUT_TAP, TapMoments, moments_of_frames
from calibration.stats.sensor_features import SENSOR_TAPS
from calibration.targets import model_files
from calibration.targets.base import Batch, InputLayout, ModelFiles
from calibration.targets.safe_form.decide import detect_format
from calibration.targets.target import Target

Model = str | Path | bytes | ModelFiles
"""A model file's path, its bytes, or the bytes of both files of an OpenVINO IR."""

_TAKEN_NAMES = frozenset({INPUT_TAP, ANSWERS_TAP, *SENSOR_TAPS})
"""Names that mean something else in baselines and patches."""

_TORCHSCRIPT_SUFFIXES = (".pt", ".pth", ".ts", ".torchscript")


def open_target(model: Model, threads: int = 1, layout: InputLayout | None = None) -> Target:
    """Open a model for recalibration: ONNX, TorchScript, or an OpenVINO IR (.xml with its .bin).

    Args:
        model: The file or files.
        threads: For every pass.
        layout: Of the model's input; None is that of ``model``, and if there is none what the model itself says.

    Raises:
        ModelError: unreadable, of an unknown format, or nothing in it can be corrected.
    """
    if isinstance(model, str | Path):
        files, name = model_files.read(Path(model)), str(model)
    else:
        files, name = model if isinstance(model, ModelFiles) else ModelFiles(model), "model"
    target = _open(files if layout is None else replace(files, layout=layout), name, threads)
    _require_free_names(name, target)
    return target


def observe_patched(target: Target, patch: Patch, x: Batch, threads: int = 1) -> dict[str, TapMoments]:
    """The moments of ``x``, float32 (N, C, ...), at the input and the taps of the patched model.

    Taps that the patch made unreadable are left out.

    Raises:
        PatchError: the patch was made for another model.
    """
    seen = dict(open_target(target.patched(patch).files, threads).observe(x).moments)
    on_input = patch.taps.get(INPUT_TAP)
    if on_input is not None:  # it is folded into the first layer: outside, the input looks as before
        seen[INPUT_TAP] = moments_of_frames(on_input.apply(x)).pool()
    return seen


def _open(files: ModelFiles, name: str, threads: int) -> Target:
    """Two files are an IR; an archive of torch, or a suffix of TorchScript, is TorchScript; everything else ONNX."""
    if files.weights is not None:
        return _open_openvino(files, name, threads)
    if detect_format(files.data) == "openvino":
        fix = "Give the path of the .xml, or ModelFiles(xml, weights)."
        raise ModelError(name, "one file of an OpenVINO IR", "the .xml and the .bin", fix)
    if model_files.suffix(files) == ".pt" or Path(name).suffix.lower() in _TORCHSCRIPT_SUFFIXES:
        return _open_torchscript(files, name, threads)
    return _open_onnx(files, name, threads)


def _require_free_names(name: str, target: Target) -> None:
    taken = [tap.name for tap in target.taps if tap.name in _TAKEN_NAMES]
    if taken:
        fix = f"Rename them and export the model again ({', '.join(sorted(_TAKEN_NAMES))} mean something else here)."
        raise ModelError(name, "layers with names that are taken", "other names", fix, taken)


def open_onnx(data: bytes, name: str = "model", threads: int = 1) -> Target:
    """Open the bytes of an ONNX model."""
    return _open_onnx(ModelFiles(data), name, threads)


def open_openvino(xml: bytes, weights: bytes, name: str = "model", threads: int = 1) -> Target:
    """Open the bytes of an OpenVINO IR."""
    return _open_openvino(ModelFiles(xml, weights), name, threads)


def open_torchscript(data: bytes, name: str = "model", threads: int = 1) -> Target:
    """Open the bytes of a TorchScript file."""
    return _open_torchscript(ModelFiles(data), name, threads)


def _open_onnx(files: ModelFiles, name: str, threads: int) -> Target:
    from calibration.targets.onnx.backend import OnnxBackend

    return Target(OnnxBackend(files, name, threads))


def _open_openvino(files: ModelFiles, name: str, threads: int) -> Target:
    try:
        from calibration.targets.openvino.backend import OpenVinoBackend
    except ModuleNotFoundError as err:
        if err.name != "openvino":
            raise
        fix = "Install the extra edge-runtime[openvino] (or: pip install 'openvino>=2026.0')."
        raise ModelError(name, "an OpenVINO IR, and openvino is not installed", "openvino", fix) from err
    return Target(OpenVinoBackend(files, name, threads))


def _open_torchscript(files: ModelFiles, name: str, threads: int) -> Target:
    try:
        from calibration.targets.torchscript.backend import TorchScriptBackend
    except ModuleNotFoundError as err:
        if err.name != "torch":
            raise
        fix = "Install the extra edge-runtime[torch] (or: pip install 'torch==2.13.0')."
        raise ModelError(name, "TorchScript, and torch is not installed", "torch", fix) from err
    return Target(TorchScriptBackend(files, name, threads))
