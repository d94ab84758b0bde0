"""ONNX and TorchScript files -> OpenVINO IR, and int8 IR by NNCF.

Constants stay float32: half-precision files would make parity a matter of rounding. Needs openvino, and nncf for
int8; workstation only.
"""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino.frontend
from numpy.typing import NDArray

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.decoding import find_ir_decoding
from edge_runtime.bundles.build.layer_names import name_input
from edge_runtime.bundles.build.quantize_onnx import match_layers
from edge_runtime.bundles.build.quiet import silence
from edge_runtime.bundles.build.recipe_file import Quantization
from edge_runtime.bundles.build.refusals import shorten
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.parts import InputPart

_USUAL = Quantization()
_OWN = (kind for kind in vars(openvino.frontend).values() if isinstance(kind, type))
_FAILURES: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    TypeError,
    *(kind for kind in _OWN if issubclass(kind, Exception)),
)
"""The front end's own are no RuntimeErrors."""
_ALIKE = 1e-3  # of an answer; the same kernels give the same bits


def convert_onnx(model: bytes, sample_shape: Sequence[int], parts: Sequence[InputPart] = ()) -> ModelFiles:
    """The IR of a complete ONNX file, of one input or of these parts of a sample.

    Raises:
        BundleError: OpenVINO cannot read it.
    """
    try:
        network = openvino.Core().read_model(model)
    except _FAILURES as err:
        raise _refusal("ONNX", err) from err
    sizes, fixed = {part.name: part.shape for part in parts}, dict[int, list[int]]()
    for at, port in enumerate(network.inputs):
        partial, shape = port.get_partial_shape(), sizes.get(port.get_any_name(), sample_shape)
        if partial.rank.is_static and len(partial) == len(shape) + 1:
            # a free picture size is fixed to what the preprocessing makes
            fixed[at] = [-1 if partial[0].is_dynamic else partial[0].get_length(), *shape]
    network.reshape(fixed)
    return save_ir(network)


def convert_torchscript(
    model: bytes, sample_shape: Sequence[int], outputs: Sequence[str], parts: Sequence[InputPart] = ()
) -> ModelFiles:
    """The IR of a TorchScript file; its outputs are called ``outputs``, as the TorchScript engine calls them.

    Its one input is called as for an export; several have the names of ``parts`` and of the arguments of ``forward``.

    Raises:
        BundleError: OpenVINO cannot convert it.
    """
    import torch

    with silence("torch"):  # TorchScript is deprecated, it says at every step
        module = torch.jit.load(io.BytesIO(model), map_location="cpu").eval()
        sizes = {part.name: part.shape for part in parts}
        known = [one.name for one in module.forward.schema.arguments if one.name in sizes]
        inputs = {name: sizes[name] for name in known} if parts else {name_input(sample_shape): sample_shape}
        try:
            given = [([-1, *shape], np.float32) for shape in inputs.values()]
            network = openvino.convert_model(module, input=given)
        except _FAILURES as err:
            raise _refusal("TorchScript", err) from err
    if len(network.outputs) != len(outputs):
        found = f"{len(network.outputs)} outputs after the conversion"
        raise BundleError("model", found, f"{len(outputs)}", "Export the net to ONNX and give that file.")
    for port, name in zip(network.inputs, inputs, strict=True):
        port.set_names({name})
    for port, name in zip(network.outputs, outputs, strict=True):
        port.set_names({name})
        port.get_node().set_friendly_name(name)
    return save_ir(network)


def quantize_ir(ir: ModelFiles, samples: NDArray[np.float32], how: Quantization = _USUAL) -> ModelFiles:
    """An int8 IR: weights with a scale per channel, activations calibrated on ``samples``.

    ``samples`` are prepared natural pictures, float32 (N, ...) in the model's layout; 100 to 300 are good.

    Raises:
        BundleError: NNCF cannot quantize it, or a pattern fits no layer.
    """
    with silence("nncf"):
        import nncf
        import nncf.quantization.range_estimator as ranges

        network = openvino.Core().read_model(ir.data, ir.weights or b"")
        nodes = network.get_ordered_ops()
        kept = match_layers(how.keep_float, [node.get_friendly_name() for node in nodes])
        if how.keeps_decoding:
            kept += [name for name in find_ir_decoding(nodes) if name not in kept]
        free = network.inputs[0].get_partial_shape()
        network.reshape([1, *samples.shape[1:]])  # with free shapes NNCF leaves depthwise weights float
        overflow = nncf.OverflowFix.ENABLE if how.weight_bits == 7 else nncf.OverflowFix.DISABLE
        scope = nncf.IgnoredScope(names=kept, validate=False) if kept else None
        activations = ranges.RangeEstimatorParameters()
        if how.keeps_extremes:
            activations = ranges.RangeEstimatorParametersSet.MINMAX
        try:
            int8 = nncf.quantize(
                network,
                nncf.Dataset([sample[None] for sample in samples]),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(samples),
                ignored_scope=scope,
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    overflow_fix=overflow,
                    activations_range_estimator_params=activations,
                ),
            )
        except (*_FAILURES, nncf.InternalError, nncf.ValidationError, nncf.UnsupportedModelError) as err:
            raise _refusal("NNCF quantization of the", err) from err
    return save_ir(_with_free_batch(int8, samples) if free[0].is_dynamic else int8)


def save_ir(network: Any) -> ModelFiles:
    """The two files of an ``openvino.Model``, constants as they are."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(network, path, compress_to_fp16=False)
        return ModelFiles(path.read_bytes(), path.with_suffix(".bin").read_bytes())


def _with_free_batch(network: Any, samples: NDArray[np.float32]) -> Any:
    """The network with a free batch axis again, where it answers then as it does with one picture; else as it is.

    A size of 1 may be built into it. And OpenVINO's CPU kernels need not agree: with a free axis the int8 pedestrian
    detector answered single pictures wrongly (2026.4.1: a score was off by 0.69), batches of four rightly, and with a
    fixed axis both.
    """
    alone, free = network.clone(), network
    pair = np.stack([samples[0], samples[-1]])
    try:
        free.reshape([-1, *samples.shape[1:]])
        expected = [_answers(alone, [one[np.newaxis]])[0] for one in pair]
        first, both, second = _answers(free, [pair[:1], pair, pair[1:]])
    except RuntimeError:
        return alone
    found = [(first, 0), (second, 0), (both, 0), (both, 1)]
    wanted = [expected[0], expected[1], expected[0], expected[1]]
    is_same = all(
        len(part) > at and np.allclose(part[at], right[0], rtol=_ALIKE, atol=_ALIKE)
        for (parts, at), rights in zip(found, wanted, strict=True)
        for part, right in zip(parts, rights, strict=True)
    )
    return free if is_same else alone


def _answers(network: Any, batches: Sequence[NDArray[np.float32]]) -> list[list[NDArray[Any]]]:
    """The outputs for each batch, run one after the other by one compiled model."""
    run = openvino.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [[np.array(array) for array in run(batch).values()] for batch in batches]


def _refusal(what: str, err: Exception) -> BundleError:
    fix = "Take another of the formats, or export the net in another way."
    return BundleError("model", f"{what} model: {shorten(err)}", "a model that OpenVINO takes", fix)
