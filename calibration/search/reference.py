"""The reference set: reads it, refuses broken frames, leaves out those that show nothing, splits it.

Pure numpy and one npz reader (never pickles).
"""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError
from calibration.stats.moments import FrameMoments, TapMoments, join, moments_of_frames
from calibration.stats.signal_features import is_signal, is_vector

FEWEST_FRAMES = 8
"""Below it neither moments nor scores mean anything."""

FLAT_SHARE = 0.02
"""A frame whose spread is below this share of the healthy one shows nothing: lens cap, dead sensor, test pattern."""

LARGEST_VALUE = 1e9
"""Beyond it float32 squares and sums overflow; no preprocessing makes such values."""

MOST_CLASSES = 2**31 - 1

_UNREADABLE = (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, RuntimeError)
"""What numpy and zipfile raise for an archive that is damaged, encrypted, of an unknown compression or not theirs."""

SAMPLES = "float32 (N, C, H, W) pictures, (N, C, T) windows or (N, F) features"
_NPZ_FORM = f"an npz with x, {SAMPLES}, and optionally y, integers (N,)"
_NPZ_FIX = "Write it with numpy.savez(path, x=x)."


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """Prepared samples and, when known, their classes."""

    x: NDArray[np.float32]
    """(N, C, ...) finite."""
    y: NDArray[np.int64] | None = None
    """(N,) or None."""
    further_input: FrameMoments | None = None
    """Input moments (M, C) of further frames of the same time, of which no picture was kept."""

    def input_moments(self, observed: NDArray[np.float32]) -> TapMoments:
        """Moments of the input over the observed frames (n, C, ...) and the further ones."""
        seen = moments_of_frames(observed)
        return (seen if self.further_input is None else join([seen, self.further_input])).pool()

    def with_further_input(self, further: FrameMoments | None) -> "ReferenceSet":
        """The same with input moments of further frames.

        Raises:
            DataError: they have other channels, or are not finite.
        """
        if further is not None:
            is_finite = np.isfinite(further.mean).all() and np.isfinite(further.var).all()
            if further.mean.shape[1] != self.x.shape[1] or not is_finite or (further.var < 0).any():
                found = f"mean and variance {further.mean.shape}, or values that cannot be"
                raise DataError("further_input", found, f"finite (M, {self.x.shape[1]}), variance >= 0")
        return replace(self, further_input=further)


@dataclass(frozen=True, slots=True)
class Usable:
    """Which frames may be used."""

    index: NDArray[np.intp]
    """Sorted indices of the good ones."""
    left_out: Mapping[str, int]
    """Counts by reason."""
    problem: str | None = None
    """Why not even these may be used, for people."""

    def without(self, flags: NDArray[np.bool_], reason: str) -> "Usable":
        """The same without the flagged ones among the good; ``flags`` is (len(index),)."""
        count = int(flags.sum())
        left_out = {**self.left_out, reason: count} if count else self.left_out
        return replace(self, index=self.index[~flags], left_out=left_out)


def load_npz(path: str | Path) -> ReferenceSet:
    """Read ``x`` and, if present, ``y`` from an npz file.

    Raises:
        DataError: missing, damaged, pickled, or arrays of another dtype or shape.
    """
    where = str(path)
    try:
        with Path(path).open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                raise DataError(where, "not an npz file", _NPZ_FORM, _NPZ_FIX)
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                x, y = archive.get("x"), archive.get("y")
    except FileNotFoundError as err:
        raise DataError(where, "no such file", _NPZ_FORM) from err
    except _UNREADABLE as err:
        raise DataError(where, f"cannot be read ({err})", _NPZ_FORM, _NPZ_FIX) from err
    if x is None:
        raise DataError(where, "no array named x", _NPZ_FORM, _NPZ_FIX)
    return check(x, y, where)


def check(x: NDArray[Any], y: NDArray[Any] | None = None, where: str = "reference") -> ReferenceSet:
    """The arrays as a reference set.

    Raises:
        DataError: wrong dtype or shape, no frames, or values that are not finite or absurd (the frames are named).
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim < 2 or not x.size:
        found = f"x is {x.dtype} {x.shape}" if isinstance(x, np.ndarray) else f"x is a {type(x).__name__}"
        fix = "Prepare the samples as for the model and convert with x.astype(numpy.float32)."
        raise DataError(where, found, f"{SAMPLES}, N >= 1", fix)
    bad = [i for i, frame in enumerate(x) if not np.isfinite(frame).all()]
    if bad:
        raise DataError(where, "NaN or infinite values", "finite samples", "Leave these out.", bad)
    absurd = [i for i, frame in enumerate(x) if max(frame.max(), -frame.min()) > LARGEST_VALUE]
    if absurd:
        found = f"values beyond {LARGEST_VALUE:g}"
        raise DataError(where, found, "samples prepared as for the model", "Leave these out.", absurd)
    return ReferenceSet(x, None if y is None else _checked_labels(y, len(x), where))


def _checked_labels(y: NDArray[Any], count: int, where: str) -> NDArray[np.int64]:
    if not np.issubdtype(y.dtype, np.integer) or y.shape != (count,):
        fix = "Convert with y.astype(numpy.int64)."
        raise DataError(
            where, f"y is {y.dtype} {y.shape}", f"integers ({count},), one class index a sample", fix
        )
    bad = (y < 0) | (y > MOST_CLASSES)
    if bad.any():
        expected = f"class indices from 0 to {MOST_CLASSES}"
        raise DataError(where, "labels that name no class", expected, "", np.flatnonzero(bad).tolist())
    return y.astype(np.int64)


def find_repeated(x: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) True for frames of ``x`` (N, C, ...) that are equal to an earlier one, bit for bit: they say nothing new."""
    seen: dict[bytes, int] = {}
    repeated = np.zeros(len(x), np.bool_)
    for i, frame in enumerate(x):
        repeated[i] = seen.setdefault(hashlib.sha256(frame.tobytes()).digest(), i) != i
    return repeated


def find_usable(x: NDArray[np.float32], frames: FrameMoments, healthy: TapMoments) -> Usable:
    """Leave out frames of ``x`` (N, C, ...) that show nothing, and exact repetitions.

    ``frames`` are its single-frame moments, ``healthy`` the baseline's moments of the input. A window of a signal shows
    nothing when every channel is constant: a machine may stand still. A vector of features always shows something.
    """
    if not is_signal(x.shape[1:]):
        flat = np.sqrt(frames.var.mean(1)) <= FLAT_SHARE * np.sqrt(healthy.var.mean())
    elif is_vector(x.shape[1:]):
        flat = np.zeros(len(x), np.bool_)
    else:
        flat = (np.ptp(x, axis=-1) == 0).all(axis=1)
    repeated = find_repeated(x)
    found = Usable(np.arange(len(x)), {}).without(flat, "shows nothing (constant or black)")
    return found.without(repeated[~flat], "repeated")


def split(
    count: int, most_observed: int, most_judged: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices to observe and indices to judge on, both sorted; the same for the same generator state.

    What is left over when enough frames are observed is held out, and judged on first. Few frames are used twice:
    moments know no answers, and moments of too few frames cost more than held-out ones would tell.
    """
    order = rng.permutation(count)
    held_out_first = np.concatenate([order[most_observed:], order[:most_observed]])
    return np.sort(order[:most_observed]), np.sort(held_out_first[:most_judged])
