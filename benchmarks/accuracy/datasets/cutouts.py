"""The cut-out benchmark: 146 labelled photo cut-outs on three backgrounds, split by object.

The pictures are GPL and come from the Debian package ``tuxpaint-stamps-default``: installed, never shipped. The
label map (``data/tuxpaint_imagenet_map.json``, made by hand before any prediction was seen) is ours. No package has
enough labelled ImageNet photographs, so figures of this benchmark are *not* ImageNet top-1.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.records import NotInstalled

SIDE = 224
STAMPS = Path("/usr/share/tuxpaint/stamps")
LABEL_MAP = Path(__file__).parent / "data" / "tuxpaint_imagenet_map.json"
SITE_OBJECTS, BASELINE_OBJECTS = 73, 41
"""Of 146; the other 73 are the test, three composites each: 219 pictures. A site goes on showing what it showed while
it was healthy: baseline (128) and reference (219) are other composites of the same 73 objects. With ``new_objects`` the
reference shows what the baseline has never seen: 41 objects (123 pictures) and 32 others (96)."""
BASELINE_PICTURES = 128
FEW_PICTURES = 66
"""Of two objects, as often on every background: a reference of 64 can be drawn from them."""

Pixels = NDArray[np.uint8]


class PicturesMissing(NotInstalled):
    """The cut-outs are not installed; the message names the package."""

    def __init__(self, folder: Path, found: int, expected: int) -> None:
        super().__init__(
            f"{folder}: {found} of {expected} cut-out pictures found. "
            "Install them with: apt-get install tuxpaint-stamps-default (161 MB)"
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Composites of one part of the objects."""

    pixels: Pixels
    """uint8 (N,224,224,3), RGB."""
    accepted: tuple[frozenset[int], ...]
    """Per picture the ImageNet class indices that count as right."""

    def accuracy(self, predicted: NDArray[np.int64]) -> float:
        """Share of right answers; ``predicted`` is (N,)."""
        right = [int(p) in a for p, a in zip(predicted, self.accepted, strict=True)]
        return float(np.mean(right))

    def first(self, count: int) -> "Part":
        """The first ``count`` pictures; they are in random order."""
        return Part(self.pixels[:count], self.accepted[:count])


@dataclass(frozen=True, slots=True)
class Split:
    """Three parts without a common picture; the test shares no object with the others."""

    baseline: Part
    reference: Part
    test: Part


def load_split(seed: int, stamps: Path = STAMPS, *, new_objects: bool = False) -> Split:
    """The benchmark for one seed: which object is where, and how each composite looks.

    Args:
        seed: Of the split and the composites.
        stamps: Where the pictures are installed.
        new_objects: The reference shows other objects than the baseline.

    Raises:
        PicturesMissing: the package with the pictures is not installed.
    """
    rng = np.random.default_rng([seed, 146])
    objects = _objects(rng, stamps)
    site, test = objects[:SITE_OBJECTS], objects[SITE_OBJECTS:]
    seen, shown = (site[:BASELINE_OBJECTS], site[BASELINE_OBJECTS:]) if new_objects else (site, site)
    baseline, reference, held_back = (_compose(part, rng) for part in (seen, shown, test))
    return Split(baseline.first(BASELINE_PICTURES), reference, held_back)


