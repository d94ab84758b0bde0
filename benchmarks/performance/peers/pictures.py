"""Picture code as the documentation of OpenCV, Pillow and the servers of models shows it: the whole picture is decoded.

Resized so that the shorter side has ``1 / crop_fraction`` of the model's size, cut from the centre, normalised: the
geometry of the demo's bundle, and of most models trained on ImageNet.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE, SHORTER_SIDE = 224, 256
MEAN, STD = np.float32(127.0), np.float32(128.0)

ReadPicture = Callable[[bytes], NDArray[np.float32]]
"""From the bytes of a JPEG to a tensor (1,3,224,224)."""


def read_with_opencv(picture: bytes) -> NDArray[np.float32]:
    """``imdecode``, ``resize`` with the filter that OpenCV's documentation names for shrinking, ``cvtColor``."""
    pixels: Any = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("not a picture")
    height, width = pixels.shape[:2]
    scale = SHORTER_SIDE / min(height, width)
    size = (round(width * scale), round(height * scale))
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    rgb: Any = cv2.cvtColor(_cut_centre(pixels), cv2.COLOR_BGR2RGB)
    return _to_tensor(rgb)


def read_with_pillow(picture: bytes) -> NDArray[np.float32]:
    """``Image.open``, ``convert``, ``resize``: bilinear with antialiasing, as torchvision's ``Resize`` does it."""
    from PIL import Image

    image = Image.open(BytesIO(picture)).convert("RGB")
    scale = SHORTER_SIDE / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return _to_tensor(_cut_centre(np.asarray(image.resize(size, Image.Resampling.BILINEAR))))


def _cut_centre(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = ((length - SIZE) // 2 for length in pixels.shape[:2])
    return pixels[top : top + SIZE, left : left + SIZE]


def _to_tensor(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    normalised = (pixels.astype(np.float32) - MEAN) / STD
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[np.newaxis])


READERS: dict[str, ReadPicture] = {"opencv": read_with_opencv, "pillow": read_with_pillow}
