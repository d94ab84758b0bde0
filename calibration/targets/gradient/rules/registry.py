"""The table of rules, which the other files of this folder fill."""

from collections.abc import Callable

from calibration.targets.gradient.step import Rule

RULES: dict[str, Rule] = {}
"""By operator."""
DATA_INPUTS: dict[str, tuple[int, ...]] = {}
"""Operators of which the other inputs (sizes, limits, indices) must be constants."""
OF_SEVERAL_OUTPUTS = set[str]()
"""Operators whose rule reads the gradients by all outputs; of the others only the first output has one."""


def rule(*ops: str, data: tuple[int, ...] | None = None, outputs: bool = False) -> Callable[[Rule], Rule]:
    """Enter a function as the rule of ``ops``.

    Args:
        ops: ONNX's own operators.
        data: The inputs that may depend on the input; None allows all.
        outputs: The rule reads the gradients by all outputs.
    """

    def register(function: Rule) -> Rule:
        for op in ops:
            RULES[op] = function
            if data is not None:
                DATA_INPUTS[op] = data
            if outputs:
                OF_SEVERAL_OUTPUTS.add(op)
        return function

    return register
