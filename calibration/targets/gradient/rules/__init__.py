"""The derivative of each operator: from the gradient by its outputs, nodes for the gradient by an input.

A rule is called for one input of one node. Sources: the operators' definitions in ONNX's own documentation.
"""

from calibration.targets.gradient.rules import (
    activations,
    arithmetic,
    layers,
    matrices,
    moving,
    normalisations,
    pooling,
    reductions,
    resizing,
)
from calibration.targets.gradient.rules.registry import DATA_INPUTS, OF_SEVERAL_OUTPUTS, RULES

__all__ = [
    "DATA_INPUTS",
    "OF_SEVERAL_OUTPUTS",
    "RULES",
    "activations",
    "arithmetic",
    "layers",
    "matrices",
    "moving",
    "normalisations",
    "pooling",
    "reductions",
    "resizing",
]
