"""The reservoir's files: one lossless picture or window each, so that a restart does not begin with nothing.

```
<root>/<bundle>/<version>/<wall ms>.<seq>.<class>.<crc32>.<stream>.png    (a picture, channel order of the bundle)
                                                          ....npy    a window of a sensor, in its units
                                                          ....json   only the moments, where neither may be kept
```
A file appears by one rename and its name holds the checksum of its content: killed in the middle, the daemon loses the
one it was writing and nothing else. No fsync: a power cut may cost the files of the last half minute, which the
checksum tells apart, and the flash is spared the journal of every single one. Folders are 0700, files 0600. Pictures
of another bundle do not count (its classes and its preparation are others) and are removed.

No policy here: ``reservoir`` chooses the samples, ``live_reference_set`` the time of writing. One thread at a time.
"""

import math
import os
import re
import tempfile
import zlib
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from calibration.stats.regular_file import read_whole
from edge_runtime.errors import StateError
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.npy import read_npy, write_npy
from edge_runtime.inference.preprocess.headers import read_header
from edge_runtime.recalibration.reference.reservoir import InputMoments, Kept
from edge_runtime.system.own_folder import make_folder, remove

FILE_NAME = re.compile(
    r"(?P<wall_ms>\d{1,15})\.(?P<seq>\d{1,18})\.(?P<label>-?\d{1,9})\.(?P<crc>[0-9a-f]{8})\.(?P<stream>[^./]+)\.(png|npy|json)"
)
MOST_FILE_BYTES = 64 * 2**20
MOST_PIXELS = 4096 * 4096
"""The largest input of a bundle."""


class ReservoirStore:
    """The files of one model's reservoir under one bundle."""

    def __init__(self, root: Path, bundle: str) -> None:
        self._root, self.folder = root, root / bundle
        self._files: dict[tuple[str, int, int], Path] = {}

    def __contains__(self, kept: Kept) -> bool:
        return kept.id in self._files

    def __len__(self) -> int:
        return len(self._files)

    def open(
        self, now_s: float, now_wall_s: float, age_s: float, *, with_pictures: bool
    ) -> tuple[list[Kept], dict[str, int]]:
        """Read what is there; remove what cannot be used, and every picture unless ``with_pictures``.

        Captured times are wall clock on disk and monotonic in memory. Files from the future (the clock was set back)
        are removed: their age is unknown.

        Returns:
            The samples, oldest first, and how many files were removed by reason: damaged, expired, future, foreign,
            not_allowed.

        Raises:
            StateError: the folder cannot be used.
        """
        read: list[tuple[Kept, Path]] = []
        dropped: Counter[str] = Counter()
        try:
            self._make_folder()
            for path in sorted(self.folder.iterdir()):
                found = _read(path, now_s, now_wall_s, age_s, with_pictures=with_pictures)
                if isinstance(found, Kept):
                    read.append((found, path))
                else:
                    dropped[found] += 1
                    remove(path, below=self._root)
        except OSError as err:
            raise StateError(
                f"cannot use the reservoir's folder {self.folder}: {err.strerror}; check its permissions"
            ) from err
        usual = Counter(_shape_of(one) for one, _ in read).most_common(1)
        kept: list[Kept] = []
        for one, path in read:
            if _shape_of(one) == usual[0][0]:  # all of one bundle are alike
                self._files[one.id] = path
                kept.append(one)
            else:
                dropped["damaged"] += 1
                remove(path, below=self._root)
        return sorted(kept, key=lambda one: one.at_s), dict(dropped)

    def save(self, kept: Kept) -> None:
        """Write one, whole or not at all.

        Raises:
            StateError: the disk refuses (full, read-only, failing).
        """
        if kept.id in self._files:
            return
        data, suffix = _encode(kept)
        crc = f"{zlib.crc32(data):08x}"
        path = self.folder / f"{kept.id[2]}.{kept.seq}.{kept.label}.{crc}.{kept.stream}.{suffix}"
        # Not atomic_file: its two fsyncs are too slow for thousands of small pictures; the checksum finds a torn one.
        try:
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".")  # 0600
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(temporary).replace(path)
            except OSError:
                remove(Path(temporary), below=self._root)
                raise
        except OSError as err:
            raise StateError(
                f"cannot keep a frame in {self.folder}: {err.strerror}; check space and permissions"
            ) from err
        self._files[kept.id] = path

    def remove(self, kept: Kept) -> None:
        """Remove one's file if it has one; what cannot be removed now is looked at again at the next start."""
        path = self._files.pop(kept.id, None)
        if path is not None:
            remove(path, below=self._root)

    def _make_folder(self) -> None:
        for folder in (self._root, self.folder.parent, self.folder):
            make_folder(folder)
            folder.chmod(0o700)
        for of_bundle in self._root.iterdir():
            if of_bundle != self.folder.parent:
                remove(of_bundle, below=self._root)
        for of_version in self.folder.parent.iterdir():
            if of_version != self.folder:
                remove(of_version, below=self._root)


