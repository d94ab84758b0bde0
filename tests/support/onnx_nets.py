"""Small deterministic ONNX nets for the tests, float and quantized; real files, no fakes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

Floats = NDArray[np.float32]


class Net:
    """Collects nodes and weights; ``model`` gives the file's bytes."""

    def __init__(self, seed: int = 0, opset: int = 17) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def normal(self, name: str, *shape: int, scale: float = 1.0) -> str:
        return self.weight(name, (self.rng.normal(0, scale, shape)).astype(np.float32))

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"node_{output}", **attributes))
        return output

    def add_many(self, op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, outputs, name=f"node_{outputs[0]}", **attributes))

    def conv(
        self, source: str, name: str, c_in: int, c_out: int, bias: bool = True, **attributes: Any
    ) -> str:
        group = attributes.get("group", 1)
        fan = c_in // group * 9
        inputs = [source, self.normal(f"{name}_w", c_out, c_in // group, 3, 3, scale=fan**-0.5 * 1.4)]
        if bias:
            inputs.append(self.normal(f"{name}_b", c_out, scale=0.3))
        return self.add("Conv", inputs, name, pads=[1, 1, 1, 1], kernel_shape=[3, 3], **attributes)

    def model(
        self, output: str, shape: tuple[Any, ...] = ("N", 3, 16, 16), out: tuple[Any, ...] = ("N", 10)
    ) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, out)],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())


def classifier(seed: int = 0, opset: int = 17, bias: bool = True, batch: Any = "N", size: int = 16) -> bytes:
    """conv - relu - depthwise conv - relu - conv - relu - pool - linear, 10 classes.

    The head is fitted to what the random features do on ``pictures``, so that the answers are diverse.
    """
    net = Net(seed, opset)
    x = net.add("Relu", [net.conv("input", "conv1", 3, 8, bias, strides=[2, 2])], "relu1")
    x = net.add("Relu", [net.conv(x, "conv2", 8, 8, bias, group=8)], "relu2")
    x = net.add("Relu", [net.conv(x, "conv3", 8, 16, bias)], "relu3")
    net.add("Flatten", [net.add("GlobalAveragePool", [x], "pooled")], "flat")
    shape = (batch, 3, size, size)
    features = run_net(net.model("flat", ("N", 3, size, size), ("N", 16)), pictures(128, seed=77, size=size))
    directions = net.rng.normal(0, 1, (10, 16)) / (features.std(0) + 1e-3)
    weight = net.weight("fc_w", directions.astype(np.float32))
    offset = net.weight("fc_b", (-directions @ features.mean(0)).astype(np.float32))
    net.add("Gemm", ["flat", weight, offset], "logits", transB=1)
    return net.model("logits", shape, (batch, 10))


def run_net(model: bytes, x: Floats) -> Floats:
    """The first output of a net on ``input``."""
    return np.asarray(ort.InferenceSession(model).run(None, {"input": x})[0], np.float32)


def with_batch_norm(seed: int = 0) -> bytes:
    """Two conv - BatchNormalization - relu blocks and a linear head; BatchNormalization kept live."""
    net = Net(seed)
    x = "input"
    for i, (c_in, c_out) in enumerate([(3, 6), (6, 8)]):
        x = net.conv(x, f"conv{i}", c_in, c_out, bias=False)
        stats = [
            net.weight(f"bn{i}_scale", net.rng.uniform(0.5, 2, c_out).astype(np.float32)),
            net.normal(f"bn{i}_bias", c_out),
            net.normal(f"bn{i}_mean", c_out, scale=0.2),
            net.weight(f"bn{i}_var", net.rng.uniform(0.5, 2, c_out).astype(np.float32)),
        ]
        x = net.add("Relu", [net.add("BatchNormalization", [x, *stats], f"bn{i}")], f"relu{i}")
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x], "pooled")], "flat")
    net.add("Gemm", [x, net.normal("fc_w", 10, 8), net.normal("fc_b", 10)], "logits", transB=1)
    return net.model("logits")


