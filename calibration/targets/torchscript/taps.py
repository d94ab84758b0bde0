"""Where the taps (layer outputs) of a TorchScript graph are and which tensors correct them. Only reads the graph.

A tap is the output of an inference BatchNorm, or of a convolution or linear layer with constant float32 weights
that feeds none. Taps have the module's dotted path as name, or ``conv_3`` (the fourth layer) where a frozen file
has lost it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from calibration.errors import ModelError
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import SkippedLayer
from calibration.targets.tap_choice import LayerSkipped, Step, choose_taps, find_heads, holds_decoding
from calibration.targets.torchscript.graph import (
    CONVOLUTIONS,
    LAYERS,
    ORDINAL,
    RECURRENT,
    TorchGraph,
    bodies_of,
    constant,
    find_weights,
    inputs_of,
    is_transposed,
    outputs_of,
    read_convolution_form,
    readers,
    reads_data,
    skip_transpose,
    walk_nodes,
)
from calibration.targets.torchscript.in_place import sharing_memory, writes_in_place

_CONTAINERS = ("prim::TupleConstruct", "prim::ListConstruct", "prim::DictConstruct", "prim::Return")
_TRAINING_ARGUMENT = {"aten::batch_norm": 5, "aten::dropout": 2, "aten::feature_dropout": 2}


@dataclass(frozen=True, slots=True)
class TorchTap:
    """A tap and the values of the graph behind it."""

    name: str
    op: str
    channels: int
    output: Any
    """The value it is measured at."""
    node: Any
    """The node that reads the weights; differs from the output's for matmul + add."""
    weight_axis: int = 0
    """Output channels in the weights."""
    groups: int = 1
    weight_at: int = 1
    bias_at: int = 2
    """Inputs of ``node`` (or of the ``add`` behind it) that hold weights and bias."""

    @property
    def ordinal(self) -> int:
        """Place of ``node`` among the layers of the module's own graph."""
        return int(self.node.i(ORDINAL))

    @property
    def is_channel_last(self) -> bool:
        """True for linear layers: channels on the last axis of the output, else on axis 1."""
        return self.op == "Linear"

    @property
    def kind(self) -> str:
        """For people."""
        return f"{self.op} float32"


_UNCORRECTABLE = {
    **dict.fromkeys(RECURRENT, "a recurrent layer: its gates have no output of their own to correct"),
    "aten::embedding": "a table, not a layer of channels",
    "aten::bilinear": "its channels depend on two inputs",
    "aten::einsum": "its channel axis is unknown",
    "aten::_native_multi_head_attention": "several layers in one operator",
    "aten::_transformer_encoder_layer_fwd": "several layers in one operator",
}

_SELECTING = (
    "aten::nonzero", "aten::nonzero_numpy", "aten::argwhere", "aten::masked_select", "aten::unique_consecutive",
    "aten::_unique2", "aten::unique_dim", "torchvision::nms",
)  # fmt: skip
"""Give as many entries as the input has of something; so does an index by yes and no."""
_YES_OR_NO = (
    "aten::gt", "aten::ge", "aten::lt", "aten::le", "aten::eq", "aten::ne", "aten::logical_and", "aten::logical_or",
    "aten::logical_not", "aten::__and__", "aten::__or__", "aten::bitwise_and", "aten::bitwise_or", "aten::isfinite",
    "aten::bitwise_not",
)  # fmt: skip
_OF_THE_FIRST_ONLY = ("aten::index_put", "aten::index_put_", "aten::scatter", "aten::masked_fill")


def find_taps(graph: TorchGraph) -> tuple[tuple[TorchTap, ...], tuple[SkippedLayer, ...]]:
    """All taps in graph order, and the layers that stay as they are; see :func:`choose_taps`.

    Raises:
        ModelError: no tap at all, or a model saved in training mode.
    """
    _refuse_training_mode(graph)
    fix = "Save it with float32 weights that are parameters of the module, called outside of loops and branches."
    steps = [_describe(graph, node) for node in graph.nodes if reads_data(node)]
    taps, skipped = choose_taps(graph.name, steps, fix)
    return taps, tuple(dict.fromkeys(skipped))  # a module that is called twice is one layer


