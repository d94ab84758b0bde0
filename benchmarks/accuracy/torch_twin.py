"""An ONNX model in torch, in float64: the measure that its gradients are compared with.

It reads the file by itself and shares no code with what it judges. As there, weights are the values that their
integers stand for, and where the model rounds, only the range of the integers is kept to.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional

Settings = Mapping[str, tuple[Tensor, Tensor]]
"""Scale and offset (C,) by tap; the picture's under ``input``."""

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


class TorchTwin:
    """One model."""

    def __init__(self, data: bytes, channel_axes: Mapping[str, int], picture_axis: int = 1) -> None:
        """Read the file.

        Args:
            data: An ONNX file.
            channel_axes: By tap, where its channels are.
            picture_axis: The same of the picture.
        """
        self._graph = onnx.load_model_from_string(data).graph
        self._axes, self._picture_axis = channel_axes, picture_axis
        self._constants = {t.name: _to_torch(numpy_helper.to_array(t)) for t in self._graph.initializer}
        [self._picture] = [v.name for v in self._graph.input if v.name not in self._constants]

    def __call__(self, x: Tensor, settings: Settings, wanted: str) -> Tensor:
        """The tensor ``wanted`` for ``x`` (N, C, ...), float64."""
        return self.run(x, settings, [wanted])[wanted]

    def run(self, x: Tensor, settings: Settings, wanted: Collection[str]) -> dict[str, Tensor]:
        """Several tensors at once; nothing behind the last of them is computed."""
        values: dict[str, Any] = {"": None, **self._constants}
        values[self._picture] = _corrected(
            x.movedim(1, self._picture_axis), settings, "input", self._picture_axis
        )
        for node in self._graph.node:
            for name, value in zip(node.output, _run(node, values), strict=False):
                values[name] = (
                    _corrected(value, settings, name, self._axes[name]) if name in settings else value
                )
            if values.keys() >= set(wanted):
                break
        return {name: values[name] for name in wanted}


def _corrected(value: Tensor, settings: Settings, name: str, axis: int) -> Tensor:
    if name not in settings:
        return value
    shape = [-1 if i == axis else 1 for i in range(value.ndim)]
    scale, offset = (part.reshape(shape) for part in settings[name])
    return value * scale + offset


def _to_torch(value: Any) -> Tensor:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":  # float8, int4
        array = array.astype(np.float64)
    return torch.from_numpy(array.astype(np.float64) if array.dtype.kind == "f" else array.copy())


def _run(node: NodeProto, values: Mapping[str, Any]) -> tuple[Any, ...]:
    given = [values[name] for name in node.input]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type not in _OPERATORS:
        raise NotImplementedError(f"{node.op_type} has no twin in torch")
    found = _OPERATORS[node.op_type](given, attributes)
    return found if isinstance(found, tuple) else (found,)


Operator = Callable[[list[Any], dict[str, Any]], Any]


def _constant(_: list[Any], a: dict[str, Any]) -> Tensor:
    [value] = a.values()
    return _to_torch(numpy_helper.to_array(value) if isinstance(value, TensorProto) else value)


def _conv(given: list[Any], a: dict[str, Any]) -> Tensor:
    x, w, b = (*given, None)[:3]
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[w.ndim - 3]
    x = functional.pad(x, _border(a, x, w.shape[2:]))
    return convolve(x, w, b, a.get("strides", 1), 0, a.get("dilations", 1), a.get("group", 1))


def _border(a: dict[str, Any], x: Tensor, kernel: Sequence[int]) -> list[int]:
    """Pads in torch's order."""
    rank, auto = len(kernel), a.get("auto_pad", b"NOTSET").decode()
    pads = a.get("pads", [0] * 2 * rank)
    if auto.startswith("SAME"):
        strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
        totals = [
            max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            for n, s, d, k in zip(x.shape[2:], strides, dilations, kernel, strict=True)
        ]
        less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = less + more if auto == "SAME_UPPER" else more + less
    return [n for pair in list(zip(pads[:rank], pads[rank:], strict=True))[::-1] for n in pair]


def _conv_transpose(given: list[Any], a: dict[str, Any]) -> Tensor:
    x, w, b = (*given, None)[:3]
    pads = a.get("pads", [0] * 4)
    rank = w.ndim - 2
    assert pads[:rank] == pads[rank:]
    return functional.conv_transpose2d(
        x,
        w,
        b,
        a.get("strides", 1),
        pads[:rank],
        a.get("output_padding", 0),
        a.get("group", 1),
        a.get("dilations", 1),
    )


