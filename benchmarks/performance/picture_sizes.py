"""Pictures of several sizes and kinds prepared by us and by OpenCV's usual code: ``benchmarks run picture-sizes``.

OpenCV's usual code decodes the whole picture (``imdecode``), crops, resizes by ``INTER_AREA``, and normalises. Pictures
are those of the demo at one size, as JPEGs and as arrays of a camera, for a classifier (crop) and a detector
(letterbox). Contenders take turns in every round; differences are to the area filter of floating-point numbers.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.performance.bare_runs import BUNDLE, SIZE, pictures_in
from edge_runtime.datatypes import Frame, Sample
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.inference.preprocess.geometry import source_region, target_region
from edge_runtime.inference.specs import PictureSpec

Picture = bytes | NDArray[np.uint8]
Tensor = NDArray[np.float32]
MEAN, STD = 127.0, 128.0
CALLS = 3
"""Of every contender on every picture, a round."""


def make_spec(side: int, geometry: str) -> PictureSpec:
    """The input of a model with square pictures."""
    fields = {"colour": "rgb", "width": side, "height": side, "geometry": geometry, "filter": "area_fast"}
    return PictureSpec.model_validate({**fields, "mean": (MEAN,) * 3, "std": (STD,) * 3})


def prepare_usually(picture: Picture, spec: PictureSpec) -> Tensor:
    """OpenCV's usual code: float32 (3,H,W)."""
    pixels = _decode(picture)
    resized = _fit(pixels, spec)
    rgb = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
    levels: Tensor = (rgb.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(levels.transpose(2, 0, 1))


def prepare_exactly(picture: Picture, spec: PictureSpec) -> Tensor:
    """Grey levels (3,H,W) by the area filter of floating-point numbers."""
    return _fit(_decode(picture).astype(np.float32), spec)[..., ::-1].transpose(2, 0, 1)


def _decode(picture: Picture) -> NDArray[np.uint8]:
    if not isinstance(picture, bytes):
        return picture
    return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)  # type: ignore[return-value]


def _fit(pixels: NDArray[Any], spec: PictureSpec) -> NDArray[Any]:
    height, width = pixels.shape[:2]
    source, target = source_region(spec, width, height), target_region(spec, width, height)
    part = pixels[source.y : source.y + source.height, source.x : source.x + source.width]
    resized = cv2.resize(part, (target.width, target.height), interpolation=cv2.INTER_AREA)
    canvas = np.full((spec.height, spec.width, 3), spec.pad_level, pixels.dtype)
    canvas[target.y : target.y + target.height, target.x : target.x + target.width] = resized
    return canvas if spec.geometry == "letterbox" else resized


def prepare_ours(preprocessor: PicturePreprocessor, picture: Picture) -> Tensor:
    """What a frame goes through before the scheduler: float32 (3,H,W).

    Raises:
        ValueError: the picture was rejected.
    """
    sample = preprocessor.prepare(Frame("bench", 0, picture, 0.0, 0.0, colour="bgr"))
    if isinstance(sample, Sample):
        return sample.tensor
    raise ValueError(f"{sample.reason}: {sample.detail}")


def take_turns(ways: Sequence[Callable[[Picture], object]], pictures: Sequence[Picture]) -> list[float]:
    """Milliseconds a picture of each way in one round."""
    found = []
    for way in ways:
        began_s = time.perf_counter()
        for _ in range(CALLS):
            for picture in pictures:
                way(picture)
        found.append(1000 * (time.perf_counter() - began_s) / CALLS / len(pictures))
    return found


def measure(pictures: Sequence[Picture], spec: PictureSpec, rounds: int) -> str:
    """One line of figures."""
    preprocessor = PicturePreprocessor(spec)
    ways = (lambda one: prepare_ours(preprocessor, one), lambda one: prepare_usually(one, spec))
    take_turns(ways, pictures)
    turns = [take_turns(ways, pictures) for _ in range(rounds)]
    ratios = [ours / usual for ours, usual in turns]
    apart = [
        np.abs(prepare_ours(preprocessor, one) * STD + MEAN - prepare_exactly(one, spec)) for one in pictures
    ]
    ours_ms, usual_ms = (statistics.median(column) for column in zip(*turns, strict=True))
    return (
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})   {ours_ms:6.2f} {usual_ms:6.2f}"
        f"   {np.mean([one.mean() for one in apart]):.2f} {max(one.max() for one in apart):3.0f}"
    )


def make_pictures(size: tuple[int, int], quality: int) -> tuple[list[Picture], list[Picture]]:
    """The golden pictures of the demo as JPEGs, and decoded as a camera's BGR arrays."""
    with tempfile.TemporaryDirectory() as folder:
        paths = pictures_in(Path(folder) / "pictures", BUNDLE, size)
        arrays = [_decode(path.read_bytes()) for path in paths]
    quality_option = [cv2.IMWRITE_JPEG_QUALITY, quality]
    jpegs: list[Picture] = [cv2.imencode(".jpg", one, quality_option)[1].tobytes() for one in arrays]
    return jpegs, list(arrays)


@click.command()
@click.option("--size", nargs=2, type=int, default=SIZE, show_default=True, help="Width and height, pixels.")
@click.option("--quality", default=90, show_default=True, help="Of the JPEGs; cameras send 75 to 95.")
@click.option("--rounds", default=7, show_default=True, help="In each the contenders take turns.")
@click.option("--side", "sides", multiple=True, type=int, default=(224, 416, 640), show_default=True)
def main(size: tuple[int, int], quality: int, rounds: int, sides: tuple[int, ...]) -> None:
    """Times and grey levels of the picture path next to those of OpenCV's usual code."""
    jpegs, arrays = make_pictures(size, quality)
    kib = statistics.mean(len(one) for one in jpegs) / 1024
    click.echo(f"{size[0]} x {size[1]}, JPEGs of quality {quality} and {kib:.0f} KiB; one thread")
    click.echo("picture, model                 ours over usual        ms: ours, usual   levels: mean, worst")
    for side in sides:
        for geometry in ("crop", "letterbox"):
            for kind, pictures in (("JPEG", jpegs), ("array", arrays)):
                line = measure(pictures, make_spec(side, geometry), rounds)
                click.echo(f"{kind:5} {geometry:>9} {side:4}   {line}")


if __name__ == "__main__":
    main()
