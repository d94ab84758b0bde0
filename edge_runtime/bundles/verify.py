"""Opens a bundle: every byte is hashed before anything but the manifest is parsed, and nothing outside is read.

What is refused: files that are missing, changed, unlisted, too large or not regular; symbolic links; paths that
leave the bundle; models of another format than the manifest says, that keep weights in other files or are in training
mode. Whether the model then *does* what the bundle promises is checked by ``self_test``. Neither onnx nor torch is
imported here.

The hashes show that a copy is whole. They do not show who made it: a file and its hash can be changed together. A
signature shows it, where the caller trusts keys; it is checked before the manifest is parsed. Hard links are taken:
backups and file systems of images (ostree, rsnapshot) make every file one, and a file whose content must have the hash
in the manifest gives nothing away.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pydantic

from calibration.errors import ModelError
from calibration.targets.base import ModelFiles
from calibration.targets.safe_form.boundary import translate_parser_errors
from calibration.targets.safe_form.decide import make_safe
from calibration.targets.safe_form.onnx_wire import OnnxFile
from edge_runtime.bundles.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest
from edge_runtime.bundles.signing.envelope import MAX_BYTES as MAX_SIGNATURE_BYTES
from edge_runtime.bundles.signing.trust import Signed, Trust
from edge_runtime.config import strict_yaml
from edge_runtime.config.problems import problems_of
from edge_runtime.errors import BundleError, ConfigError, Problem
from edge_runtime.system.model_formats import ModelFormat

MAX_FILE_BYTES = 1024 * 1024 * 1024
MAX_TOTAL_BYTES = 2 * MAX_FILE_BYTES
MAX_FILES, MAX_FOLDERS = 1002, 2000
MAX_FOLDER_DEPTH = 5
"""As deep as a path in a manifest may be."""
MAX_LABELS = 100_000
MAX_LABELS_BYTES = 4 * 1024 * 1024
MAX_GOLDEN_INPUT_BYTES = 64 * 1024 * 1024
"""Of a picture or window."""
MAX_GOLDEN_BYTES = 512 * 1024 * 1024
"""Of all golden outputs together."""
MAX_LABEL_CHARACTERS = 1000
_CHUNK_BYTES = 1024 * 1024
_COPY_AGAIN = "Copy the bundle again from its publisher."
_SMALLER = "Make the model smaller."


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle. It holds no weights: files are read, and hashed again, when they are used."""

    path: Path
    manifest: Manifest
    labels: tuple[str, ...]
    """Class names by index; empty when the bundle has none."""
    kept: Mapping[str, bytes] = field(default_factory=dict)
    """Files that are held in memory since they were verified, see :meth:`keep`."""
    signed_by: str | None = None
    """Id of the trusted key that signed it; None: unsigned, or no key is trusted."""

    @property
    def id(self) -> str:
        """Name and version, e.g. ``parts/4``."""
        return self.manifest.id

    @property
    def model_files(self) -> ModelFiles:
        """The model's bytes, one file or the two of an OpenVINO IR, and the layout of its input.

        Raises:
            BundleError: one changed since it was verified.
        """
        weights = self.manifest.weights
        return ModelFiles(
            self.read(self.manifest.model),
            None if weights is None else self.read(weights),
            layout=self.manifest.preprocess.layout,
        )

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


def load_bundle(path: Path, trust: Trust | None = None) -> Bundle:
    """Open and verify a bundle folder; without ``trust`` a signature is not looked at.

    Raises:
        BundleError: anything about it is not as its manifest says, or the trust forbids it; the message names the file
            and what to do.
    """
    with _as_bundle_error(path):
        return _verify(path, trust or Trust())


def _verify(path: Path, trust: Trust) -> Bundle:
    present = _regular_files(path)
    manifest, signed = _check_trust(path, present, trust)
    unlisted = sorted(set(present) - set(manifest.files) - {MANIFEST_FILE, SIGNATURE_FILE})
    if unlisted:
        raise _unlisted(path, unlisted)
    _check_sizes(path, manifest, present)
    needed = {manifest.model, manifest.weights, manifest.labels}
    contents: dict[str, bytes] = {}
    for name, expected in manifest.files.items():
        if name not in present:
            raise BundleError(path / name, "missing", "every file that the manifest lists", _COPY_AGAIN)
        if name in needed:
            contents[name] = Bundle(path, manifest, ()).read(name)
        else:
            _check_hash(path / name, _chunks(path / name, MAX_FILE_BYTES), expected)
    labels = () if manifest.labels is None else _labels(path / manifest.labels, contents[manifest.labels])
    weights = None if manifest.weights is None else contents[manifest.weights]
    check_model(path / manifest.model, ModelFiles(contents[manifest.model], weights), manifest.format)
    return Bundle(path, manifest, labels, signed_by=None if signed is None else signed.key_id)


def read_manifest(path: Path, trust: Trust | None = None) -> Manifest:
    """The manifest of a bundle, where it and its signature are trusted; no other file of the bundle is read.

    Raises:
        BundleError: it is not trusted, or has no manifest that can be read.
    """
    with _as_bundle_error(path):
        return _check_trust(path, _regular_files(path), trust or Trust())[0]


def _check_trust(path: Path, present: Mapping[str, int], trust: Trust) -> tuple[Manifest, Signed | None]:
    """The manifest, which is not parsed before its signature was checked."""
    text = read_bounded(path / MANIFEST_FILE, strict_yaml.MAX_BYTES)
    signed = trust.check_signature(path, _read_signature(path, present), text)
    manifest = _parse_manifest(path, text)
    trust.check_manifest(path, manifest, text, signed)
    return manifest, signed


