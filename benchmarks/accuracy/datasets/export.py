"""A torch net as ONNX, by torch's own exporter."""

import io
import warnings
from typing import Any

import torch
from torch import nn


def to_onnx(net: nn.Module, example: torch.Tensor, name: str, *, folded: bool = True) -> bytes:
    """The net as float ONNX with a dynamic batch axis.

    Args:
        net: In evaluation mode.
        example: Two samples or more.
        name: Of the input.
        folded: Whether the exporter folds BatchNorms into convolutions.
    """
    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program: Any = torch.onnx.export(
            net,
            (example,),
            input_names=[name],
            output_names=["logits"],
            dynamic_shapes=({0: batch},),
            opset_version=18,
            dynamo=True,
            optimize=folded,
            verbose=False,
        )
    target = io.BytesIO()
    program.save(target)
    return target.getvalue()
