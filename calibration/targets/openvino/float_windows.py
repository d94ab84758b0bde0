"""Layers with weights, pools and resizing of an IR as ONNX operators."""

from collections.abc import Mapping, Sequence

import numpy as np

from calibration.targets.openvino.graph import element_type
from calibration.targets.openvino.taps import BATCH_NORM
from calibration.targets.openvino.translation import REALS, Array, Operator, Translation, Untranslated


def _window(op: Operator, kernel: Sequence[int]) -> tuple[dict[str, list[int]], list[int]]:
    """Kernel, strides, dilations and explicit pads for the known sizes, and how far behind the input a window reads.

    OpenVINO has settled ``auto_pad`` when it found the sizes.
    """
    rank = len(kernel)
    strides, before = (list(op.attribute(name)) for name in ("strides", "pads_begin"))
    dilations = list(op.attribute("dilations", [1] * rank))
    sizes = zip(op.size()[2:], op.result_size[2:], kernel, strides, dilations, before, strict=True)
    after = [(out - 1) * s + d * (k - 1) + 1 - n - b for n, out, k, s, d, b in sizes]
    if min(before, default=0) < 0:
        raise Untranslated(f"{op.kind} that cuts the input")
    found = {
        "kernel_shape": list(kernel),
        "strides": strides,
        "dilations": dilations,
        "pads": [*before, *(max(n, 0) for n in after)],
    }
    return found, after


def _convolution(op: Operator) -> None:
    _convolve(op, op.weights(), 1)


def _group_convolution(op: Operator) -> None:
    weights = op.weights()  # (groups, out / groups, in / groups, ...)
    _convolve(op, weights.reshape(-1, *weights.shape[2:]), weights.shape[0])


def _convolve(op: Operator, weights: Array, groups: int) -> None:
    window, _ = _window(op, weights.shape[2:])
    op.give("Conv", op.x(), op.constant(weights), *op.bias(), group=groups, **window)


def _transposed_convolution(op: Operator) -> None:
    _convolve_back(op, op.weights(), 1)


def _group_transposed_convolution(op: Operator) -> None:
    weights = op.weights()  # (groups, in / groups, out / groups, ...)
    _convolve_back(op, weights.reshape(-1, *weights.shape[2:]), weights.shape[0])


def _convolve_back(op: Operator, weights: Array, groups: int) -> None:
    """What the windows cover beyond the known size is cut off; where they cover less, positions are added.

    OpenVINO has settled ``pads_begin`` for ``auto_pad`` and for a size asked for, but not ``pads_end``.
    """
    kernel, strides = weights.shape[2:], list(op.attribute("strides"))
    dilations, before = list(op.attribute("dilations")), list(op.attribute("pads_begin"))
    covered = [
        (n - 1) * s + d * (k - 1) + 1
        for n, s, d, k in zip(op.size()[2:], strides, dilations, kernel, strict=True)
    ]
    rest = [c - out for c, out in zip(covered, op.result_size[2:], strict=True)]
    after = [r - b for r, b in zip(rest, before, strict=True)]
    added = [max(-n, 0) for n in after]
    if any(n >= max(s, d) for n, s, d in zip(added, strides, dilations, strict=True)):
        raise Untranslated(f"{op.kind} with a border of whole steps")  # ONNX knows none
    op.give(
        "ConvTranspose", op.x(), op.constant(weights), *op.bias(),
        kernel_shape=list(kernel), strides=strides, dilations=dilations, group=groups,
        pads=[*before, *(max(n, 0) for n in after)], output_padding=added,
    )  # fmt: skip


