"""The derivatives of pools, reductions and resizing, compared with torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.support.gradients import Problem, errors_by_losses, errors_of, one

pytestmark = pytest.mark.integration

MAX_POOL = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
AVERAGE_POOL = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


def max_pool(
    shape: tuple[int, ...], kernel: Sequence[int], pads: Sequence[int] = (), **attributes: Any
) -> Problem:
    """The twin is given the border."""
    rank = len(kernel)
    border = [n for pair in list(zip(pads[:rank], pads[rank:], strict=True))[::-1] for n in pair]
    more: dict[str, Any] = {"pads": list(pads)} if pads else {}

    def twin(x: torch.Tensor) -> torch.Tensor:
        x = functional.pad(x, border, value=-1e30)
        strides = attributes.get("strides", [1] * rank)
        return MAX_POOL[rank - 1](
            x,
            kernel,
            strides,
            dilation=attributes.get("dilations", 1),
            ceil_mode=bool(attributes.get("ceil_mode", 0)),
        )

    return one("MaxPool", shape, twin, kernel_shape=list(kernel), **more, **attributes)


def average_pool(
    shape: tuple[int, ...], kernel: Sequence[int], pad: int = 0, opset: int = 17, **attributes: Any
) -> Problem:
    """With the same border on all sides, as torch has it."""
    rank = len(kernel)
    more: dict[str, Any] = {"pads": [pad] * 2 * rank} if pad else {}

    def twin(x: torch.Tensor) -> torch.Tensor:
        strides = attributes.get("strides", [1] * rank)
        is_all = bool(attributes.get("count_include_pad", 0))
        return AVERAGE_POOL[rank - 1](
            x, kernel, strides, pad, ceil_mode=bool(attributes.get("ceil_mode", 0)), count_include_pad=is_all
        )

    return one("AveragePool", shape, twin, kernel_shape=list(kernel), opset=opset, **more, **attributes)


def uneven_average(auto_pad: str, border: Sequence[int]) -> Problem:
    """Means of what lies inside of the picture; the twin divides two sums."""

    def twin(x: torch.Tensor) -> torch.Tensor:
        sums = functional.avg_pool2d(functional.pad(x, border), (3, 2), (2, 1), divisor_override=1)
        return sums / functional.avg_pool2d(
            functional.pad(torch.ones_like(x), border), (3, 2), (2, 1), divisor_override=1
        )

    more: dict[str, Any] = {"auto_pad": auto_pad}
    if auto_pad == "NOTSET":
        more = {"pads": [border[2], border[0], border[3], border[1]]}
    return one("AveragePool", (2, 6, 5), twin, kernel_shape=[3, 2], strides=[2, 1], **more)


MAX_POOLS = {
    "1d": max_pool((3, 9), [2], strides=[2]),
    "2d": max_pool((3, 6, 6), [2, 2], strides=[2, 2]),
    "3d": max_pool((2, 4, 4, 4), [2, 2, 2], strides=[2, 2, 1]),
    "overlapping": max_pool((3, 7, 7), [3, 3], (1, 1, 1, 1), strides=[2, 2]),
    "stride 1": max_pool((2, 5, 5), [3, 3], (1, 1, 1, 1)),
    "asymmetric": max_pool((2, 5, 6), [3, 2], (0, 1, 1, 0), strides=[2, 1]),
    "ceil_mode": max_pool((2, 6, 7), [3, 3], strides=[2, 3], ceil_mode=1),
    "dilated": max_pool((2, 7, 7), [2, 3], dilations=[3, 2]),
    "with the places as an output": max_pool((2, 6, 6), [2, 2], strides=[2, 2]),
    "opset 22": max_pool((3, 6, 6), [2, 2], strides=[2, 2], opset=22),
    "SAME_UPPER": Problem(
        (2, 6, 5),
        max_pool((2, 6, 5), [3, 3], strides=[2, 2], auto_pad="SAME_UPPER").build,
        max_pool((2, 6, 5), [3, 3], (0, 1, 1, 1), strides=[2, 2]).twin,
    ),
    "global": one("GlobalMaxPool", (3, 4, 5), lambda x: x.amax((2, 3), keepdim=True)),
    "global 1d": one("GlobalMaxPool", (3, 6), lambda x: x.amax(2, keepdim=True)),
}  # fmt: skip

AVERAGE_POOLS = {
    "1d": average_pool((3, 9), [2], strides=[2]),
    "2d": average_pool((3, 6, 6), [2, 2], strides=[2, 2]),
    "3d": average_pool((2, 4, 4, 4), [2, 2, 2], strides=[2, 2, 1]),
    "overlapping": average_pool((3, 7, 7), [3, 3], 1, strides=[2, 2]),
    "overlapping, with the border": average_pool((3, 7, 7), [3, 3], 1, strides=[2, 2], count_include_pad=1),
    "stride 1": average_pool((3, 5, 5), [3, 3], 1),
    "ceil_mode": average_pool((2, 6, 8), [3, 3], strides=[2, 2], ceil_mode=1, opset=19),
    "ceil_mode, with the border": average_pool(
        (2, 6, 6), [3, 3], 1, strides=[2, 2], ceil_mode=1, count_include_pad=1, opset=19
    ),
    "asymmetric": uneven_average("NOTSET", [1, 0, 0, 2]),
    "SAME_UPPER": uneven_average("SAME_UPPER", [0, 1, 0, 1]),
    "SAME_LOWER": uneven_average("SAME_LOWER", [1, 0, 1, 0]),
    "global": one("GlobalAveragePool", (3, 4, 5), lambda x: x.mean((2, 3), keepdim=True)),
    "global 3d": one("GlobalAveragePool", (3, 2, 2, 3), lambda x: x.mean((2, 3, 4), keepdim=True)),
}  # fmt: skip


def _sum_of_squares(x: torch.Tensor, axes: Any, keepdim: bool) -> torch.Tensor:
    return (x**2).sum(axes, keepdim=keepdim)


TWINS: dict[str, Any] = {
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: (x**2).sum(axes, keepdim=keep).sqrt(),
    "ReduceSumSquare": _sum_of_squares,
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
}


def reduction(op: str, axes: Sequence[int] | None, keep: bool, opset: int) -> Problem:
    """Axes are an attribute up to opset 17, but for ReduceSum, and an input from 18 on."""
    over = tuple(range(4)) if axes is None else tuple(axes)
    is_input = opset >= 18 or op == "ReduceSum"
    parameters = [np.array(axes)] if is_input and axes is not None else []
    more = {"axes": list(axes)} if not is_input and axes is not None else {}
    twin = TWINS[op]
    return one(
        op, (3, 4, 2), lambda x: twin(x, over, keep), *parameters, opset=opset, keepdims=int(keep), **more
    )


REDUCTIONS = {
    f"{op} {axes} {keep} {opset}": reduction(op, axes, keep, opset)
    for op in TWINS
    for axes, keep, opset in (
        ((1,), True, 13),
        ((2, 3), False, 17),
        ((-1,), False, 18),
        ((1, -1), True, 20),
        (None, True, 18),
    )
}
REDUCTIONS["no axes, nothing to do"] = one(
    "ReduceMean", (3, 4), lambda x: x, np.array([], np.int64), opset=18, noop_with_empty_axes=1
)


def resized(
    shape: tuple[int, ...], out: Sequence[int], how: str, transformation: str, **twin: Any
) -> Problem:
    """To sizes; ``twin`` are the arguments of torch's interpolate."""
    sizes = np.array([2, shape[0], *out])
    more: dict[str, Any] = {"antialias": 1} if twin.get("antialias") else {}
    return one(
        "Resize", shape, lambda x: functional.interpolate(x, tuple(out), **twin), None, None, sizes,
        opset=18, mode=how, coordinate_transformation_mode=transformation,
        nearest_mode="floor", cubic_coeff_a=-0.75, **more,
    )  # fmt: skip


