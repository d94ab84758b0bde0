"""A PyTorch net -> ONNX or TorchScript files, answering as the net does.

Evaluation mode, BatchNorm folded into the convolutions in ONNX, a free batch axis where the net has one. Outputs
are called what the TorchScript engine calls them, so that one ``postprocess`` fits every format. Needs torch and
onnxscript; workstation only.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from calibration.targets.base import ModelFiles
from calibration.targets.torchscript.program import name_outputs
from edge_runtime.bundles.build.quiet import silence
from edge_runtime.bundles.build.refusals import shorten
from edge_runtime.errors import BundleError

_OPSET = 18
_AUTHORS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError, ArithmeticError)
"""What an author's forward may raise; anything else is left to its author to see."""
_FAILURES = (RuntimeError, ValueError, TypeError, torch._dynamo.exc.TorchDynamoException)


def run_net(net: Any, batch: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """What the net itself says to a batch, by output name.

    Raises:
        BundleError: it does not take such a batch, or gives nothing with a batch axis.
    """
    try:
        with torch.inference_mode():
            found = name_outputs(net(torch.from_numpy(np.array(batch))), len(batch))
    except _AUTHORS as err:
        words = f"its forward fails on prepared pictures {batch.shape}: {type(err).__name__}: {shorten(err)}"
        fix = (
            "Check preprocess (colour, layout, width, height) and the factory: one picture input, float32 weights "
            "(return net.float())."
        )
        raise BundleError("factory", words, "a net that takes a batch of pictures", fix) from err
    if not found:
        fix = (
            "Let forward give tensors whose first axis is the batch, for any number of pictures; of boxes whose number "
            "depends on the picture a fixed number of the best, or those before NMS."
        )
        raise BundleError("factory", "no output of the net has a batch axis", "one or more", fix)
    return found


def export_onnx(
    net: Any, sample_shape: Sequence[int], output_names: Sequence[str] | None = None
) -> ModelFiles:
    """A net in evaluation mode with one input as an ONNX file; ``sample_shape`` has no batch axis.

    Raises:
        BundleError: the net cannot be exported; the message has torch's reason.
    """
    zeros = torch.zeros((2, *sample_shape))
    names = list(output_names or run_net(net, zeros.numpy()))
    batch = torch.export.Dim("batch", min=1, max=256)
    try:
        program = _exported(net, zeros, names, ({0: batch},))
    except _FAILURES:  # the batch axis is fixed somewhere inside: one picture at a time then
        try:
            program = _exported(net, zeros[:1], names, None)
        except _FAILURES as err:
            raise _refusal("ONNX", err) from err
    target = io.BytesIO()
    program.save(target)
    model = onnx.load_model_from_string(target.getvalue())
    _tidy(model)
    return ModelFiles(bytes(model.SerializeToString()))


def export_torchscript(net: Any, sample_shape: Sequence[int]) -> ModelFiles:
    """The net as a TorchScript file: scripted where torch can, so that branches stay branches; else traced.

    Raises:
        BundleError: neither works.
    """
    zeros, buffer = torch.zeros((2, *sample_shape)), io.BytesIO()
    with silence("torch"), torch.inference_mode():  # TorchScript is deprecated, it says at every step
        try:
            module: Any = torch.jit.script(net)
        except _FAILURES:
            try:
                module = torch.jit.trace(net, zeros, check_trace=False)
            except _FAILURES as err:
                raise _refusal("TorchScript", err) from err
        torch.jit.save(module, buffer)
    return ModelFiles(buffer.getvalue())


def _exported(net: Any, zeros: torch.Tensor, names: list[str], dynamic_shapes: Any) -> Any:
    # It logs that torchvision's operators are missing, and prints the graph when a branch cannot be exported.
    with silence("torch.onnx"):
        return torch.onnx.export(
            net,
            (zeros,),
            input_names=["image"],
            output_names=names,
            dynamic_shapes=dynamic_shapes,
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )


def _refusal(what: str, err: Exception) -> BundleError:
    first: BaseException = err
    while first.__cause__ is not None:  # torch.export wraps its reason several times
        first = first.__cause__
    reason = shorten(str(first).strip().partition("\n")[0])
    fix = "See torch.onnx for what it takes, or export the net yourself and give the file as model."
    return BundleError("model", f"{what} export: {reason}", "a net that torch can export", fix)


def _tidy(model: Any) -> None:
    """Name every convolution's output after its weight, so that reports can be read, and drop exporter notes."""
    graph = model.graph
    kept = {value.name for value in graph.output}
    names = {
        node.output[0]: node.input[1].removesuffix(".weight").lstrip("_")
        for node in graph.node
        if node.op_type == "Conv" and node.output[0] not in kept
    }
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        del node.metadata_props[:]
    for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)
        del value.metadata_props[:]
    del graph.metadata_props[:]
