"""Weight standardisation as it is exported: a BatchNormalization in training mode whose input is a constant.

It normalises weights, not pictures (StdConv of timm, BiT, NFNet), so it is part of an inference model: what it gives is
calculated here once. Imports onnx; workstation only.
"""

from typing import Any

import onnx

from calibration.targets.onnx.folding import fold_tensors


def fold_constant_norms(model: bytes) -> bytes:
    """The same model with such nodes replaced by their values; the very bytes where there are none."""
    loaded = onnx.load_model_from_string(model)
    normalised = [node.output[0] for node in loaded.graph.node if _is_training_norm(node)]
    is_folded = fold_tensors(loaded, normalised, {value.name for value in loaded.graph.input})
    return bytes(loaded.SerializeToString()) if is_folded else model


def _is_training_norm(node: Any) -> bool:
    return node.op_type == "BatchNormalization" and any(
        attribute.name == "training_mode" and attribute.i for attribute in node.attribute
    )