def _gemm(given: list[Any], a: dict[str, Any]) -> Tensor:
    left = given[0].T if a.get("transA") else given[0]
    right = given[1].T if a.get("transB") else given[1]
    product: Tensor = a.get("alpha", 1.0) * left @ right
    return product if len(given) < 3 else product + a.get("beta", 1.0) * given[2]


def _batch_norm(given: list[Any], a: dict[str, Any]) -> Tensor:
    x, gamma, beta, mean, var = given
    return functional.batch_norm(x, mean, var, gamma, beta, eps=a.get("epsilon", 1e-5))


def _dequantize(given: list[Any], a: dict[str, Any]) -> Tensor:
    x, scale, zero = (*given, None)[:3]
    if x.dtype == torch.float64:  # activations were never rounded
        return x
    shape = [-1 if i == a.get("axis", 1) % x.ndim else 1 for i in range(x.ndim)] if scale.numel() > 1 else []
    off = (
        x.double() if zero is None else x.double() - zero.double().reshape(shape if zero.numel() > 1 else [])
    )
    return off * scale.reshape(shape)


def _quantize(given: list[Any], _: dict[str, Any]) -> Tensor:
    x, scale, zero = (*given, None)[:3]
    limits = torch.iinfo(torch.uint8 if zero is None else zero.dtype)
    start = 0.0 if zero is None else zero.double()
    return torch.clamp(x, (limits.min - start) * scale, (limits.max - start) * scale)


def _max_pool(given: list[Any], a: dict[str, Any]) -> Tensor:
    rank = len(a["kernel_shape"])
    x = functional.pad(given[0], _border(a, given[0], a["kernel_shape"]), value=-1e30)
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[rank - 1]
    strides = a.get("strides", [1] * rank)
    return pool(x, a["kernel_shape"], strides, 0, a.get("dilations", 1), bool(a.get("ceil_mode", 0)))


def _average_pool(given: list[Any], a: dict[str, Any]) -> Tensor:
    rank = len(a["kernel_shape"])
    pads = a.get("pads", [0] * 2 * rank)
    assert pads[:rank] == pads[rank:]
    pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[rank - 1]
    return pool(
        given[0], a["kernel_shape"], a.get("strides", [1] * rank), pads[:rank], bool(a.get("ceil_mode", 0)),
        bool(a.get("count_include_pad", 0)),
    )  # fmt: skip


def _reduce_mean(given: list[Any], a: dict[str, Any]) -> Tensor:
    axes = given[1].tolist() if len(given) > 1 else a.get("axes", list(range(given[0].ndim)))
    return given[0].mean(axes, keepdim=bool(a.get("keepdims", 1)))


def _reshape(given: list[Any], _: dict[str, Any]) -> Tensor:
    x, shape = given[0], given[1].tolist()
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)])


def _slice(given: list[Any], _: dict[str, Any]) -> Tensor:
    x, starts, ends, axes, steps = (*given, None, None)[:5]
    axes = range(len(starts)) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes, steps, strict=True):
        index = torch.arange(x.shape[axis])[slice(start, end)][::step]
        x = x.index_select(axis, index)
    return x


def _split(given: list[Any], a: dict[str, Any]) -> tuple[Tensor, ...]:
    return tuple(given[0].split(given[1].tolist(), a.get("axis", 0)))


def _resize(given: list[Any], a: dict[str, Any]) -> Tensor:
    x, _, scales, sizes = (*given, None, None)[:4]
    if sizes is None or not sizes.numel():
        out = [int(n * s) for n, s in zip(x.shape[2:], scales.tolist()[2:], strict=True)]
    else:
        out = sizes.tolist()[2:]
    mode, where = a.get("mode", b"nearest"), a.get("coordinate_transformation_mode", b"half_pixel")
    if (
        mode == b"nearest"
        and where == b"asymmetric"
        and a.get("nearest_mode", b"round_prefer_floor") == b"floor"
    ):
        return functional.interpolate(x, out, mode="nearest")
    if mode == b"nearest" and all(o % n == 0 for o, n in zip(out, x.shape[2:], strict=True)):
        return functional.interpolate(x, out, mode="nearest-exact")
    if mode == b"linear" and where in (b"half_pixel", b"pytorch_half_pixel"):
        return functional.interpolate(x, out, mode="bilinear")
    if mode == b"linear" and where == b"align_corners":
        return functional.interpolate(x, out, mode="bilinear", align_corners=True)
    raise NotImplementedError(f"Resize {mode!r} {where!r} has no twin in torch")


def _squeeze(given: list[Any], _: dict[str, Any]) -> Tensor:
    return given[0].squeeze(tuple(given[1].tolist()) if len(given) > 1 else tuple(range(given[0].ndim)))


