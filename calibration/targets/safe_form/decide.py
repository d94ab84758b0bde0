"""What a model file is, by its bytes, and the form of it that a framework may be given.

``model_files`` and ``open`` look at the bytes too: to name a file, and to choose which target refuses it.
"""

from dataclasses import dataclass
from typing import Literal

from calibration.errors import ModelError
from calibration.targets.base import FORMATS, ModelFiles
from calibration.targets.safe_form.boundary import translate_parser_errors
from calibration.targets.safe_form.ir import NotIr, rewrite_ir
from calibration.targets.safe_form.onnx_wire import NotOnnx, OnnxFile, TooDeep, read_onnx
from calibration.targets.safe_form.torch_archive import NotTorchScript, check_archive

Format = Literal["onnx", "openvino", "torchscript"]

_WORDS: dict[Format, str] = {"onnx": "ONNX", "openvino": "an OpenVINO IR", "torchscript": "TorchScript"}
_ZIP = b"PK\x03\x04"
_START_BYTES = 64
_BOM = b"\xef\xbb\xbf"
_AGAIN = "Give the model file itself, or export it again."
_COMPILED = {"EPContext"}
"""Operators that stand for a file or a program of an accelerator's compiler."""


@dataclass(frozen=True, slots=True)
class SafeModel:
    """A model that was looked through."""

    format: Format
    files: ModelFiles
    """What a framework may be given. Hashes are those of the file itself, not of this."""
    onnx: OnnxFile | None = None
    """What is in it, of an ONNX file."""


def detect_format(data: bytes) -> Format:
    """The format by the first bytes alone; all that is neither XML nor a zip archive is taken for ONNX."""
    if data.startswith(_ZIP):
        return "torchscript"
    start = data[:_START_BYTES].removeprefix(_BOM).lstrip()
    return "openvino" if start.startswith((b"<?xml", b"<net", b"<!--")) else "onnx"


def make_safe(files: ModelFiles, name: str = "model", declared: Format | None = None) -> SafeModel:
    """Look through a model, whatever it is, and give the form of it that a framework may open.

    Args:
        files: As they are on disk.
        name: For messages.
        declared: What a manifest or a suffix says it is; another format is refused.

    Raises:
        ModelError: not a model of a known format, not of the declared one, or one that must not be opened.
    """
    found = detect_format(files.data)
    if declared is not None and found != declared:
        fix = "Correct the format, or give the file that was meant."
        raise ModelError(name, f"{_WORDS[found]} by its bytes", _WORDS[declared], fix)
    if (files.weights is None) == (found == "openvino"):
        fix = "Keep an .xml and its .bin together, and only those."
        raise ModelError(name, f"{_WORDS[found]} with a wrong number of files", "the .xml and the .bin", fix)
    match found:
        case "openvino":
            return SafeModel(found, _safe_ir(files, name))
        case "torchscript":
            return SafeModel(found, _safe_torchscript(files, name))
        case "onnx":
            model = safe_onnx(files.data, name)
            return SafeModel(found, ModelFiles(model.data), model)


def safe_onnx(data: bytes, name: str = "model") -> OnnxFile:
    """An ONNX file that keeps its weights inside and names no file.

    Raises:
        ModelError: it is not one.
    """
    try:
        with translate_parser_errors(name):
            model = read_onnx(data)
    except TooDeep as err:
        fix = "Simplify it (onnxsim), or export the part that takes one sample at a time; speech models do not fit."
        raise ModelError(name, str(err), "a model whose graph is flat", fix) from err
    except NotOnnx as err:
        raise ModelError(name, f"not an ONNX file, or cut short: {err}", FORMATS, _AGAIN) from err
    if model.external:
        fix = "Save the model with its weights inside (onnx.save without external data)."
        raise ModelError(
            name, "weights in another file", "all weights in the model file", fix, model.external
        )
    compiled = sorted(_COMPILED & model.operators.keys())
    if compiled:
        fix = "Give the ONNX file that it was compiled from."
        raise ModelError(name, f"a compiled model in another file ({compiled[0]})", "a plain model", fix)
    return model


def _safe_ir(files: ModelFiles, name: str) -> ModelFiles:
    weights = files.weights or b""
    try:
        with translate_parser_errors(name):
            return ModelFiles(rewrite_ir(files.data, len(weights)), weights)
    except NotIr as err:
        fix = "Check that both files are whole and belong together; save it again with openvino.save_model."
        raise ModelError(name, f"not an OpenVINO IR that can be used: {err}", "an OpenVINO IR", fix) from err


def _safe_torchscript(files: ModelFiles, name: str) -> ModelFiles:
    try:
        with translate_parser_errors(name):
            check_archive(files.data)
    except NotTorchScript as err:
        fix = "Save it with torch.jit.save(torch.jit.script(model.eval()), path), or torch.jit.trace."
        raise ModelError(
            name, f"not TorchScript that can be used: {err}", "a whole TorchScript file", fix
        ) from err
    return files
