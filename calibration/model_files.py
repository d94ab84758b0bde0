"""How a model gets onto the disk: one file, or the .xml and the .bin of an OpenVINO IR, whole or not in effect.

Knows files, no framework. Called by the CLI and by whoever deploys a patched model.
"""

from pathlib import Path

from calibration import tensor_file
from calibration.errors import ModelError
from calibration.targets.base import ModelFiles


def write(path: Path, files: ModelFiles) -> tuple[Path, ...]:
    """Put a model at ``path`` (of an IR the .xml; the .bin goes beside it); gives the files written.

    An IR is valid only as a pair, and two renames are not one: an old .xml is taken away before the weights change
    and the new one comes last. Whoever is cut off in between leaves no model, never a mixed one.

    Raises:
        ModelError: an IR to a path that is no .xml.
        OSError: the directory cannot be written.
    """
    if files.weights is None:
        tensor_file.write_atomically(path, files.data)
        return (path,)
    if path.suffix.lower() != ".xml":
        fix = "Name the .xml; the .bin is written beside it."
        raise ModelError(str(path), "an OpenVINO IR under another suffix", "a path that ends in .xml", fix)
    beside, waiting = path.with_suffix(".bin"), path.with_suffix(".bin.new")
    tensor_file.write_atomically(
        waiting, files.weights
    )  # a full disk shows here, with the old pair untouched
    try:
        path.unlink(missing_ok=True)
        waiting.replace(beside)
        tensor_file.write_atomically(path, files.data)
    finally:
        waiting.unlink(missing_ok=True)
    return path, beside