def shrunk_along_one_axis() -> Problem:
    """Channels last: the rows before the axis are of another size in the output."""
    scales = np.array([1, 2, 0.5, 1], np.float32)

    def twin(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        moved = x.permute(0, 3, 1, 2)
        return functional.interpolate(moved, (6, 2), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)

    return one("Resize", (3, 4, 2), twin, None, scales, opset=18, mode="linear")


RESIZES = {
    "nearest up": resized((2, 3, 4), (6, 8), "nearest", "asymmetric", mode="nearest"),
    "nearest up by no whole number": resized((2, 3, 4), (7, 9), "nearest", "asymmetric", mode="nearest"),
    "nearest down": resized((2, 6, 8), (3, 5), "nearest", "asymmetric", mode="nearest"),
    "nearest 1d": resized((3, 4), (8,), "nearest", "asymmetric", mode="nearest"),
    "nearest 3d": resized((2, 2, 3, 2), (4, 3, 5), "nearest", "asymmetric", mode="nearest"),
    "linear up": resized((2, 3, 4), (6, 8), "linear", "half_pixel", mode="bilinear"),
    "linear up, pytorch_half_pixel": resized((2, 3, 4), (6, 8), "linear", "pytorch_half_pixel", mode="bilinear"),
    "linear up, half_pixel_symmetric": resized((2, 3, 4), (6, 8), "linear", "half_pixel_symmetric", mode="bilinear"),
    "linear down": resized((2, 6, 8), (4, 3), "linear", "half_pixel", mode="bilinear"),
    "linear down, align_corners": resized(
        (2, 6, 8), (4, 3), "linear", "align_corners", mode="bilinear", align_corners=True
    ),
    "linear, one axis": resized((2, 6, 8), (6, 3), "linear", "half_pixel", mode="bilinear"),
    "linear 1d": resized((2, 5), (8,), "linear", "half_pixel", mode="linear"),
    "linear 1d, long": resized((1, 600), (70,), "linear", "half_pixel", mode="linear"),
    "linear 3d": resized((2, 2, 3, 2), (4, 5, 3), "linear", "half_pixel", mode="trilinear"),
    "cubic up": resized((2, 4, 4), (8, 7), "cubic", "half_pixel", mode="bicubic"),
    "cubic up, align_corners": resized(
        (2, 4, 4), (8, 7), "cubic", "align_corners", mode="bicubic", align_corners=True
    ),
    "cubic down": resized((2, 8, 6), (3, 4), "cubic", "half_pixel", mode="bicubic"),
    "channels last": shrunk_along_one_axis(),
    "by scales": one(
        "Resize", (2, 3, 4), lambda x, _: functional.interpolate(x, scale_factor=2, mode="nearest"),
        None, np.array([1, 1, 2, 2], np.float32), mode="nearest", coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    "by scales that keep the size": one(
        "Resize", (2, 5, 4),
        lambda x, _: functional.interpolate(x, scale_factor=(1.1, 1.2), mode="bilinear", recompute_scale_factor=False),
        None, np.array([1, 1, 1.1, 1.2], np.float32), mode="linear",
    ),
    "by axes": one(
        "Resize", (2, 3, 4), lambda x: functional.interpolate(x, (6, 8), mode="bilinear"),
        None, None, np.array([6, 8]), opset=18, mode="linear", axes=[2, 3],
    ),
    "with an empty region": one(
        "Resize", (2, 3, 4), lambda x, *_: functional.interpolate(x, (6, 8), mode="bilinear"),
        np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32), opset=13, mode="linear",
    ),
}  # fmt: skip


OWN_RESIZES = {
    "antialias": one(
        "Resize", (2, 6, 8), lambda x: x, None, None, np.array([2, 2, 4, 3]), opset=18, mode="linear", antialias=1
    ),
    "exclude_outside": one(
        "Resize", (2, 4, 4), lambda x, _: x, None, np.array([1, 1, 2, 2], np.float32), mode="cubic", exclude_outside=1
    ),
    "nearest, ceil": one(
        "Resize", (2, 3, 4), lambda x: x, None, None, np.array([2, 2, 7, 5]), mode="nearest", nearest_mode="ceil",
    ),
}  # fmt: skip
"""ONNX Runtime's own ways, which torch lacks."""


@pytest.mark.parametrize("name", MAX_POOLS)
def test_max_pools(name):
    assert max(errors_of(MAX_POOLS[name]).values()) <= 1e-3


@pytest.mark.parametrize("name", AVERAGE_POOLS)
def test_average_pools(name):
    assert max(errors_of(AVERAGE_POOLS[name]).values()) <= 1e-3


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name):
    assert max(errors_of(REDUCTIONS[name]).values()) <= 1e-3


@pytest.mark.parametrize("name", RESIZES)
def test_resizing(name):
    assert max(errors_of(RESIZES[name]).values()) <= 1e-3


@pytest.mark.parametrize("name", OWN_RESIZES)
def test_resizing_by_the_losses_themselves(name):
    assert errors_by_losses(OWN_RESIZES[name]) <= 1e-3
