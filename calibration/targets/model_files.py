"""Reads and writes model files: one file, or the .xml and the .bin of an OpenVINO IR.

No framework is imported here.
"""

from pathlib import Path

from calibration.errors import ModelError
from calibration.stats import atomic_file
from calibration.stats.regular_file import read_whole
from calibration.targets.base import ModelFiles

MOST_BYTES = 4 * 2**30
"""Of one file; protobuf, and so ONNX, ends at 2 GiB."""
_ZIP = b"PK\x03\x04"


def suffix(files: ModelFiles) -> str:
    """The suffix of its format: .xml for an IR, .pt for TorchScript (a zip archive of torch), else .onnx."""
    if files.weights is not None:
        return ".xml"
    is_torch_archive = files.data.startswith(_ZIP) and b"/data.pkl" in files.data  # .npz is a zip too
    return ".pt" if is_torch_archive else ".onnx"


def read(path: Path) -> ModelFiles:
    """The bytes of a model; of an IR, a path that ends in .xml, also those of its .bin.

    Raises:
        ModelError: a file cannot be read.
    """
    data = _bytes(path, "a model file", "Check the path.")
    if path.suffix.lower() != ".xml":
        return ModelFiles(data)
    fix = "An OpenVINO IR is two files: keep them together."
    return ModelFiles(data, _bytes(path.with_suffix(".bin"), f"the weights of {path.name}", fix))


def read_named(folder: Path, stem: str) -> ModelFiles:
    """The model ``stem`` in ``folder``, in any format.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    return read(find_named(folder, stem))


def find_named(folder: Path, stem: str) -> Path:
    """Path of the model ``stem`` in ``folder``, in any format; the ONNX path when there is none."""
    paths = [folder / f"{stem}{suffix}" for suffix in (".onnx", ".xml", ".pt")]
    return next((path for path in paths if path.is_file()), paths[0])


def _bytes(path: Path, expected: str, fix: str) -> bytes:
    try:
        return read_whole(path, MOST_BYTES)
    except OSError as err:
        raise ModelError(str(path), f"cannot be read ({err.strerror})", expected, fix) from err


def write(path: Path, files: ModelFiles) -> tuple[Path, ...]:
    """Put a model at ``path`` (of an IR the .xml; the .bin goes into the same folder); gives the files written.

    Two renames are not atomic. The old .xml is deleted before the weights change and the new one is written last, each
    step on the disk before the next: an interrupted write, or a power cut, leaves no model, never a mixed one.

    Raises:
        ModelError: an IR to a path that is no .xml, or another format to one.
        OSError: the directory cannot be written.
    """
    is_ir = path.suffix.lower() == ".xml"
    if files.weights is None:
        if is_ir:
            fix = f"Name it {path.with_suffix(suffix(files)).name}."
            raise ModelError(str(path), "no OpenVINO IR under its suffix", "the suffix of the format", fix)
        atomic_file.write_atomically(path, files.data)
        return (path,)
    if not is_ir:
        fix = "Name the .xml; the .bin is written next to it."
        raise ModelError(str(path), "an OpenVINO IR under another suffix", "a path that ends in .xml", fix)
    weights, waiting = path.with_suffix(".bin"), path.with_suffix(".bin.new")
    # A full disk shows here, with the old pair untouched.
    atomic_file.write_atomically(waiting, files.weights)
    try:
        path.unlink(missing_ok=True)
        atomic_file.sync_directory(path.parent)
        waiting.replace(weights)
        atomic_file.sync_directory(path.parent)
        atomic_file.write_atomically(path, files.data)
    finally:
        waiting.unlink(missing_ok=True)
    return path, weights
