"""Whether the int8 weights of an OpenVINO model are small enough for every CPU; how to calculate in float if not."""

from typing import Any

import numpy as np

from calibration.targets.int8_arithmetic import can_exceed
from calibration.targets.openvino.graph import inner_models, value

IN_FLOAT: dict[str, Any] = {"LP_TRANSFORMS_MODE": "NO"}
"""A property of the CPU device: int8 layers are calculated in float32, from the same rounded weights and activations.

OpenVINO has no exact int8 kernels for old CPUs, and does not document this property; a version without it refuses it,
so nothing goes on unnoticed. Measured on an emulated CPU with AVX2 alone (2026.4): EfficientNet-Lite0's answers are off
by 2.9 times their spread without it, by 0.05 with it.
"""

_ZERO_POINT = 128  # of uint8 weights
_HALF = 64


def needs_float(model: Any) -> bool:
    """Whether pairs of int8 weights of an ``openvino.Model`` can exceed what an old x86 CPU adds in 16 bits."""
    for node in model.get_ordered_ops():
        match node.get_type_name():
            case "Constant":
                kind = node.get_element_type().get_type_name()
                if kind in ("i8", "u8") and _is_converted(node) and can_exceed(_centred(node, kind)):
                    return True
            case "FakeQuantize" if node.input_value(0).get_node().get_type_name() == "Constant":
                if _uses_eight_bits(node):
                    return True
        if any(needs_float(body) for body in inner_models(node)):
            return True
    return False


def _is_converted(constant: Any) -> bool:
    return any(t.get_node().get_type_name() == "Convert" for t in constant.output(0).get_target_inputs())


def _centred(constant: Any, kind: str) -> Any:
    found = np.asarray(constant.data)
    return found if kind == "i8" else found.astype(np.int16) - _ZERO_POINT


def _uses_eight_bits(node: Any) -> bool:
    """Whether weights behind a FakeQuantize need more than half of the int8 range."""
    low, high = (np.asarray(value(node.input_value(at)), np.float64) for at in (3, 4))
    step = (high - low) / max(int(node.get_attributes()["levels"]) - 1, 1)
    weights = np.clip(np.asarray(value(node.input_value(0)), np.float64), low, high)
    return bool((np.abs(weights) > (_HALF + 0.5) * np.maximum(step, 1e-30)).any())