def _shape_of(kept: Kept) -> tuple[int, ...]:
    """Of its values, or the number of its channels."""
    if kept.values is not None:
        return kept.values.shape
    return (len(kept.moments.mean),) if kept.moments is not None else ()


def _read(path: Path, now_s: float, now_wall_s: float, age_s: float, *, with_pictures: bool) -> Kept | str:
    """The sample in a file, or why it cannot be used."""
    named = FILE_NAME.fullmatch(path.name)
    if named is None or not path.is_file() or path.is_symlink():
        return "foreign"
    if (path.suffix != ".json") is not with_pictures:
        return "not_allowed"
    at_wall_s = int(named["wall_ms"]) / 1000
    if at_wall_s > now_wall_s:
        return "future"
    if now_wall_s - at_wall_s > age_s:
        return "expired"
    try:
        data = read_whole(path, MOST_FILE_BYTES)
    except OSError:  # too long, or a worn-out block: this one picture is lost, not the reservoir
        return "damaged"
    if f"{zlib.crc32(data):08x}" != named["crc"]:
        return "damaged"
    values, moments = _decode(data, path.suffix)
    if values is None and moments is None:
        return "damaged"
    at_s = now_s - (now_wall_s - at_wall_s)
    return Kept(named["stream"], int(named["seq"]), int(named["label"]), at_s, at_wall_s, values, moments)


def _encode(kept: Kept) -> tuple[bytes, str]:
    if kept.values is None:
        assert kept.moments is not None
        return orjson.dumps(asdict(kept.moments)), "json"
    if kept.values.dtype != np.uint8:
        return write_npy(kept.values), "npy"
    # A named level turns off the fast strategy of OpenCV: 224 x 224 photographs are 88 KiB in 1.6 ms, else 86 in 3.5.
    done, data = cv2.imencode(".png", kept.values)
    assert done, "a PNG encoder takes any uint8 picture of 1 or 3 channels"
    return data.tobytes(), "png"


def _decode(data: bytes, suffix: str) -> tuple[NDArray[Any] | None, InputMoments | None]:
    if suffix == ".npy":
        return _decode_window(data), None
    if suffix == ".png":
        pixels = _decode_png(data)
        if pixels is None or pixels.dtype != np.uint8:
            return None, None
        return (pixels[..., np.newaxis] if pixels.ndim == 2 else pixels).astype(np.uint8, copy=False), None
    try:
        stored = orjson.loads(data)
        mean, var = (tuple(map(float, stored[part])) for part in ("mean", "var"))
        is_sound = 0 < len(mean) == len(var) and all(map(math.isfinite, mean + var)) and min(var) >= 0
        return None, InputMoments(mean, var) if is_sound else None
    except (ValueError, KeyError, TypeError, OverflowError):
        return None, None


def _decode_window(data: bytes) -> NDArray[np.float32] | None:
    try:
        window = read_npy(data)
    except InputFlaw:
        return None
    is_sound = window.ndim == 2 and window.dtype == np.float32 and np.isfinite(window).all()
    return window.copy() if is_sound else None


def _decode_png(data: bytes) -> NDArray[np.uint8] | None:
    """None for what is no PNG, or one of more than ``MOST_PIXELS``: its header is read before any memory is taken."""
    try:
        header = read_header(data)
        if header.kind != "png" or header.width * header.height > MOST_PIXELS:
            return None
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)  # type: ignore[return-value]
    except (InputFlaw, cv2.error):
        return None