def _matmul(op: Operator) -> None:
    """A linear layer with its links as one Gemm where it can be."""
    parts = list[str]()
    for index, flag in enumerate(("transpose_a", "transpose_b")):
        rank, is_turned = len(op.size(index)), bool(op.attribute(flag))
        order = [*range(rank - 2), rank - 1, rank - 2] if rank > 1 else [0]
        if op.is_constant(index):
            found = op.weights() if index == 1 else op.value(0)
            parts.append(op.constant(found.transpose(order) if is_turned else found))
        else:
            parts.append(
                op.add("Transpose", op.x(index), perm=order) if is_turned and rank > 1 else op.x(index)
            )
    bias = op.bias()
    if not bias:
        op.give("MatMul", *parts)
    elif len(op.size()) == 2:
        op.give("Gemm", *parts, *bias)
    else:
        op.give("Add", op.add("MatMul", *parts), *bias)


def _batch_norm(op: Operator) -> None:
    found = [op.constant(op.value(i)) for i in range(1, 5)]
    op.give("BatchNormalization", op.x(), *found, epsilon=float(op.attribute("epsilon")))


def _max_pool(op: Operator) -> None:
    window, _ = _window(op, op.attribute("kernel"))
    op.give("MaxPool", op.x(), **window)


def _average_pool(op: Operator) -> None:
    window, after = _window(op, op.attribute("kernel"))
    del window["dilations"]
    leaves_out = bool(op.attribute("exclude-pad"))
    declared = list(op.attribute("pads_end"))
    if not leaves_out and any(need > n for need, n in zip(after, declared, strict=True)):
        raise Untranslated(f"{op.kind} that counts what lies behind its border")
    op.give("AveragePool", op.x(), count_include_pad=int(not leaves_out), **window)


_INTERPOLATIONS = {"nearest": "nearest", "linear": "linear", "linear_onnx": "linear", "cubic": "cubic"}
_PLACES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
_ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def _interpolate(op: Operator) -> None:
    mode = _INTERPOLATIONS.get(str(op.attribute("mode")))
    places, rounding = op.attribute("coordinate_transformation_mode"), _rounding(op)
    is_cut = any(op.attribute("pads_begin")) or any(op.attribute("pads_end"))
    if mode is None or places not in _PLACES or is_cut or op.attribute("antialias"):
        raise Untranslated(f"{op.kind} by {op.attribute('mode')}, {places}")
    given = {"mode": mode, "coordinate_transformation_mode": places}
    if mode == "nearest":
        given["nearest_mode"] = rounding
    factors = {"cubic_coeff_a": float(op.attribute("cube_coeff"))} if mode == "cubic" else {}
    if op.attribute("shape_calculation_mode") == "scales":
        sizes = ["", op.constant(_scales(op))]
    else:
        sizes = ["", "", op.constant(op.result_size)]
    op.give("Resize", op.x(), *sizes, **given, **factors)


def _scales(op: Operator) -> Array:
    """One factor per axis. The inputs behind the data: sizes and scales, or the one that is used; then the axes."""
    given = list(range(1, int(op.node.get_input_size())))
    of_scales = next(i for i in given if element_type(op.source(i)) in REALS)
    is_last = of_scales == given[-1]
    found = np.ones(len(op.size()), np.float32)
    found[slice(None) if is_last else op.numbers(given[-1])] = op.value(of_scales)
    return found


def _rounding(op: Operator) -> str:
    """``simple`` rounds up where the data get smaller, else down."""
    given = str(op.attribute("nearest_mode"))
    if given in _ROUNDINGS:
        return given
    pairs = [(n, out) for n, out in zip(op.size(), op.result_size, strict=True) if n != out]
    if given != "simple" or len({out < n for n, out in pairs}) > 1:
        raise Untranslated(f"{op.kind} with places rounded by {given}")
    return "ceil" if pairs and pairs[0][1] < pairs[0][0] else "floor"


WINDOWS: Mapping[str, Translation] = {
    "AvgPool": _average_pool,
    BATCH_NORM: _batch_norm,
    "Convolution": _convolution,
    "ConvolutionBackpropData": _transposed_convolution,
    "GroupConvolution": _group_convolution,
    "GroupConvolutionBackpropData": _group_transposed_convolution,
    "Interpolate": _interpolate,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
}
"""By OpenVINO's name of the operator."""