def detector(cells: int = 4) -> bytes:
    """Finds bright squares on a grid of cells 8 pixels wide: (N, 5, cells^2), centre, size and score of each cell."""
    net = Net()
    same = np.zeros((3, 3, 3, 3), np.float32)
    same[np.arange(3), np.arange(3), 1, 1] = 1
    weights = [net.weight("c1_w", same), net.weight("c1_b", np.full(3, 1.0, np.float32))]
    x = net.add("Conv", ["input", *weights], "c1", pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    x = net.add("Relu", [x], "r1")
    mean = np.full((1, 3, 8, 8), 16 / 192, np.float32)  # 16 times the mean of a cell
    x = net.add("Conv", [x, net.weight("c2_w", mean), net.weight("c2_b", np.full(1, -20.0, np.float32))], "c2",
                kernel_shape=[8, 8], strides=[8, 8])  # fmt: skip
    flat = net.add("Reshape", [x, net.weight("flat", np.array([0, 1, -1]))], "flat_scores")
    scores = net.add("Sigmoid", [flat], "scores")
    rows, columns = (part.ravel() * 8.0 + 4 for part in np.mgrid[:cells, :cells])
    boxes = np.stack([columns, rows, np.full(cells**2, 8.0), np.full(cells**2, 8.0)])[None]
    nothing = net.add("Mul", [scores, net.weight("zero", np.zeros(1, np.float32))], "nothing")
    placed = net.add("Add", [nothing, net.weight("grid", boxes.astype(np.float32))], "placed")
    net.add("Concat", [placed, scores], "found", axis=1)
    size = 8 * cells
    return net.model("found", ("N", 3, size, size), ("N", 5, cells**2))


def street(n: int, seed: int = 0, cells: int = 4) -> Floats:
    """Pictures for :func:`detector`: a bright square in about a third of the cells."""
    rng = np.random.default_rng(seed)
    squares = np.where(rng.uniform(0, 1, (n, 1, cells, cells)) < 0.3, 190.0, 90.0)
    levels = np.kron(squares, np.ones((1, 3, 8, 8))) + rng.normal(0, 12, (n, 3, 8 * cells, 8 * cells))
    return ((np.clip(np.round(levels), 0, 255) - 127) / 128).astype(np.float32)


def mlp() -> bytes:
    """MatMul + Add, Gemm without bias, head."""
    net = Net(3)
    x = net.add("MatMul", ["input", net.normal("w1", 3, 12)], "mm1")
    x = net.add("Relu", [net.add("Add", [x, net.normal("b1", 12)], "lin1")], "r1")
    x = net.add("Relu", [net.add("Gemm", [x, net.normal("w2", 12, 9)], "lin2", alpha=0.5)], "r2")
    net.add("Gemm", [x, net.normal("w3", 9, 4), net.normal("b3", 4)], "logits")
    return net.model("logits", ("N", 3), ("N", 4))


def transposed() -> bytes:
    """Grouped ConvTranspose, convolution, head."""
    net = Net(4)
    x = net.add("ConvTranspose", ["input", net.normal("w1", 3, 4, 2, 2, scale=0.5)], "up", strides=[2, 2])
    x = net.add("Relu", [x], "r0")
    weights = [x, net.normal("w2", 4, 3, 3, 3, scale=0.4), net.normal("b2", 6)]
    x = net.add("Relu", [net.add("ConvTranspose", weights, "up2", group=2)], "r1")
    x = net.add("Flatten", [net.add("GlobalAveragePool", [net.conv(x, "c", 6, 5)], "gap")], "flat")
    net.add("Gemm", [x, net.normal("fw", 5, 4), net.normal("fb", 4)], "logits")
    return net.model("logits", ("N", 3, 8, 8), ("N", 4))


def one_and_three_dimensions(dimensions: int) -> bytes:
    net = Net(5, opset=18)
    shape, kernel = ("N", 2, *[8] * dimensions), [3] * dimensions
    x = net.add("Relu", [net.add("Conv", ["input", net.normal("w", 4, 2, *kernel, scale=0.3)], "c1")], "r1")
    x = net.add("Relu", [net.add("Conv", [x, net.normal("v", 5, 4, *kernel, scale=0.2)], "c2")], "r2")
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x], "gap")], "flat")
    net.add("Gemm", [x, net.normal("fw", 5, 4)], "logits")
    return net.model("logits", shape, ("N", 4))


def pictures(n: int, seed: int = 0, channels: int = 3, size: int = 16) -> Floats:
    """Smooth random pictures as an 8-bit camera gives them, prepared as (x - 127) / 128."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (n, channels, 4, 4))
    fine = np.kron(coarse, np.ones((1, 1, size // 4, size // 4))) + rng.normal(
        0, 12, (n, channels, size, size)
    )
    return ((np.clip(np.round(fine), 0, 255) - 127) / 128).astype(np.float32)


def hazy(x: Floats, keep: float = 0.6, add: float = 0.25) -> Floats:
    """Low contrast and bright."""
    return (x * keep + add).astype(np.float32)


class _Pictures(CalibrationDataReader):
    def __init__(self, x: Floats) -> None:
        self._batches = iter([{"input": x[i : i + 8]} for i in range(0, len(x), 8)])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._batches, None)


def quantized(model: bytes, folder: Path, x: Floats | None = None, per_channel: bool = True) -> bytes:
    """Static int8 QDQ, uint8 activations, int8 weights: as a user would make it."""
    source, target = folder / "float.onnx", folder / "int8.onnx"
    source.write_bytes(model)
    quantize_static(
        source,
        target,
        _Pictures(pictures(32, seed=99) if x is None else x),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return target.read_bytes()


FLOAT_NETS: dict[str, tuple[Callable[[], bytes], Callable[[int], Floats]]] = {
    "conv": (classifier, pictures),
    "conv without bias": (lambda: classifier(bias=False), pictures),
    "opset 13": (lambda: classifier(opset=13), pictures),
    "opset 18": (lambda: classifier(opset=18), pictures),
    "opset 21": (lambda: classifier(opset=21), pictures),
    "live batch norm": (with_batch_norm, pictures),
    "fixed batch": (lambda: classifier(batch=1), pictures),
    "linear": (mlp, lambda n: pictures(n)[:, :, 3, 3]),
    "transposed": (transposed, lambda n: pictures(n, size=8)),
    "1d": (lambda: one_and_three_dimensions(1), lambda n: pictures(n, channels=2, size=8)[:, :, 0]),
    "3d": (
        lambda: one_and_three_dimensions(3),
        lambda n: np.random.default_rng(0).normal(0, 1, (n, 2, 8, 8, 8)).astype(np.float32),
    ),
}