def name_heads(graph: TorchGraph, taps: Sequence[TorchTap]) -> dict[str, Any]:
    """The outputs of the layers behind which no other layer is, by name: the tap's, or one that no output has."""
    nodes = [node for node in graph.nodes if reads_data(node)]
    places = sorted(find_heads([_describe(graph, node) for node in nodes]))
    of_taps = {tap.ordinal: tap.name for tap in taps}
    found = dict[str, Any]()
    for node in (nodes[place] for place in places if nodes[place].kind() in LAYERS):
        name = of_taps.get(node.i(ORDINAL)) or f"{label(graph, node)}/head"
        alike = sum(other == name or other.startswith(f"{name}_") for other in found)
        found[f"{name}_{alike}" if alike else name] = node.output()
    return found


def _describe(graph: TorchGraph, node: Any) -> Step[TorchTap]:
    inside = [inner for body in bodies_of(node) for inner in walk_nodes(body)]
    layers = [inner for inner in inside if _has_learned_weights(graph, inner)]
    inputs = [value.unique() for value in inputs_of(node)]
    overwritten = [one for inner in (node, *inside) for one in _find_overwritten(inner)]
    of_the_first = node.kind() in _OF_THE_FIRST_ONLY or _is_tensor_overwritten(node)
    return Step(
        label=label(graph, node),
        reads=[*inputs, *(value.unique() for inner in inside for value in inputs_of(inner))],
        writes=[*(output.unique() for output in outputs_of(node)), *overwritten],
        rows_from=inputs[:1] if of_the_first else inputs,
        has_weights=bool(layers) or find_weights(graph, node) is not None,
        is_decoding=_is_decoding(graph, node),
        is_batch_norm=False,  # its running mean counts as weights
        is_linear=node.kind() not in (*CONVOLUTIONS, "aten::batch_norm"),
        is_selecting=_is_selecting(node),
        inner_layers=[label(graph, inner) for inner in layers],
        tap=partial(_find_tap, graph, node),
    )


def _find_overwritten(node: Any) -> list[int]:
    """What others may read of what a node writes in place; a script need not use its output."""
    if not writes_in_place(node):
        return []
    return [value.unique() for value in sharing_memory(node.inputsAt(0))]


def _is_tensor_overwritten(node: Any) -> bool:
    """A tensor keeps its size, while a list grows by what is added to it."""
    return writes_in_place(node) and node.inputsAt(0).type().isSubtypeOf(torch._C.TensorType.get())


def _has_learned_weights(graph: TorchGraph, node: Any) -> bool:
    return find_weights(graph, node) is not None and not _is_decoding(graph, node)


def _is_decoding(graph: TorchGraph, node: Any) -> bool:
    """See :func:`calibration.targets.tap_choice.is_decoding`."""
    weights = find_weights(graph, node)
    if weights is None or node.kind() == "aten::batch_norm":
        return False
    if node.kind() in CONVOLUTIONS:
        fits, is_turned = not read_convolution_form(node)[0], False
    else:
        read = node.inputsAt(2 if node.kind() == "aten::addmm" else 1)
        fits, is_turned = weights.ndim <= 2, node.kind() != "aten::linear" and not is_transposed(read)
    return fits and holds_decoding(
        weights.shape, lambda: weights.detach().double().numpy(), is_turned=is_turned
    )


