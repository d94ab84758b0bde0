"""A PyTorch checkpoint and the function that makes its net -> the net -> ONNX or TorchScript files that answer alike.

The checkpoint is loaded with ``weights_only=True``: it can hold tensors and plain values, and run nothing. The factory
is the author's own code and is run.

Evaluation mode, BatchNorm folded into the convolutions in ONNX, a free batch axis where the net has one. Outputs
are called what the TorchScript engine calls them, so that one ``postprocess`` fits every format. Needs torch and
onnxscript; workstation only.
"""

import importlib
import io
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from calibration.targets.base import ModelFiles
from calibration.targets.torchscript.program import TORCH_FAILURES, name_outputs
from edge_runtime.bundles.build.checkpoint import Checkpoint, find_parts, find_prefix, match_names
from edge_runtime.bundles.build.layer_names import name_input, name_layers
from edge_runtime.bundles.build.quiet import silence
from edge_runtime.bundles.build.refusals import shorten
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.parts import InputPart

_OPSET, _SHOWN = 18, 3
_AUTHORS: tuple[type[Exception], ...] = (
    *TORCH_FAILURES,
    AttributeError,
    LookupError,
    AssertionError,
    ArithmeticError,
)
"""What an author's forward may raise; anything else is left to its author to see."""
_FAILURES: tuple[type[Exception], ...] = (
    *TORCH_FAILURES,
    torch._dynamo.exc.TorchDynamoException,
    torch.jit.frontend.FrontendError,  # Python that TorchScript does not have; no RuntimeError
)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what ``torch.save({"state_dict": ..., "preprocessing": {...}, "version": 3}, path)`` wrote.

    A bare state dict is taken too. Nothing that is in the file is run.

    Raises:
        BundleError: not readable, or no weights in it.
    """
    expected = "a state dict, or a dict with state_dict, preprocessing and version, saved with torch.save"
    fix = "Save tensors and plain values only: torch.save({'state_dict': net.state_dict(), ...}, path)."
    try:
        with silence("torch"):  # it warns of how old files were stored
            data = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as err:
        found = f"cannot be read ({err.strerror or err})"
        raise BundleError(path, found, expected, "Check the path.") from err
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as err:
        # torch's advice, on the other lines, is about loading such files all the same
        reason = shorten(str(err).rsplit("WeightsUnpickler error: ", 1)[-1].partition("\n")[0])
        raise BundleError(path, f"torch cannot load it: {reason}", expected, fix) from err
    found_parts = find_parts(data, torch.Tensor)
    if found_parts is None:
        names = ", ".join(map(str, list(data)[:6])) if isinstance(data, dict) else ""
        found = f"a dict with {names}" if isinstance(data, dict) else f"a {type(data).__name__}"
        raise BundleError(path, found, expected, fix)
    return found_parts


def build_net(
    path: Path, weights: Mapping[str, torch.Tensor], factory: str, arguments: Mapping[str, Any], folder: Path
) -> Any:
    """The net with the weights of the checkpoint at ``path``, in evaluation mode.

    ``factory`` is ``package.module:function``; its module is looked for in ``folder`` first, as in a script's folder.
    What the function raises is its author's to see and passes through.

    Raises:
        BundleError: no such function, no module made, or the weights are another net's.
    """
    net = _made(factory, arguments, folder)
    if not isinstance(net, torch.nn.Module):
        found = f"it returned {type(net).__name__}"
        raise BundleError(factory, found, "a torch.nn.Module", "Return the net from the factory.")
    wanted = set(net.state_dict())
    try:
        missing, unexpected = net.load_state_dict(match_names(weights, wanted), strict=False)
    except RuntimeError as err:  # sizes differ; every one of them is in the text
        raise _other_net(path, shorten(err, 300)) from err
    if missing or unexpected:
        found = (
            f"{len(missing)} weights missing ({', '.join(missing[:_SHOWN])}), "
            f"{len(unexpected)} unknown ({', '.join(unexpected[:_SHOWN])})"
        )
        prefix = find_prefix(weights, wanted)
        if prefix is not None:
            fix = f"Save the part of the state dict below it, without {prefix!r} in front of the names."
            raise BundleError(path, f"{found}; most names fit without {prefix!r}", "the net's own names", fix)
        raise _other_net(path, found)
    return net.eval()


def _made(factory: str, arguments: Mapping[str, Any], folder: Path) -> Any:
    module_name, _, function_name = factory.partition(":")
    sys.path.insert(0, str(folder))
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as err:
        fix = f"Put the module into the folder of the recipe ({folder}) or install its package."
        raise BundleError(factory, f"{err}", "package.module:function", fix) from err
    finally:
        sys.path.remove(str(folder))
    return function(**arguments)


def _other_net(path: Path, found: str) -> BundleError:
    fix = "Check factory and factory_arguments, such as the number of classes."
    return BundleError(path, found, "exactly the weights of the factory's net", fix)


def run_net(net: Any, batch: NDArray[np.float32], parts: Sequence[InputPart] = ()) -> dict[str, NDArray[Any]]:
    """The net's outputs for a batch, by name; ``parts`` are the arguments of a ``forward`` with several.

    Raises:
        BundleError: it does not take such a batch, or gives nothing with a batch axis.
    """
    try:
        with torch.inference_mode():
            given, named = _arguments(batch, parts)
            found = name_outputs(net(*given, **named), len(batch))
    except _AUTHORS as err:
        words = f"its forward fails on prepared inputs {batch.shape}: {type(err).__name__}: {shorten(err)}"
        fix = (
            "Check preprocess (colour, layout, width, height; or channels, length, layout; inputs are called as the "
            "arguments of forward) and the factory: one input where there are no inputs, float32 weights (return "
            "net.float())."
        )
        raise BundleError("factory", words, "a net that takes a batch of them", fix) from err
    if not found:
        fix = (
            "Let forward give tensors whose first axis is the batch, for any number of them; of boxes whose number "
            "depends on the picture a fixed number of the best, or those before NMS."
        )
        raise BundleError("factory", "no output of the net has a batch axis", "one or more", fix)
    return found


def _arguments(
    batch: NDArray[np.float32], parts: Sequence[InputPart]
) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    """What ``forward`` is given, by position and by name."""
    if not parts:
        return (torch.from_numpy(np.array(batch)),), {}
    return (), {part.name: torch.from_numpy(np.array(part.take(batch))) for part in parts}


def export_onnx(
    net: Any,
    sample_shape: Sequence[int],
    output_names: Sequence[str] | None = None,
    parts: Sequence[InputPart] = (),
) -> ModelFiles:
    """A net in evaluation mode as an ONNX file; ``sample_shape`` has no batch axis.

    It has one input, or those of ``parts``, called as the arguments of ``forward``.

    Raises:
        BundleError: the net cannot be exported; the message has torch's reason.
    """
    zeros = np.zeros((2, *sample_shape), np.float32)
    names = list(output_names or run_net(net, zeros, parts))
    free = {0: torch.export.Dim("batch", min=1, max=256)}
    try:
        program = _exported(net, zeros, names, {part.name: free for part in parts} or (free,), parts)
    except _FAILURES:  # the batch axis is fixed somewhere inside: one picture at a time then
        try:
            program = _exported(net, zeros[:1], names, None, parts)
        except _FAILURES as err:
            raise _refusal("ONNX", err) from err
    target = io.BytesIO()
    program.save(target)
    model = onnx.load_model_from_string(target.getvalue())
    name_layers(model)
    return ModelFiles(bytes(model.SerializeToString()))


def export_torchscript(net: Any, sample_shape: Sequence[int], parts: Sequence[InputPart] = ()) -> ModelFiles:
    """The net as a TorchScript file: scripted where torch can, so that branches stay branches; else traced.

    Raises:
        BundleError: neither works.
    """
    zeros, buffer = np.zeros((2, *sample_shape), np.float32), io.BytesIO()
    given, named = _arguments(zeros, parts)
    with silence("torch"), torch.inference_mode():  # TorchScript is deprecated, it says at every step
        try:
            module: Any = torch.jit.script(net)
            # what is computed by Python (parametrizations) fails only when it runs
            module(*(x[:1] for x in given), **{name: x[:1] for name, x in named.items()})
        except _FAILURES:
            try:
                module = torch.jit.trace(
                    net, given or None, example_kwarg_inputs=named or None, check_trace=False
                )
            except _FAILURES as err:
                raise _refusal("TorchScript", err) from err
        torch.jit.save(module, buffer)
    return ModelFiles(buffer.getvalue())


def _exported(
    net: Any, zeros: NDArray[np.float32], names: list[str], dynamic_shapes: Any, parts: Sequence[InputPart]
) -> Any:
    given, named = _arguments(zeros, parts)
    # It logs that torchvision's operators are missing, and prints the graph when a branch cannot be exported.
    with silence("torch.onnx"):
        return torch.onnx.export(
            net,
            given,
            kwargs=named or None,
            input_names=None if parts else [name_input(zeros.shape[1:])],
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
