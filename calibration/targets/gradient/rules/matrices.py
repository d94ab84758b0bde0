"""Products of matrices, of which both may depend on the input."""

from calibration.targets.base import NoDerivative
from calibration.targets.gradient.rules.registry import rule
from calibration.targets.gradient.step import Step


@rule("Gemm")
def _gemm(step: Step) -> str:
    writer, gradient = step.writer, step.by_output
    if step.index == 2:
        return step.fit(writer.scaled(gradient, step.attribute("beta", 1.0)))
    other = step.node.input[1 - step.index]
    is_other_turned, is_turned = (
        bool(step.attribute(name, 0))
        for name in (("transB", "transA") if step.index == 0 else ("transA", "transB"))
    )
    side = other if is_other_turned else writer.transpose(other, [1, 0])
    found = writer.add("MatMul", *((gradient, side) if step.index == 0 else (side, gradient)))
    if is_turned:
        found = writer.transpose(found, [1, 0])
    return writer.scaled(found, step.attribute("alpha", 1.0))


@rule("MatMul")
def _matmul(step: Step) -> str:
    writer = step.writer
    sizes = [step.size(name) for name in step.node.input]
    own, other, full = sizes[step.index], step.node.input[1 - step.index], step.size(step.y)
    rank = len(sizes[1 - step.index])
    if step.index == 0 and rank == 1 and len(own) > 1:
        return writer.add("Mul", writer.reshape(step.by_output, [*full, 1]), other)
    if min(map(len, sizes)) < 2:
        raise NoDerivative("MatMul of a vector")
    turned = writer.transpose(other, [*range(rank - 2), rank - 1, rank - 2])
    pair = (step.by_output, turned) if step.index == 0 else (turned, step.by_output)
    return writer.fit(writer.add("MatMul", *pair), (*full[:-2], *own[-2:]), own)
