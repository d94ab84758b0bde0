"""Where a kernel lies over its input, and the way back from what it gave."""

from collections.abc import Sequence
from dataclasses import dataclass

from calibration.targets.gradient.step import Step, Writer


@dataclass(frozen=True, slots=True)
class Window:
    """A kernel over its input, axis by axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def pads(self) -> list[int]:
        """In ONNX's order."""
        return [*self.before, *self.after]

    @property
    def reach(self) -> tuple[int, ...]:
        """Length from the first to the last weight, axis by axis."""
        return tuple(d * (k - 1) for d, k in zip(self.dilations, self.kernel, strict=True))


def window_of(step: Step, kernel: Sequence[int], large: Sequence[int], small: Sequence[int]) -> Window:
    """The kernel over ``large`` (the side with more positions), giving ``small``."""
    rank = len(kernel)
    strides = tuple(step.attribute("strides", [1] * rank))
    dilations = tuple(step.attribute("dilations", [1] * rank))
    pads = list(step.attribute("pads", [0] * (2 * rank)))
    auto = step.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((o - 1) * s + d * (k - 1) + 1 - i, 0)
            for i, o, k, s, d in zip(large, small, kernel, strides, dilations, strict=True)
        ]
        low, high = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = low + high if auto == "SAME_UPPER" else high + low
    elif auto == "VALID":
        pads = [0] * (2 * rank)
    return Window(tuple(kernel), strides, dilations, tuple(pads[:rank]), tuple(pads[rank:]))


def spread(
    writer: Writer,
    gradient: str,
    weight: str,
    window: Window,
    groups: int,
    from_to: tuple[Sequence[int], Sequence[int]],
) -> str:
    """The adjoint of a strided convolution: ConvTranspose back to the size of the input."""
    small, large = from_to
    made = [
        (o - 1) * s + r + 1 - b - a
        for o, s, r, b, a in zip(
            small, window.strides, window.reach, window.before, window.after, strict=True
        )
    ]
    rest = [wanted - n for wanted, n in zip(large, made, strict=True)]
    after = [a - min(n, 0) for a, n in zip(window.after, rest, strict=True)]  # ceil_mode reads past the end
    return writer.add(
        "ConvTranspose", gradient, weight,
        strides=window.strides, dilations=window.dilations, pads=[*window.before, *after],
        kernel_shape=window.kernel, group=groups, output_padding=[max(n, 0) for n in rest],
    )  # fmt: skip
