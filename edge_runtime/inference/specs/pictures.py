"""How a picture becomes the model's input."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge_runtime.inference.specs.base import Finite, StrictModel

MAX_INPUT_PIXELS = 4096 * 4096
"""Of a model's input: 200 MB as float32 in colour."""
PerChannel = Annotated[tuple[Finite, ...], Field(min_length=1, max_length=3)]
Colour = Literal["rgb", "bgr", "grey"]
Filter = Literal[
    "area", "area_fast", "nearest", "bilinear", "bicubic", "antialias_bilinear", "antialias_bicubic"
]


class PictureSpec(StrictModel):
    """How a picture becomes the model's input tensor; the order of the fields is the order of the work."""

    kind: Annotated[Literal["picture"], Field(exclude=True)] = "picture"
    """Said by no bundle: pictures are older than signals."""
    colour: Colour
    """Channel order the model wants."""
    alpha_background: Annotated[int, Field(ge=0, le=255)] = 255
    """Transparent pictures are composited over this grey level; the colour hidden below alpha 0 means
    nothing."""
    width: Annotated[int, Field(ge=1, le=8192)]
    height: Annotated[int, Field(ge=1, le=8192)]
    geometry: Literal["crop", "stretch", "letterbox"]
    """crop: the largest centred part with the model's aspect ratio, times ``crop_fraction``. stretch: the
    whole picture, aspect ratio lost. letterbox: the whole picture, the rest filled with ``pad_level``."""
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the sides that crop keeps; "resize the shorter side to 256, crop 224" is 224/256 = 0.875."""
    letterbox_anchor: Literal["centre", "top_left"] = "centre"
    pad_level: Annotated[int, Field(ge=0, le=255)] = 114
    filter: Filter
    """area: pixel means (as cv2.INTER_AREA), bilinear when enlarging. area_fast: the same within about a grey
    level of photographs (2 to 6 of noise), in a third to an eighth of the time. bilinear, bicubic, nearest: OpenCV's,
    which do not smooth when shrinking. antialias_*: those of PIL and of torchvision with antialias."""
    mean: PerChannel
    """Subtracted, in units of 0..255 pixel levels, in the order of ``colour``. From torchvision's: times
    255."""
    std: PerChannel
    """Divided by, in units of 0..255 pixel levels."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    missing_value: Finite | None = None
    """Replaces NaN in a raw tensor input (in units of the tensor); null refuses such tensors."""

    @property
    def noun(self) -> Literal["picture"]:
        """Name of one input in messages."""
        return "picture"

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return 1 if self.colour == "grey" else 3

    @property
    def preparation(self) -> str:
        """What a picture goes through, as text: two specifications with the same one make the same tensors.

        Without defaults: a key that a later version adds must not make another one of every older bundle's.
        """
        return self.model_dump_json(exclude_defaults=True)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the model's input."""
        return (self.width, self.height)

    @property
    def is_bgr(self) -> bool:
        """Whether kept pictures come as blue, green, red."""
        return self.colour == "bgr"

    @property
    def channel_axis(self) -> int:
        """Of a prepared sample, without the batch axis."""
        return 0 if self.layout == "nchw" else 2

    @property
    def tensor_shape(self) -> tuple[int, int, int]:
        """Shape of one prepared sample, without the batch axis."""
        if self.layout == "nchw":
            return (self.channels, self.height, self.width)
        return (self.height, self.width, self.channels)

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.width * self.height > MAX_INPUT_PIXELS:
            raise ValueError(f"width x height of at most {MAX_INPUT_PIXELS} pixels (as 4096 x 4096 has)")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(
                    f"{name} has {len(values)} values; colour {self.colour} needs {self.channels}"
                )
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be above 0 for every channel")
        if self.crop_fraction != 1 and self.geometry != "crop":
            raise ValueError(f"crop_fraction means nothing with geometry {self.geometry}")
        return self
