"""What a model file is by its bytes, and what to do with one that is of no use here.

Runs nothing that is in a file: a pickle is only listed.
"""

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from calibration.targets.safe_form.boundary import PARSER_ERRORS
from calibration.targets.safe_form.onnx_wire import NotOnnx, TooDeep, read_onnx
from edge_runtime.errors import BundleError
from edge_runtime.system.model_formats import ModelFormat

Kind = Literal["checkpoint", ModelFormat]

EXPECTED = "an ONNX file, an OpenVINO IR (.xml), TorchScript (.pt), or a checkpoint with a factory"
_ZIP, _PICKLE = b"PK\x03\x04", (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_PLAIN = ("collections.", "torch._utils.", "builtins.", "__builtin__.", "numpy.")
_UNREADABLE: tuple[type[Exception], ...] = (*PARSER_ERRORS, OSError, RuntimeError)
"""RuntimeError is of an encrypted member."""
_MOST_SHOWN = 3
_WEIGHTS = (
    "Load them into the net, and save torch.save({'state_dict': net.state_dict(), ...}, path) with a factory."
)
_FOREIGN: dict[str, tuple[str, str]] = {
    ".pb": (
        "a TensorFlow graph",
        "Convert it to ONNX (python -m tf2onnx.convert) or to an OpenVINO IR (ovc), and give that file.",
    ),
    ".h5": ("a Keras model", "Convert it to ONNX (python -m tf2onnx.convert --keras), and give that file."),
    ".keras": ("a Keras model", "Export it to ONNX (model.export(path, format='onnx')), and give that file."),
    ".tflite": (
        "a TensorFlow Lite model",
        "Convert it to ONNX (python -m tf2onnx.convert --tflite), and give that file.",
    ),
    ".safetensors": ("weights without the net (safetensors)", _WEIGHTS),
    ".engine": ("a TensorRT engine, which fits one GPU only", "Give the ONNX file that it was made from."),
}


def detect_kind(path: Path, data: bytes) -> Kind:
    """What the file is.

    Raises:
        BundleError: none of the kinds that bundles are made from, or under another one's suffix.
    """
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return "openvino"
    if suffix in _FOREIGN:
        raise BundleError(path, _FOREIGN[suffix][0], EXPECTED, _FOREIGN[suffix][1])
    found = _torch_kind(path, data)
    if suffix == ".onnx":
        if found is not None:
            word = "TorchScript" if found == "torchscript" else "a checkpoint of torch"
            raise BundleError(path, f"{word}, not ONNX", "an ONNX file", f"Call it {path.stem}.pt.")
        return "onnx"
    if found is not None:
        return found
    if _is_onnx(data):
        found_words = f"an ONNX file that is called {suffix}"
        raise BundleError(path, found_words, EXPECTED, f"Call it {path.stem}.onnx.")
    found_words = "an empty file" if not data else "neither TorchScript nor a checkpoint of torch.save"
    raise BundleError(path, found_words, EXPECTED, "Check that the file is whole, or export it again.")


def _torch_kind(path: Path, data: bytes) -> Kind | None:
    """Whether torch wrote it, and what; TorchScript also has code and constants, torch.save has none."""
    if data.startswith(_PICKLE):
        return "checkpoint"  # as torch wrote before 1.6
    if not data.startswith(_ZIP):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                return "torchscript"
            pickles = [name for name in names if name.endswith("/data.pkl")]
            classes = _foreign_classes(archive.read(pickles[0])) if pickles else []
    except _UNREADABLE as err:
        fix = "Copy or export it again."
        raise BundleError(path, "a damaged archive of torch", EXPECTED, fix) from err
    if classes:
        found = f"pickled objects of class {', '.join(classes[:_MOST_SHOWN])} (as torch.save(net) makes)"
        fix = (
            "They run code when opened. Save tensors and plain values only, torch.save({'state_dict': "
            "net.state_dict(), ...}, path), and name a factory; or export the net: torch.jit.script, torch.onnx.export."
        )
        raise BundleError(path, found, EXPECTED, fix)
    return "checkpoint" if pickles else None


def _foreign_classes(pickled: bytes) -> list[str]:
    """Classes of nets that a pickle would make: the author's, and those of torch.nn."""
    found = [name for name in dict.fromkeys(_globals(pickled)) if not name.startswith(_PLAIN)]
    nets = [name for name in found if not name.startswith("torch.") or name.startswith("torch.nn.modules.")]
    return [name for name in nets if not name.startswith("torch.")] or nets


def _globals(pickled: bytes) -> Iterator[str]:
    """Every ``module.name`` that a pickle looks up, in any protocol."""
    texts, memo, last = list[str](), list[str](), ""
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif operation.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif operation.name == "MEMOIZE":
            memo.append(last)
        elif operation.name in ("BINGET", "LONG_BINGET") and int(argument or 0) < len(memo):
            texts.append(memo[int(argument or 0)])
        last = argument if isinstance(argument, str) else ""
        if last and operation.name != "GLOBAL":
            texts.append(last)


def _is_onnx(data: bytes) -> bool:
    try:
        read_onnx(data)
    except NotOnnx as err:
        return isinstance(err, TooDeep)
    return True
