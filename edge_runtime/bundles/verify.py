"""Opens a bundle: every byte is hashed before anything but the manifest is parsed, and nothing outside is read.

What is refused: files that are missing, changed, unlisted, too large or not regular; symbolic links; paths that
leave the bundle; models that keep weights in other files or are in training mode. Whether the model then *does*
what the bundle promises is checked by ``self_test``. Neither onnx nor torch is imported here.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pydantic

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest
from edge_runtime.bundles.onnx_walk import NotOnnx, TooDeep, read_onnx_facts
from edge_runtime.config import strict_yaml
from edge_runtime.config.problems import problems_of
from edge_runtime.errors import BundleError, ConfigError, Problem

MAX_FILE_BYTES = 1024 * 1024 * 1024
MAX_TOTAL_BYTES = 2 * MAX_FILE_BYTES
MAX_LABELS = 100_000
_CHUNK_BYTES = 1024 * 1024
_COPY_AGAIN = "Copy the bundle again from its publisher."


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle. It holds no weights: files are read, and hashed again, when they are used."""

    path: Path
    manifest: Manifest
    labels: tuple[str, ...]
    """Class names by index; empty when the bundle has none."""
    kept: Mapping[str, bytes] = field(default_factory=dict)
    """Files that are held in memory since they were verified, see :meth:`keep`."""

    @property
    def id(self) -> str:
        """Name and version, e.g. ``parts/4``."""
        return self.manifest.id

    @property
    def model_files(self) -> ModelFiles:
        """The model's bytes: one file, or the two of an OpenVINO IR.

        Raises:
            BundleError: one changed since it was verified.
        """
        weights = self.manifest.weights
        return ModelFiles(self.read(self.manifest.model), None if weights is None else self.read(weights))

    def read(self, name: str) -> bytes:
        """One listed file; the bytes that come out are those that were hashed.

        Raises:
            BundleError: it changed since it was verified, or is not listed.
        """
        if name in self.kept:
            return self.kept[name]
        expected = self.manifest.files.get(name)
        if expected is None:
            raise BundleError(self.path / name, "not listed in the manifest", "a listed file", _COPY_AGAIN)
        data = b"".join(_chunks(self.path / name, MAX_FILE_BYTES))
        _check_hash(self.path / name, [data], expected)
        return data

    def keep(self, names: Iterable[str]) -> "Bundle":
        """The same bundle with these files in memory: what needs them later does not depend on the disk.

        Raises:
            BundleError: one changed since it was verified, or is not listed.
        """
        return replace(self, kept={**self.kept, **{name: self.read(name) for name in names}})


def load_bundle(path: Path) -> Bundle:
    """Open and verify a bundle folder.

    Raises:
        BundleError: anything about it is not as its manifest says; the message names the file and what to do.
    """
    present = _regular_files(path)
    manifest = _read_manifest(path)
    unlisted = sorted(set(present) - set(manifest.files) - {MANIFEST_FILE, SIGNATURE_FILE})
    if unlisted:
        found = f"files that the manifest does not list: {', '.join(unlisted[:5])}"
        fix = "Remove them, or build the bundle again."
        raise BundleError(path, found, "only listed files", fix)
    for name, expected in manifest.files.items():
        if name not in present:
            raise BundleError(path / name, "missing", "every file that the manifest lists", _COPY_AGAIN)
        _check_hash(path / name, _chunks(path / name, MAX_FILE_BYTES), expected)
    bundle = Bundle(path, manifest, ())
    labels = () if manifest.labels is None else _labels(path / manifest.labels, bundle.read(manifest.labels))
    if manifest.format == "onnx":
        check_onnx(path / manifest.model, bundle.read(manifest.model))
    return Bundle(path, manifest, labels)


