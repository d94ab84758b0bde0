"""The usual mistakes in preprocessing, as variations of a spec that may explain other outputs than the golden ones.

Pure.
"""

from itertools import product
from typing import Any

from edge_runtime.inference.specs import Colour, PictureSpec, PreprocessSpec, SignalSpec

_Values = tuple[float, ...]
_IMAGENET_MEAN: _Values = (123.675, 116.28, 103.53)
_IMAGENET_STD: _Values = (58.395, 57.12, 57.375)
_GREY_IMAGENET: tuple[_Values, _Values] = ((118.0,), (57.6,))
_GRAVITY = 9.80665
_Change = tuple[str, dict[str, Any]]
_SHAPES: list[_Change] = [
    *(
        (f"geometry {name}", {"geometry": name, "crop_fraction": 1.0})
        for name in ("stretch", "letterbox", "crop")
    ),
    ("geometry crop with crop_fraction 0.875", {"geometry": "crop", "crop_fraction": 0.875}),
    *(
        (f"filter {name}", {"filter": name})
        for name in ("area", "nearest", "bilinear", "bicubic", "antialias_bilinear")
    ),
]


def list_mistakes(spec: PreprocessSpec) -> list[tuple[str, PreprocessSpec]]:
    """Named variations, none equal to the spec itself: scaling x order of the channels, then geometry and filter."""
    if isinstance(spec, SignalSpec):
        return _apply(spec, [*_mistakes_of_signals(spec), *_units(spec)])
    none: _Change = ("", {})
    pairs = product([none, *_colours(spec)], [none, *_scalings(spec)])
    both = [(" and ".join(filter(None, (one[0], other[0]))), {**other[1], **one[1]}) for one, other in pairs]
    return _apply(spec, [*both, *_SHAPES])


def list_normalisation_mistakes(spec: PreprocessSpec) -> list[tuple[str, PreprocessSpec]]:
    """Only other scalings and colour orders: mistakes that every golden set must be able to notice."""
    if isinstance(spec, SignalSpec):
        return _apply(spec, _mistakes_of_signals(spec))
    return _apply(spec, [*_scalings(spec), *_colours(spec)])


def _mistakes_of_signals(spec: SignalSpec) -> list[_Change]:
    """Counts taken for values, values that are not normalised, and the channels in another order."""
    count, plain = len(spec.channels), {"mean": 0.0, "std": 1.0}
    unscaled = [channel.model_copy(update={"scale": 1.0, "offset": 0.0}) for channel in spec.channels]
    unnormalised = [channel.model_copy(update=plain) for channel in spec.channels]
    changes: list[_Change] = [
        ("no scale and offset", {"channels": tuple(unscaled)}),
        ("no mean and std", {"channels": tuple(unnormalised)}),
    ]
    if count > 1:  # a channel keeps its name and takes the meaning of another
        changes.append(("the channels in reverse order", {"channels": spec.channels[::-1]}))
    return changes


def _units(spec: SignalSpec) -> list[_Change]:
    """Other units of the values: mean and std of what the payload says, and g for m/s2 or the other way round."""
    in_counts = [
        one.model_copy(update={"mean": one.mean * one.scale + one.offset, "std": one.std * abs(one.scale)})
        for one in spec.channels
        if one.scale
    ]
    changes: list[_Change] = []
    if len(in_counts) == len(spec.channels):
        words = "mean and std in numbers of the payload (these times scale, the mean plus offset)"
        changes.append((words, {"channels": tuple(in_counts)}))
    for words, factor in (
        ("mean and std times 9.80665 (g in m/s2)", _GRAVITY),
        ("mean and std divided by 9.80665 (m/s2 in g)", 1 / _GRAVITY),
    ):
        scaled = [
            one.model_copy(update={"mean": one.mean * factor, "std": one.std * factor})
            for one in spec.channels
        ]
        changes.append((words, {"channels": tuple(scaled)}))
    return changes


def _apply(spec: PreprocessSpec, changes: list[_Change]) -> list[tuple[str, PreprocessSpec]]:
    found = [(name, spec.model_copy(update=change)) for name, change in changes]
    return [(name, changed) for name, changed in found if changed != spec]


def _scalings(spec: PictureSpec) -> list[_Change]:
    count = spec.channels
    imagenet = (_IMAGENET_MEAN, _IMAGENET_STD) if count == 3 else _GREY_IMAGENET
    if spec.colour == "bgr":
        imagenet = (_IMAGENET_MEAN[::-1], _IMAGENET_STD[::-1])
    known: list[tuple[str, _Values, _Values]] = [
        ("mean and std of ImageNet", *imagenet),
        ("values in 0..1 (mean 0, std 255)", (0.0,) * count, (255.0,) * count),
        ("values in 0..255 (mean 0, std 1)", (0.0,) * count, (1.0,) * count),
        ("values in -1..1 (mean 127.5, std 127.5)", (127.5,) * count, (127.5,) * count),
        ("mean 127 and std 128", (127.0,) * count, (128.0,) * count),
        ("mean and std times 255", _times(spec.mean, 255), _times(spec.std, 255)),
        ("mean and std divided by 255", _times(spec.mean, 1 / 255), _times(spec.std, 1 / 255)),
    ]
    return [(name, {"mean": mean, "std": std}) for name, mean, std in known]


def _times(values: _Values, factor: float) -> _Values:
    return tuple(value * factor for value in values)


def _colours(spec: PictureSpec) -> list[_Change]:
    if spec.colour == "grey":
        return []
    other: Colour = "bgr" if spec.colour == "rgb" else "rgb"
    turned = {"colour": other, "mean": spec.mean[::-1], "std": spec.std[::-1]}
    return [(f"colour {other}", {"colour": other}), (f"colour {other}, mean and std in that order", turned)]