def check_model(path: Path | str, files: ModelFiles, model_format: ModelFormat) -> ModelFiles:
    """The safe form of a model; refuses another format than said, what reaches outside, or is not for inference.

    Raises:
        BundleError: it is so.
    """
    with _as_bundle_error(path):
        safe = make_safe(files, str(path), model_format)
    if safe.onnx is not None:
        _require_evaluation(path, safe.onnx)
    return safe.files


@contextmanager
def _as_bundle_error(path: Path | str) -> Iterator[None]:
    try:
        with translate_parser_errors(str(path)):
            yield
    except ModelError as err:
        names = f" ({', '.join(err.layers[:3])})" if err.layers else ""
        raise BundleError(path, f"{err.found}{names}", err.expected, err.fix) from err


def _require_evaluation(path: Path | str, model: OnnxFile) -> None:
    if model.training:
        found = f"{len(model.training)} BatchNormalization node(s) in training mode ({model.training[0]})"
        raise BundleError(path, found, "a model in evaluation mode", "Call model.eval() before the export.")


def _check_sizes(path: Path, manifest: Manifest, sizes: Mapping[str, int]) -> None:
    """Refuse files that are too large for what they are, before one is read."""
    inputs = {golden.input for golden in manifest.golden}
    bounds = dict.fromkeys(sorted(inputs), MAX_GOLDEN_INPUT_BYTES)
    if manifest.labels is not None:
        bounds[manifest.labels] = MAX_LABELS_BYTES
    for name, most in bounds.items():
        if sizes.get(name, 0) > most:
            raise BundleError(
                path / name, f"{sizes[name]} bytes", f"at most {most} bytes", "Make it smaller."
            )
    golden_bytes = sum(sizes.get(golden.expected, 0) for golden in manifest.golden)
    if golden_bytes > MAX_GOLDEN_BYTES:
        found = f"{golden_bytes} bytes of golden outputs"
        raise BundleError(path, found, f"at most {MAX_GOLDEN_BYTES} bytes", "Take fewer of them.")


def _unlisted(path: Path, names: Sequence[str]) -> BundleError:
    found = f"files that the manifest does not list: {', '.join(map(repr, names[:5]))}"
    return BundleError(path, found, "only listed files", "Remove them, or build the bundle again.")


def _regular_files(path: Path) -> dict[str, int]:
    """Relative name -> bytes of every file below, after refusing whatever is not a plain file or folder."""
    found: dict[str, int] = {}
    folders = [(path, 0)]
    try:
        for folder, depth in folders:  # grows while it is gone through
            with os.scandir(folder) as entries:
                for entry in entries:
                    at = folder / entry.name
                    if entry.is_file(follow_symlinks=False):
                        found[at.relative_to(path).as_posix()] = entry.stat(follow_symlinks=False).st_size
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append((at, depth + 1))
                    else:
                        kind = "symbolic link" if entry.is_symlink() else "special file"
                        raise BundleError(at, kind, "plain files", "Copy the file itself into the bundle.")
                    if len(found) > MAX_FILES or len(folders) > MAX_FOLDERS or depth > MAX_FOLDER_DEPTH:
                        raise _too_many(path)
    except OSError as err:
        found_instead = f"cannot be read: {err.strerror}"
        raise BundleError(path, found_instead, "a bundle folder", "Check the path.") from err
    if MANIFEST_FILE not in found:
        expected = "a bundle folder <name>/<version>"
        raise BundleError(path, f"no {MANIFEST_FILE} in it", expected, "Check the path.")
    total = sum(found.values())
    if max(found.values()) > MAX_FILE_BYTES or total > MAX_TOTAL_BYTES:
        size, expected = f"{len(found)} files, {total} bytes", f"at most {MAX_TOTAL_BYTES} bytes"
        raise BundleError(path, size, expected, _SMALLER)
    return found


def _too_many(path: Path) -> BundleError:
    found = f"more than {MAX_FILES - 2} files, {MAX_FOLDERS} folders, or folders {MAX_FOLDER_DEPTH} deep"
    return BundleError(path, found, "the files of one bundle", "Remove what does not belong to it.")


def _read_signature(path: Path, sizes: Mapping[str, int]) -> bytes | None:
    """None where there is none; its size is bounded even where nobody looks at it."""
    return read_bounded(path / SIGNATURE_FILE, MAX_SIGNATURE_BYTES) if SIGNATURE_FILE in sizes else None


def _parse_manifest(path: Path, text: bytes) -> Manifest:
    at = path / MANIFEST_FILE
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
    fix = "Write one label a line."
    try:
        labels = tuple(line.strip() for line in data.decode("utf-8-sig").splitlines())
    except UnicodeDecodeError as err:
        raise BundleError(path, "not UTF-8", "one label a line in UTF-8", "Save the file as UTF-8.") from err
    if not labels or len(labels) > MAX_LABELS:
        raise BundleError(path, f"{len(labels)} labels", f"1 to {MAX_LABELS} labels", fix)
    if (longest := max(map(len, labels))) > MAX_LABEL_CHARACTERS:
        expected = f"at most {MAX_LABEL_CHARACTERS} characters"
        raise BundleError(path, f"a label of {longest} characters", expected, fix)
    return labels


def _check_hash(path: Path, chunks: Iterable[bytes], expected: str) -> None:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    if digest.hexdigest() != expected:  # which is not shown: the file may be a link to a foreign one
        raise BundleError(path, "another sha256", f"{expected[:12]}… as in the manifest", _COPY_AGAIN)


def read_bounded(path: Path, most: int) -> bytes:
    """A file's bytes; never through a symbolic link.

    Raises:
        BundleError: it cannot be read, or has more than ``most`` bytes.
    """
    return b"".join(_chunks(path, most))


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
