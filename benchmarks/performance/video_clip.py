"""The video of a camera that stands still, for benchmarks of cameras."""

from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.sources.demo import DATA

WIDTH, HEIGHT, FPS, KEY_EVERY = 1920, 1080, 25, 50


def write_clip(path: Path, seconds: float) -> None:
    """A still scene with noise and one thing that moves, about 3 Mbit/s, as a camera sends it: no B-frames."""
    rng = np.random.default_rng(0)
    scene, thing = _read_picture("street", (WIDTH, HEIGHT)), _read_picture("fruits", (320, 320))
    noise = [rng.normal(0, 2, (HEIGHT, WIDTH, 1)) for _ in range(8)]
    scenes = [np.clip(scene + one, 0, 255).astype(np.uint8) for one in noise]
    with av.open(str(path), "w") as file:
        options = {"g": str(KEY_EVERY), "sc_threshold": "0", "bf": "0", "preset": "veryfast"}
        stream = file.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 3_000_000
        for number in range(round(FPS * seconds)):
            picture = scenes[number % len(scenes)].copy()
            left = number * 6 % (WIDTH - 320)
            picture[400:720, left : left + 320] = thing
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        file.mux(stream.encode())


def _read_picture(name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One of the demo's, scaled to this width and height; BGR."""
    picture = cv2.imread(str(DATA / "pictures" / f"{name}.jpg"))
    assert picture is not None, "it is in the package"
    return cv2.resize(picture, size).astype(np.uint8)