def check_onnx(path: Path | str, model: bytes) -> None:
    """Refuse ONNX files that reach outside or are not for inference.

    Raises:
        BundleError: it is so.
    """
    try:
        facts = read_onnx_facts(model)
    except TooDeep as err:
        fix = "Simplify it (onnxsim), or export the part that looks at the picture alone; speech models do not fit."
        raise BundleError(path, str(err), "a picture model, whose graph is flat", fix) from err
    except NotOnnx as err:
        raise BundleError(path, f"not an ONNX file: {err}", "an ONNX model", "Export it again.") from err
    if facts.external:
        names = ", ".join(facts.external[:3])
        fix = "Save the model with its weights inside (onnx.save without external data)."
        raise BundleError(path, f"weights in other files ({names})", "all weights in the model file", fix)
    if facts.training:
        found = f"{len(facts.training)} BatchNormalization node(s) in training mode ({facts.training[0]})"
        raise BundleError(path, found, "a model in evaluation mode", "Call model.eval() before the export.")


def _regular_files(path: Path) -> dict[str, int]:
    """Relative name -> bytes of every file below, after refusing whatever is not a plain file or folder."""
    found: dict[str, int] = {}
    try:
        for folder, folders, files in os.walk(path, onerror=_raise):
            for name in (*folders, *files):
                at = Path(folder) / name
                status = at.lstat()
                relative = at.relative_to(path).as_posix()
                if stat.S_ISREG(status.st_mode):
                    found[relative] = status.st_size
                elif not stat.S_ISDIR(status.st_mode):
                    kind = "symbolic link" if stat.S_ISLNK(status.st_mode) else "special file"
                    raise BundleError(at, kind, "plain files", "Copy the file itself into the bundle.")
    except OSError as err:
        found_instead = f"cannot be read: {err.strerror}"
        raise BundleError(path, found_instead, "a bundle folder", "Check the path.") from err
    if MANIFEST_FILE not in found:
        expected = "a bundle folder <name>/<version>"
        raise BundleError(path, f"no {MANIFEST_FILE} in it", expected, "Check the path.")
    total = sum(found.values())
    if max(found.values()) > MAX_FILE_BYTES or total > MAX_TOTAL_BYTES or len(found) > 1002:
        size = f"{len(found)} files, {total} bytes"
        expected = f"at most 1000 files and {MAX_TOTAL_BYTES} bytes"
        raise BundleError(path, size, expected, "Make the model smaller.")
    return found


def _raise(err: OSError) -> None:
    raise err


def _read_manifest(path: Path) -> Manifest:
    at = path / MANIFEST_FILE
    text = b"".join(_chunks(at, strict_yaml.MAX_BYTES))
    try:
        document = strict_yaml.load(text, str(at))
        return Manifest.model_validate(document.data)
    except ConfigError as err:
        raise _misfit(at, err.problems, "a bundle manifest") from err
    except pydantic.ValidationError as err:
        raise _misfit(at, problems_of(err, document, Manifest), "a manifest of version 1") from err


def _misfit(at: Path, problems: Sequence[Problem], expected: str) -> BundleError:
    listed = "; ".join(str(problem) for problem in problems[:10])
    return BundleError(at, listed, expected, "Build the bundle again.")


def _labels(path: Path, data: bytes) -> tuple[str, ...]:
    try:
        labels = tuple(line.strip() for line in data.decode("utf-8-sig").splitlines())
    except UnicodeDecodeError as err:
        raise BundleError(path, "not UTF-8", "one label a line in UTF-8", "Save the file as UTF-8.") from err
    if not labels or len(labels) > MAX_LABELS:
        fix = "Write one label a line."
        raise BundleError(path, f"{len(labels)} labels", f"1 to {MAX_LABELS} labels", fix)
    return labels


def _check_hash(path: Path, chunks: Iterable[bytes], expected: str) -> None:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    if (found := digest.hexdigest()) != expected:
        raise BundleError(path, f"sha256 {found[:12]}…", f"{expected[:12]}… as in the manifest", _COPY_AGAIN)


def _chunks(path: Path, most: int) -> Iterator[bytes]:
    """The file's bytes; never through a symbolic link, never more than ``most``."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
            done = 0
            while chunk := file.read(_CHUNK_BYTES):
                done += len(chunk)
                if done > most:
                    found, expected = f"more than {most} bytes", f"at most {most} bytes"
                    raise BundleError(path, found, expected, "Make it smaller.")
                yield chunk
    except OSError as err:
        raise BundleError(path, f"cannot be read: {err.strerror}", "a readable file", _COPY_AGAIN) from err