def two_kinds(seed: int, stamps: Path = STAMPS) -> Part:
    """Many composites of only two of the objects that the baseline of this seed has seen, of different classes.

    Raises:
        PicturesMissing: the package with the pictures is not installed.
    """
    objects = _objects(np.random.default_rng([seed, 146]), stamps)[:SITE_OBJECTS]
    rng = np.random.default_rng([seed, 2])
    first = objects[rng.integers(len(objects))]
    others = [one for one in objects if not one[1] & first[1]]
    pair = (first, others[rng.integers(len(others))])
    return _compose(pair * (FEW_PICTURES // (2 * len(BACKGROUNDS))), rng)


def fresh_test(seed: int, rounds: int, stamps: Path = STAMPS) -> Part:
    """Other composites of the test objects of this seed, ``rounds`` times each on every background.

    Raises:
        PicturesMissing: the package with the pictures is not installed.
    """
    objects = _objects(np.random.default_rng([seed, 146]), stamps)[SITE_OBJECTS:]
    return _compose(objects * rounds, np.random.default_rng([seed, 3]))


def prepare(pixels: Pixels) -> NDArray[np.float32]:
    """EfficientNet-Lite0's own preprocessing: (N,H,W,3) RGB uint8 -> (N,3,H,W) float32, (x - 127) / 128."""
    scaled = (pixels.astype(np.float32) - 127.0) / 128.0
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _objects(rng: np.random.Generator, stamps: Path) -> list[tuple[Path, frozenset[int]]]:
    """File and accepted classes of every object, in random order."""
    label_map = json.loads(LABEL_MAP.read_text())
    names = sorted(label_map)
    files = [stamps / label_map[n]["file"] for n in names]
    found = sum(f.is_file() for f in files)
    if found < len(files):
        raise PicturesMissing(stamps, found, len(files))
    return [(files[i], frozenset(label_map[names[i]]["accept"])) for i in rng.permutation(len(names))]


def _compose(objects: Sequence[tuple[Path, frozenset[int]]], rng: np.random.Generator) -> Part:
    """Every object once on every background, in random order."""
    pictures, accepted = [], []
    for file, accept in objects:
        cutout = _read_rgba(file)
        for background in BACKGROUNDS:
            pictures.append(_place(cutout, background(rng), rng))
            accepted.append(accept)
    order = rng.permutation(len(pictures))
    return Part(np.stack([pictures[i] for i in order]), tuple(accepted[i] for i in order))


def _read_rgba(file: Path) -> NDArray[np.float32]:
    pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise PicturesMissing(file, 0, 1)
    if pixels.shape[2] == 3:  # three of the files have no transparency
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, pixels.dtype)])
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA), np.float32)


def _place(cutout: NDArray[np.float32], background: NDArray[np.float32], rng: np.random.Generator) -> Pixels:
    """The cut-out over the background: 75-95 % of the side, a little off centre, mirrored or not."""
    longer = max(cutout.shape[:2])
    scale = SIDE * rng.uniform(0.75, 0.95) / longer
    alpha = cutout[:, :, 3:] / 255
    flat = np.dstack([cutout[:, :, :3] * alpha, alpha])  # premultiplied: no dark rim when resized
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = np.clip(cv2.resize(flat, None, fx=scale, fy=scale, interpolation=method), 0, 255)
    if rng.random() < 0.5:
        resized = resized[:, ::-1]
    height, width = resized.shape[:2]
    top, left = (int(rng.integers(0, SIDE - size + 1)) for size in (height, width))
    canvas = background.copy()
    window = canvas[top : top + height, left : left + width]
    window *= 1 - np.clip(resized[:, :, 3:], 0, 1)
    window += resized[:, :, :3]
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _studio(rng: np.random.Generator) -> NDArray[np.float32]:
    """A light table: nearly white, darker to one side, a little sensor noise."""
    slope = np.linspace(1.0, rng.uniform(0.8, 0.95), SIDE)[None, :, None]
    light = np.array([236.0, 234.0, 228.0]) * slope + rng.normal(0, 2, (SIDE, SIDE, 3))
    return np.asarray(light, np.float32)


def _belt(rng: np.random.Generator) -> NDArray[np.float32]:
    """A dark rubber belt with a fine grain along the running direction."""
    grain = cv2.GaussianBlur(rng.normal(0, 30, (SIDE, SIDE)), (0, 0), sigmaX=6, sigmaY=0.7)
    return np.repeat((72 + 2 * grain)[:, :, None], 3, axis=2).astype(np.float32)


def _garden(rng: np.random.Generator) -> NDArray[np.float32]:
    """Leaves out of focus: coarse green and brown blotches with some structure."""
    coarse = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE, 3)), (0, 0), 12)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE, 1)), (0, 0), 2)
    blotches = coarse / coarse.std() * 22 + (fine / fine.std() * 14)[:, :, None]
    return np.asarray(np.array([96.0, 118.0, 74.0]) + blotches, np.float32)


BACKGROUNDS: tuple[Callable[[np.random.Generator], NDArray[np.float32]], ...] = (_studio, _belt, _garden)
