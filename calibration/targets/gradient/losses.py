"""The losses of the aims, and where the way back starts."""

from collections.abc import Sequence

from calibration.targets.base import LEAST_PROBABILITY, Aim
from calibration.targets.gradient.names import GradientNames
from calibration.targets.gradient.step import Writer


def compare(writer: Writer, names: GradientNames, aim: Aim, size: Sequence[int]) -> tuple[str, str]:
    """Names of the loss, and of the gradient by what is compared, a tensor of ``size``: of two axes for classes."""
    y, target, weight = aim.name, names.target(aim), names.weight(aim)

    def total(values: str) -> str:
        return writer.sum_over(values, list(range(len(size))))

    if aim.kind == "squares":
        off = writer.add("Sub", y, target)
        slope = writer.add("Mul", off, weight)
        return writer.add("Mul", total(writer.add("Mul", off, slope)), writer.constant(0.5)), slope
    if aim.kind == "sigmoid":
        slope = writer.add("Mul", writer.add("Sub", writer.add("Sigmoid", y), target), weight)
        off = writer.add("Sub", writer.add("Softplus", y), writer.add("Mul", target, y))
        return total(writer.add("Mul", off, weight)), slope
    wanted = writer.add("Mul", target, weight)
    if aim.kind == "softmax":
        logarithms = writer.add("LogSoftmax", y, axis=1)
        share = writer.add("Mul", writer.add("Exp", logarithms), writer.sum_over(wanted, [1], keep=True))
        slope = writer.add("Sub", share, wanted)
    else:
        safe = writer.add("Add", y, writer.constant(LEAST_PROBABILITY))
        logarithms = writer.add("Log", safe)
        slope = writer.add("Neg", writer.add("Div", wanted, safe))
    return writer.add("Neg", total(writer.add("Mul", wanted, logarithms))), slope
