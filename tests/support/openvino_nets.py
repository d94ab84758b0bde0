"""OpenVINO IRs for the tests, made as a user would make them: read, quantize, save."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from calibration.targets.open import open_openvino
from calibration.targets.openvino.graph import serialize
from calibration.targets.target import Target
from tests.support.onnx_nets import Floats, pictures

Files = tuple[bytes, bytes]


def ir_of(onnx_model: bytes, batch: int | None = None) -> Files:
    """The IR of an ONNX file; with ``batch`` its shapes are static."""
    model = ov.Core().read_model(onnx_model)
    if batch is not None:
        model.reshape([batch, *list(model.input(0).get_partial_shape())[1:]])
    return serialize(model)


def half_weights(onnx_model: bytes, folder: Path) -> Files:
    """The IR with its weights compressed to float16, as ``save_model`` does by default."""
    ov.save_model(ov.Core().read_model(onnx_model), folder / "half.xml", compress_to_fp16=True)
    return (folder / "half.xml").read_bytes(), (folder / "half.bin").read_bytes()


def by_nncf(onnx_model: bytes, x: Floats | None = None) -> Files:
    """Post-training int8 by NNCF."""
    import nncf

    model = ov.Core().read_model(onnx_model)
    model.reshape([1, *list(model.input(0).get_partial_shape())[1:]])
    samples = pictures(32, seed=99) if x is None else x
    dataset = nncf.Dataset([sample[np.newaxis] for sample in samples])
    return serialize(nncf.quantize(model, dataset, subset_size=len(samples)))


def bytes_camera(seed: int = 0, *, via_convert: bool = True) -> Files:
    """A net that takes uint8 (1, 16, 16, 3), as TensorFlow detectors do: convert - transpose - conv - relu - conv."""
    rng = np.random.default_rng(seed)
    picture = ops.parameter([1, 16, 16, 3], np.uint8, name="image")
    first: Any = picture if via_convert else ops.reshape(picture, ops.constant([-1, 16, 16, 3]), False)
    x = ops.transpose(ops.convert(first, "f32"), ops.constant([0, 3, 1, 2]))
    x = ops.multiply(ops.subtract(x, ops.constant(np.float32(127))), ops.constant(np.float32(1 / 128)))
    x = ops.relu(conv(x, rng.normal(0, 0.4, (6, 3, 3, 3)), rng.normal(0, 0.2, 6), "first"))
    x = ops.relu(conv(x, rng.normal(0, 0.3, (5, 6, 3, 3)), rng.normal(0, 0.2, 5), "second"))
    return closed(x, picture, rng, 5)


def conv(x: Any, weight: NDArray[Any], bias: NDArray[Any] | None, name: str) -> Any:
    """A 3x3 convolution, padded by one, with its bias behind it."""
    kernel = ops.constant(weight.astype(np.float32))
    return biased(x, kernel, bias, name)


def biased(x: Any, kernel: Any, bias: NDArray[Any] | None, name: str) -> Any:
    """The same with any constant subgraph as weights."""
    y = ops.convolution(x, kernel, [1, 1], [1, 1], [1, 1], [1, 1], name=name if bias is None else None)
    if bias is None:
        return y
    return ops.add(y, ops.constant(bias.astype(np.float32).reshape(1, -1, 1, 1)), name=name)


def closed(x: Any, picture: Any, rng: np.random.Generator, channels: int) -> Files:
    """Pooling and a linear head behind ``x``."""
    pooled = ops.squeeze(ops.reduce_mean(x, ops.constant([2, 3]), keep_dims=True), ops.constant([2, 3]))
    head = ops.matmul(pooled, ops.constant(rng.normal(0, 1, (4, channels)).astype(np.float32)), False, True)
    head.output(0).get_tensor().set_names({"logits"})
    return serialize(ov.Model([head], [picture], "net"))


def opened(files: Files) -> Target:
    """A target of both files."""
    return open_openvino(*files)


def run_in_openvino(files: Files, x: Floats) -> dict[str, NDArray[Any]]:
    """The outputs in float32, in batches of the fixed size where there is one."""
    model = ov.Core().read_model(*files)
    fixed = model.input(0).get_partial_shape()[0]
    options = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO"}
    compiled = ov.Core().compile_model(model, "CPU", options)
    step = len(x) if fixed.is_dynamic else fixed.get_length()
    parts = [compiled(x[i : i + step]) for i in range(0, len(x), step)]
    return {o.get_any_name(): np.concatenate([part[o] for part in parts]) for o in compiled.outputs}


def constants(files: Files, kind: str) -> dict[str, NDArray[Any]]:
    """All constants of one element type, by name."""
    nodes = ov.Core().read_model(*files).get_ordered_ops()
    return {
        node.get_friendly_name(): np.array(node.data)
        for node in nodes
        if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() == kind
    }