def label(graph: TorchGraph, node: Any) -> str:
    """A layer's name: the path of the module that owns its weights, or its operator and place."""
    for place in (1, 2, 3, 0):
        value = node.inputsAt(place) if place < node.inputsSize() else None
        path = None if value is None else graph.owner(skip_transpose(value))
        if path:
            whole = path.removesuffix(".weight").removesuffix(".running_mean")
            return f"{whole}__layer" if whole == INPUT_TAP else whole
    return f"{_short_name(node)}_{node.i(ORDINAL)}" if node.hasAttribute(ORDINAL) else _short_name(node)


def _refuse_training_mode(graph: TorchGraph) -> None:
    training = []
    for node in walk_nodes(graph.graph):
        place = _TRAINING_ARGUMENT.get(node.kind())
        if place is None or constant(node.inputsAt(place)) is not True:
            continue
        if node.kind() != "aten::batch_norm" or graph.tensor(node.inputsAt(3)) is not None:
            training.append(label(graph, node))
    if training:
        fix = "Call model.eval() before torch.jit.trace or torch.jit.script."
        raise ModelError(graph.name, "saved in training mode", "an inference model", fix, training)


def _is_selecting(node: Any) -> bool:
    match node.kind():
        case "aten::where":
            return bool(node.inputsSize() == 1)
        case "aten::index":
            return any(value.node().kind() in _YES_OR_NO for value in node.inputsAt(1).node().inputs())
        case kind:
            return kind in _SELECTING


def _find_tap(graph: TorchGraph, node: Any) -> TorchTap | None:
    """The tap of a node, None when it is not a layer with weights."""
    kind = node.kind()
    if kind in _UNCORRECTABLE:
        raise LayerSkipped(_UNCORRECTABLE[kind])
    if kind not in LAYERS:
        return None
    if kind == "aten::batch_norm":
        return _read_batch_norm(graph, node)
    if kind not in CONVOLUTIONS and find_weights(graph, node) is None:
        return None  # a product of two computed tensors
    if _feeds_batch_norm(node.output()):
        return None
    finder: dict[str, Callable[[TorchGraph, Any], TorchTap]] = {
        "aten::linear": _read_linear, "aten::addmm": _read_addmm,
        "aten::matmul": _read_matmul, "aten::mm": _read_matmul,
    }  # fmt: skip
    return finder.get(kind, _read_convolution)(graph, node)


def _feeds_batch_norm(value: Any) -> bool:
    """Then the BatchNorm behind it is the tap."""
    return [reader.kind() for reader in readers(value)] == ["aten::batch_norm"]


def _read_batch_norm(graph: TorchGraph, node: Any) -> TorchTap:
    mean = graph.tensor(node.inputsAt(3))
    if mean is None or constant(node.inputsAt(5)) is not False:
        raise LayerSkipped("it normalises every batch by itself (no running statistics)")
    parameters = [node.inputsAt(i) for i in range(1, 5)]
    if any(graph.is_shared(value) and graph.owner(value) for value in parameters):
        raise LayerSkipped("it is called several times (shared module)")
    weight, bias = graph.tensor(node.inputsAt(1)), graph.tensor(node.inputsAt(2))
    if (weight is None) != (bias is None):
        raise LayerSkipped("a BatchNorm with only one of weight and bias")
    _require_float32(mean if weight is None else weight)
    return _layer(graph, node, "BatchNormalization", int(mean.numel()))


def _read_convolution(graph: TorchGraph, node: Any) -> TorchTap:
    weight = _read_own_weight(graph, node.inputsAt(1))
    transposed, groups = read_convolution_form(node)
    axis = 1 if transposed else 0
    channels = int(weight.shape[axis]) * (groups if transposed else 1)
    _require_bias(graph, node.inputsAt(2), channels)
    op = "ConvTranspose" if transposed else "Conv"
    return _layer(graph, node, op, channels, weight_axis=axis, groups=groups)


def _read_linear(graph: TorchGraph, node: Any) -> TorchTap:
    weight = _read_own_weight(graph, node.inputsAt(1))
    _require_bias(graph, node.inputsAt(2), int(weight.shape[0]))
    return _layer(graph, node, "Linear", int(weight.shape[0]))