def _unsqueeze(given: list[Any], _: dict[str, Any]) -> Tensor:
    x = given[0]
    for axis in sorted(n % (x.ndim + len(given[1])) for n in given[1].tolist()):
        x = x.unsqueeze(axis)
    return x


def _cast(given: list[Any], a: dict[str, Any]) -> Tensor:
    return given[0].double() if a["to"] in _FLOATS else given[0].to(torch.int64)


def _clip(given: list[Any], _: dict[str, Any]) -> Tensor:
    x, low, high = (*given, None, None)[:3]
    return x if low is None and high is None else torch.clamp(x, low, high)


def _gather(given: list[Any], a: dict[str, Any]) -> Tensor:
    x, index, axis = given[0], given[1], a.get("axis", 0) % given[0].ndim
    found = x.index_select(axis, index.reshape(-1) % x.shape[axis])
    return found.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _layer_norm(given: list[Any], a: dict[str, Any]) -> Tensor:
    x, gamma, beta = (*given, None)[:3]
    shape = x.shape[a.get("axis", -1) % x.ndim :]
    return functional.layer_norm(x, shape, gamma.reshape(shape), beta, a.get("epsilon", 1e-5))


def _hard_sigmoid(given: list[Any], a: dict[str, Any]) -> Tensor:
    return (a.get("alpha", 0.2) * given[0] + a.get("beta", 0.5)).clamp(0, 1)


def _softmax(given: list[Any], a: dict[str, Any]) -> Tensor:
    return torch.softmax(given[0], a.get("axis", -1))


_OPERATORS: dict[str, Operator] = {
    "Constant": _constant, "Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm,
    "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm,
    "DequantizeLinear": _dequantize, "QuantizeLinear": _quantize,
    "MaxPool": _max_pool, "AveragePool": _average_pool, "ReduceMean": _reduce_mean,
    "Reshape": _reshape, "Slice": _slice, "Split": _split, "Resize": _resize, "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze, "Cast": _cast, "Clip": _clip, "Gather": _gather, "Softmax": _softmax,
    "HardSigmoid": _hard_sigmoid,
    "MatMul": lambda g, _: g[0] @ g[1],
    "Add": lambda g, _: g[0] + g[1],
    "Sub": lambda g, _: g[0] - g[1],
    "Mul": lambda g, _: g[0] * g[1],
    "Div": lambda g, _: g[0] / g[1] if g[0].is_floating_point() else g[0] // g[1],
    "Pow": lambda g, _: g[0] ** g[1],
    "Sqrt": lambda g, _: g[0].sqrt(),
    "Erf": lambda g, _: torch.erf(g[0]),
    "Relu": lambda g, _: functional.relu(g[0]),
    "LeakyRelu": lambda g, a: functional.leaky_relu(g[0], a.get("alpha", 0.01)),
    "PRelu": lambda g, _: torch.where(g[0] < 0, g[0] * g[1], g[0]),
    "Sigmoid": lambda g, _: torch.sigmoid(g[0]),
    "Tanh": lambda g, _: torch.tanh(g[0]),
    "HardSwish": lambda g, _: functional.hardswish(g[0]),
    "Softplus": lambda g, _: functional.softplus(g[0]),
    "Exp": lambda g, _: torch.exp(g[0]),
    "Identity": lambda g, _: g[0],
    "Concat": lambda g, a: torch.cat(g, a["axis"]),
    "Flatten": lambda g, a: g[0].reshape(*[1] * (a.get("axis", 1) == 0), *g[0].shape[: a.get("axis", 1)], -1),
    "Transpose": lambda g, a: g[0].permute(a.get("perm", list(range(g[0].ndim))[::-1])),
    "GlobalAveragePool": lambda g, _: g[0].mean(tuple(range(2, g[0].ndim)), keepdim=True),
    "ReduceSum": lambda g, a: g[0].sum(g[1].tolist(), keepdim=bool(a.get("keepdims", 1))),
    "Range": lambda g, _: torch.arange(*(n.item() for n in g)),
    "Expand": lambda g, _: g[0] + torch.zeros(g[1].tolist(), dtype=g[0].dtype),
    "ConstantOfShape": lambda g, a: torch.full(
        g[0].tolist(), numpy_helper.to_array(a["value"]).item() if "value" in a else 0.0
    ),
    "Shape": lambda g, _: torch.tensor(g[0].shape),
    "Pad": lambda g, _: functional.pad(
        g[0], [n for p in list(zip(*g[1].reshape(2, -1).tolist(), strict=True))[::-1] for n in p]
    ),
}  # fmt: skip
"""By ONNX operator: from its inputs and attributes, its output or outputs."""
