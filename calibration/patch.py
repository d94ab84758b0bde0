"""A recalibration as data: per tap and channel ``y' = scale * y + offset``, over an unchanged model.

Eight bytes a channel and no word about frameworks: each target works out its own constants.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import PatchError
from calibration.stats import atomic_file, tensor_file
from calibration.stats.moments import INPUT_TAP, TapMoments, Vector, blend_taps

SCALE_LIMITS = (1 / 5, 5.0)
"""A channel whose spread changed more than this is not the same feature any more; a dead one would amplify noise."""

RELATIVE_EPS = 1e-5
"""Added to variances, as a share of the tap's mean variance: the model's own scale decides what is nothing."""

FORMAT = 1
_KIND = "patch"
_AGAIN = "Recalibrate again."


@dataclass(frozen=True, slots=True)
class Affine:
    """A correction of one tap: ``scale`` and ``offset``, float32 (C,), scale > 0, all finite."""

    scale: NDArray[np.float32]
    offset: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.scale.ndim != 1 or self.scale.shape != self.offset.shape:
            raise PatchError("patch", "scale and offset of other shapes", "two equal (C,)", _AGAIN)
        if not (np.isfinite(self.scale).all() and np.isfinite(self.offset).all() and (self.scale > 0).all()):
            raise PatchError("patch", "a non-finite or non-positive value", "finite, scale > 0", _AGAIN)

    @property
    def touched(self) -> NDArray[np.bool_]:
        """(C,) True where the correction is not exactly the identity."""
        return np.asarray((self.scale != 1) | (self.offset != 0), np.bool_)

    def part_way(self, share: float) -> "Affine":
        """The same correction taken only ``share`` (0..1) of the way from the identity."""
        scale = 1 + share * (self.scale.astype(np.float64) - 1)
        return Affine(scale.astype(np.float32), (share * self.offset).astype(np.float32))

    def apply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Correct ``x`` (N, C, ...)."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return x * self.scale.reshape(shape) + self.offset.reshape(shape)


@dataclass(frozen=True, slots=True, repr=False)
class Patch:
    """Corrections per tap (``input`` is the input itself; absent taps stay) and what they are for.

    Attributes:
        taps: Correction per tap.
        model_sha256: The model file it is for.
        baseline_id: ``Baseline.id`` of the baseline it was made from.
        candidate: Name of the candidate, as in ``Verdict.candidate``.
        frames: Reference frames it was estimated on.
        created_wall_s: Unix time at which it was made.
    """

    taps: Mapping[str, Affine]
    model_sha256: str
    baseline_id: str
    candidate: str
    frames: int
    created_wall_s: float

    def __repr__(self) -> str:
        return f"Patch({self.id}, {self.candidate!r}, {len(self.taps)} taps, {self.channels} channels)"

    @property
    def id(self) -> str:
        """First 16 hex digits of the content's sha256; equal corrections of equal models have equal ids."""
        digest = hashlib.sha256(self.model_sha256.encode())
        for tap, affine in self.taps.items():
            digest.update(tap.encode() + b"\0" + affine.scale.tobytes() + affine.offset.tobytes())
        return digest.hexdigest()[:16]

    @property
    def channels(self) -> int:
        """Channels it speaks of."""
        return sum(affine.scale.size for affine in self.taps.values())

    def correct_input(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """``x`` (N, C, ...) as the patched model's first layer takes it; as it is where the input stays."""
        on_input = self.taps.get(INPUT_TAP)
        return x if on_input is None else on_input.apply(x)

    def require_origin(self, model_sha256: str, baseline_id: str) -> None:
        """Refuse it where another model or another baseline is in use.

        Raises:
            PatchError: it was made for another one; the text says which of the two differs.
        """
        for what, found, expected in (
            ("model", self.model_sha256, model_sha256),
            ("baseline", self.baseline_id, baseline_id),
        ):
            if found != expected:
                fix = "Leave it out: a patch belongs to one model and one baseline."
                raise PatchError(f"patch {self.id}", f"of the {what} {found[:16]}", f"{expected[:16]}", fix)

    def to_bytes(self) -> bytes:
        """The patch file."""
        affines = list(self.taps.values())
        empty = np.empty(0, np.float32)
        arrays = {
            "scale": np.concatenate([empty, *(a.scale for a in affines)]),
            "offset": np.concatenate([empty, *(a.offset for a in affines)]),
        }
        header = {
            "format": FORMAT,
            "taps": [[tap, int(affine.scale.size)] for tap, affine in self.taps.items()],
            "model_sha256": self.model_sha256,
            "baseline_id": self.baseline_id,
            "candidate": self.candidate,
            "frames": self.frames,
            "created_wall_s": self.created_wall_s,
        }
        return tensor_file.encode(_KIND, arrays, header)

    def save(self, path: str | Path) -> None:
        """Write the patch file, whole or not at all."""
        atomic_file.write_atomically(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> "Patch":
        """Read a patch file.

        Raises:
            PatchError: missing, damaged, or not a patch.
        """
        try:
            arrays, header = tensor_file.read(_KIND, Path(path))
            return cls._from(arrays, header)
        except tensor_file.TensorFileProblem as err:
            raise PatchError(str(path), str(err), "a patch written by this library", _AGAIN) from err
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as err:
            found = f"fields are wrong ({err})"
            raise PatchError(str(path), found, f"a patch of format {FORMAT}", _AGAIN) from err

    @classmethod
    def _from(cls, arrays: tensor_file.Arrays, header: Mapping[str, Any]) -> "Patch":
        if header["format"] != FORMAT:
            raise ValueError(tensor_file.other_format(header["format"], FORMAT))
        scale, offset = arrays["scale"], arrays["offset"]
        sizes = [int(size) for _, size in header["taps"]]
        whole = sum(sizes)
        if scale.dtype != np.float32 or offset.dtype != np.float32 or min(sizes, default=1) < 1:
            raise ValueError("scale and offset must be float32, channels positive")
        if scale.shape != (whole,) or offset.shape != (whole,):
            raise ValueError(f"{scale.shape} and {offset.shape} values for {whole} channels")
        ends = np.cumsum(sizes)
        parts = zip(header["taps"], np.split(scale, ends), np.split(offset, ends), strict=False)
        taps = {str(tap): Affine(*part) for (tap, _), *part in parts}
        return cls(
            taps=taps,
            model_sha256=str(header["model_sha256"]),
            baseline_id=str(header["baseline_id"]),
            candidate=str(header["candidate"]),
            frames=int(header["frames"]),
            created_wall_s=_finite(header["created_wall_s"]),
        )


def _finite(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{number} where a number is expected")
    return number


def spread(var: Vector, reference_var: Vector) -> Vector:
    """Standard deviation with the eps that belongs to a tap whose healthy variances are ``reference_var``."""
    eps = RELATIVE_EPS * float(reference_var.mean()) + np.finfo(np.float64).tiny
    return np.asarray(np.sqrt(var + eps), np.float64)


def correction(observed: TapMoments, baseline: TapMoments, prior: float = 0.0) -> Affine:
    """The affine map that gives a drifted tap the baseline's moments back.

    ``y' = (y - m) * s_b / s + m_b`` with (m, s) the observed moments blended with ``prior`` of the baseline. No drift
    gives exactly scale 1 and offset 0. The scale is kept within ``SCALE_LIMITS``.
    """
    mixed = blend_taps(observed, baseline, prior)
    ratio = spread(baseline.var, baseline.var) / spread(mixed.var, baseline.var)
    scale = np.clip(ratio, *SCALE_LIMITS)
    offset = baseline.mean - scale * mixed.mean
    untouched = (scale == 1) & (mixed.mean == baseline.mean)
    return Affine(scale.astype(np.float32), np.where(untouched, 0.0, offset).astype(np.float32))


def clipped_channels(affines: Mapping[str, Affine]) -> int:
    """How many channels hit ``SCALE_LIMITS``."""
    low, high = (np.float32(limit) for limit in SCALE_LIMITS)
    return sum(int(((a.scale <= low) | (a.scale >= high)).sum()) for a in affines.values())