def _read_addmm(graph: TorchGraph, node: Any) -> TorchTap:
    if any(constant(node.inputsAt(i)) not in (1, 1.0) for i in (3, 4)):
        raise LayerSkipped("an addmm with alpha or beta is not a linear layer")
    weight = _read_own_weight(graph, skip_transpose(node.inputsAt(2)))
    axis = 0 if is_transposed(node.inputsAt(2)) else 1
    channels = int(weight.shape[axis])
    if graph.tensor(node.inputsAt(0)) is None:
        raise LayerSkipped("its bias is not a constant")
    _require_bias(graph, node.inputsAt(0), channels)
    return _layer(graph, node, "Linear", channels, weight_axis=axis, weight_at=2, bias_at=0)


def _read_matmul(graph: TorchGraph, node: Any) -> TorchTap:
    """A product with constant weights and the addition of its bias; the tap is behind the addition."""
    weight = _read_own_weight(graph, skip_transpose(node.inputsAt(1)))
    if weight.ndim != 2:
        raise LayerSkipped("a product with weights that are no matrix")
    axis = 0 if is_transposed(node.inputsAt(1)) else 1
    channels, found = int(weight.shape[axis]), readers(node.output())
    if len(found) != 1 or found[0].kind() not in ("aten::add", "aten::add_"):
        raise LayerSkipped("a product without a bias to correct")
    adder = found[0]
    bias_at = 1 if adder.inputsAt(0).unique() == node.output().unique() else 0
    bias = adder.inputsAt(bias_at)
    if graph.tensor(bias) is None or constant(adder.inputsAt(2)) != 1:
        raise LayerSkipped("a product without a constant bias to correct")
    _require_bias(graph, bias, channels)
    if graph.is_shared(bias):
        raise LayerSkipped("its bias is shared with another layer")
    return _layer(graph, node, "Linear", channels, adder.output(), weight_axis=axis, bias_at=bias_at)


def _layer(
    graph: TorchGraph, node: Any, op: str, channels: int, output: Any = None, **places: int
) -> TorchTap:
    output = node.output() if output is None else output
    pending = [use.user for use in output.uses()]
    while pending:
        reader = pending.pop()
        if reader.kind() == "prim::Return" and reader.owningBlock().owningNode() is None:
            raise LayerSkipped("its output is an output of the model")
        if reader.kind() in _CONTAINERS:
            pending += [use.user for value in outputs_of(reader) for use in value.uses()]
    return TorchTap(label(graph, node), op, channels, output, node, **places)


def _read_own_weight(graph: TorchGraph, value: Any) -> Any:
    weight = graph.tensor(value)
    if weight is None:
        raise LayerSkipped("its weights are computed, not constant")
    if graph.is_shared(value):
        reason = "its weights are shared with another layer (or the module is called several times)"
        raise LayerSkipped(reason)
    _require_float32(weight)
    return weight


def _require_bias(graph: TorchGraph, value: Any, channels: int) -> None:
    if value.node().mustBeNone():
        return
    bias = graph.tensor(value)
    if bias is None:
        raise LayerSkipped("its bias is computed, not constant")
    if bias.numel() != channels:
        raise LayerSkipped("its bias is not one value per channel")
    if graph.is_shared(value) and graph.owner(value):
        raise LayerSkipped("its bias is shared with another layer")
    _require_float32(bias)


def _require_float32(parameter: Any) -> None:
    if parameter.dtype != torch.float32:
        raise LayerSkipped(f"its parameters are {str(parameter.dtype).removeprefix('torch.')}, not float32")


def _short_name(node: Any) -> str:
    kind = "conv" if node.kind() in CONVOLUTIONS else str(node.kind()).removeprefix("aten::")
    return {"batch_norm": "bn", "addmm": "linear", "matmul": "linear", "mm": "linear"}.get(kind, kind)
