"""Convolutions."""

import numpy as np

from calibration.targets.gradient.program import Array
from calibration.targets.gradient.rules.registry import rule
from calibration.targets.gradient.rules.windows import Window, spread, window_of
from calibration.targets.gradient.step import Step


@rule("Conv", data=(0,))
def _conv(step: Step) -> str:
    weight = step.require_constant(1)
    large, small = step.size(step.x)[2:], step.size(step.y)[2:]
    window, groups = window_of(step, weight.shape[2:], large, small), int(step.attribute("group", 1))
    pads = [r - p for r, p in zip(window.reach * 2, window.pads, strict=True)]
    if set(window.strides) == {1} and min(pads) >= 0:
        turned = step.writer.constant(_turned(weight, groups))
        step.writer.turned[step.node.input[1]] = turned
        return step.writer.add(
            "Conv", step.by_output, turned,
            pads=pads, dilations=window.dilations, group=groups, kernel_shape=window.kernel,
        )  # fmt: skip
    return spread(step.writer, step.by_output, step.node.input[1], window, groups, (small, large))


def _turned(weight: Array, groups: int) -> Array:
    """Weights (M, C/g, ...) as those of the convolution back: (C, M/g, ...), the kernel the other way round."""
    out, inner, *kernel = weight.shape
    parts = weight.reshape(groups, out // groups, inner, *kernel).swapaxes(1, 2)
    return np.flip(parts.reshape(groups * inner, out // groups, *kernel), tuple(range(2, weight.ndim))).copy()


@rule("ConvTranspose", data=(0,))
def _conv_transpose(step: Step) -> str:
    weight = step.require_constant(1)
    small, large = step.size(step.x)[2:], step.size(step.y)[2:]
    kernel = weight.shape[2:]
    window = window_of(step, kernel, large, small)
    extra = tuple(step.attribute("output_padding", [0] * len(kernel)))
    auto = step.text("auto_pad", "NOTSET")
    if step.attribute("output_shape", None) is not None or auto != "NOTSET":
        totals = [
            s * (n - 1) + e + r + 1 - o
            for s, n, e, r, o in zip(window.strides, small, extra, window.reach, large, strict=True)
        ]
        # ONNX: SAME_UPPER puts the larger half behind; everything else puts it in front.
        halves = [(t // 2, t - t // 2) if auto == "SAME_UPPER" else (t - t // 2, t // 2) for t in totals]
        window = Window(window.kernel, window.strides, window.dilations, *zip(*halves, strict=True))
    after = [
        (n - 1) * s + r + 1 - o - b
        for n, s, r, o, b in zip(small, window.strides, window.reach, large, window.before, strict=True)
    ]
    cut = [min(a, 0) for a in after]
    gradient = step.by_output
    if any(cut):  # positions behind the last weight: of zeros, or of the bias alone
        ends = step.writer.ints([o + c for o, c in zip(large, cut, strict=True)])
        axes = step.writer.ints(range(2, 2 + len(large)))
        gradient = step.writer.add("Slice", gradient, step.writer.ints([0] * len(large)), ends, axes)
    return step.writer.add(
        "Conv", gradient, step.node.input[1],
        pads=[*window.before, *(max(a, 0) for a in after)], strides=window.strides, dilations=window.dilations,
        group=int(step.attribute("group", 1)), kernel_shape=kernel,
    )  # fmt: skip
