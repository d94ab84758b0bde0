"""A TorchScript module as one flat graph with its parameters as constants.

Calls are inlined, attributes of the module become constants that share the module's memory (so writing to them
changes the module), and branches on constants (``if self.training``) are gone. ``torch.jit.freeze`` is not used: it
merges constants of equal value, which makes two fresh BatchNorms look like one that is used twice.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch

from calibration.errors import ModelError

ORDINAL = "calibration_ordinal"
"""Attribute by which a node is found again in the module's own graph."""

LAYERS = (
    "aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::convolution", "aten::_convolution",
    "aten::_convolution_mode",
    "aten::conv_transpose1d", "aten::conv_transpose2d", "aten::conv_transpose3d",
    "aten::linear", "aten::addmm", "aten::matmul", "aten::mm", "aten::batch_norm",
)  # fmt: skip

RECURRENT = ("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu")

CONVOLUTIONS = tuple(kind for kind in LAYERS if "conv" in kind)

_WITHOUT_BODY = ("prim::Constant", "prim::GetAttr", "prim::ListConstruct", "prim::TupleConstruct")

_ABOUT_SHAPE = (
    "aten::dim", "aten::size", "aten::len", "aten::numel", "prim::dtype", "prim::device", "prim::layout",
    "aten::is_floating_point", "aten::__is__", "aten::__isnot__", "prim::requires_grad", "prim::shape",
)  # fmt: skip

_FOREIGN = ("quantized::", "prepacked::", "mkldnn_prepacked::", "mkldnn::", "_quantized::", "xnnpack::")
_FOREIGN_KINDS = ("prim::ConstantMKLDNNTensor", "prim::mkldnn_convolution", "aten::to_mkldnn")


@dataclass(slots=True)
class TorchGraph:
    """One module's ``forward``, flat; see the module docstring."""

    name: str
    graph: Any
    input: Any
    """The value of the input."""
    owners: dict[int, str]
    """Constants that are attributes of the module: their dotted path, by ``unique()`` of the value."""
    uses: Counter[int]
    """Number of reads of a tensor by layers and other operators, by its address."""

    @property
    def nodes(self) -> list[Any]:
        """Nodes outside of control-flow bodies, in order."""
        return list(self.graph.nodes())

    def tensor(self, value: Any) -> Any:
        """The constant tensor behind a value; None when it is computed."""
        found = constant(value)
        return found if isinstance(found, torch.Tensor) else None

    def owner(self, value: Any) -> str | None:
        """Dotted path of the attribute behind a value; None for a constant of the graph."""
        return self.owners.get(value.unique())

    def is_shared(self, value: Any) -> bool:
        """Whether the tensor behind a value is read at several places."""
        found = self.tensor(value)
        return found is not None and self.uses[found.data_ptr()] > 1


def constant(value: Any) -> Any:
    """The Python value of a constant; None when it is computed (or None)."""
    return value.toIValue() if value.node().kind() == "prim::Constant" else None


def readers(value: Any) -> list[Any]:
    """The nodes that read the data of a value, not only its shape."""
    return [use.user for use in value.uses() if reads_data(use.user)]


def reads_data(node: Any) -> bool:
    """Whether a node does more than ask for shapes and types."""
    return node.kind() not in _ABOUT_SHAPE


def inputs_of(node: Any) -> list[Any]:
    """The values that a node reads.

    By number: where an iterator of torch ends, it throws a C++ exception, which costs 50 us.
    """
    return [node.inputsAt(place) for place in range(node.inputsSize())]


def outputs_of(node: Any) -> list[Any]:
    """The values that a node gives; by number, as :func:`inputs_of`."""
    return [node.outputsAt(place) for place in range(node.outputsSize())]


def bodies_of(node: Any) -> list[Any]:
    """The blocks of a node of control flow; most nodes have none, and are not asked for the reason above."""
    kind = node.kind()
    return [] if kind.startswith("aten::") or kind in _WITHOUT_BODY else list(node.blocks())


def walk_nodes(block: Any) -> Iterator[Any]:
    """All nodes of a graph or block, bodies of control flow included, in order."""
    for node in block.nodes():
        yield node
        for body in bodies_of(node):
            yield from walk_nodes(body)


def find_layers(graph: Any) -> list[Any]:
    """All nodes that may be layers with weights; a node's place in this list is its ordinal."""
    return [node for node in walk_nodes(graph) if node.kind() in LAYERS]


def find_weights(graph: TorchGraph, node: Any) -> Any:
    """The constant weights that a layer reads (running mean of a BatchNorm); None when it is no such layer."""
    if node.kind() not in LAYERS:
        return None
    place = {"aten::batch_norm": 3, "aten::addmm": 2}.get(node.kind(), 1)
    return graph.tensor(skip_transpose(node.inputsAt(place)))


def is_transposed(value: Any) -> bool:
    """Whether a value is the transpose of another one."""
    return bool(value.node().kind() == "aten::t")


def skip_transpose(value: Any) -> Any:
    """The value that was transposed, else ``value`` itself."""
    return value.node().inputsAt(0) if is_transposed(value) else value


def read_convolution_form(node: Any) -> tuple[bool, int]:
    """Whether it is transposed, and its groups."""
    if node.kind() in ("aten::convolution", "aten::_convolution"):
        return bool(constant(node.inputsAt(6))), int(constant(node.inputsAt(8)))
    return "transpose" in node.kind(), int(constant(node.inputsAt(6)))


def flatten(name: str, module: Any) -> TorchGraph:
    """The flat graph of a loaded module; the module is not changed.

    Raises:
        ModelError: packed or accelerator-specific kernels, several inputs, or state that changes while it runs.
    """
    graph = module.inlined_graph
    for ordinal, node in enumerate(find_layers(graph)):
        node.i_(ORDINAL, ordinal)
    _refuse_foreign_kernels(name, graph)
    owners = _bind_attributes(module, graph)
    _bind_default_arguments(name, module, graph)
    torch._C._jit_pass_dce_graph(graph)
    torch._C._jit_pass_constant_propagation_immutable_types(graph)
    _drop_checks(graph)
    torch._C._jit_pass_dce_graph(graph)
    _drop_self(name, graph)
    return TorchGraph(name, graph, next(iter(graph.inputs())), owners, _count_uses(graph))


def _refuse_foreign_kernels(name: str, graph: Any) -> None:
    kinds = sorted({n.kind() for n in walk_nodes(graph)})
    foreign = [kind for kind in kinds if kind.startswith(_FOREIGN) or kind in _FOREIGN_KINDS]
    if not foreign:
        return
    if any("mkldnn" in kind or kind.startswith("prepacked") for kind in foreign):
        found = "its weights are packed for one processor (optimize_for_inference or optimize_for_mobile)"
        fix = "Save the module as it was before that call; torch.jit.freeze is fine."
    else:
        found = "its weights are packed for torch's quantized kernels"
        fix = "Deploy the float module, or quantize its ONNX or OpenVINO export; those can be recalibrated."
    raise ModelError(name, found, "weights as tensors", fix, foreign)


def _bind_attributes(module: Any, graph: Any) -> dict[int, str]:
    """Replace reads of attributes by constants; gives the paths of the tensors among them."""
    me = next(iter(graph.inputs())).unique()
    written = {n.s("name") for n in walk_nodes(graph) if n.kind() == "prim::SetAttr"}
    owners: dict[int, str] = {}
    for node in [n for n in walk_nodes(graph) if n.kind() == "prim::GetAttr"]:
        path = _path(node.output(), me)
        if path is None or path[-1] in written:
            continue
        # Not by getattr: a submodule may be named as what every module has (``code``, ``graph``).
        value = reduce(lambda part, attribute: part.getattr(attribute), path, module._c)
        if isinstance(value, torch.Tensor | bool | int | float | str | None):
            bound = _insert_constant(graph, node, value)
            if isinstance(value, torch.Tensor):
                owners[bound.unique()] = ".".join(path)
            node.output().replaceAllUsesWith(bound)
        elif _is_only_read(node.output()) and all(isinstance(part, torch.Tensor) for part in value):
            _bind_list(graph, node, value)
    return owners


def _is_only_read(value: Any) -> bool:
    """Whether a list is the weights of recurrent layers; others may be added to while the model runs."""
    return bool(value.uses()) and all(use.user.kind() in RECURRENT for use in value.uses())


def _insert_constant(graph: Any, node: Any, value: Any) -> Any:
    """A constant in front of a node; of a tensor it shares the memory."""
    with graph.insert_point_guard(node):
        return graph.insertConstant(value.detach() if isinstance(value, torch.Tensor) else value)


def _bind_list(graph: Any, node: Any, tensors: list[Any]) -> None:
    """Replace the read of an attribute that is a list of tensors: the weights of a recurrent layer."""
    parts = graph.create("prim::ListConstruct", [_insert_constant(graph, node, one) for one in tensors], 1)
    parts.output().setType(torch._C.ListType.ofTensors())
    parts.insertBefore(node)
    node.output().replaceAllUsesWith(parts.output())


def _path(value: Any, me: int) -> tuple[str, ...] | None:
    """Attribute names from the module to a value; None when it does not come from there."""
    if value.unique() == me:
        return ()
    node = value.node()
    if node.kind() != "prim::GetAttr":
        return None
    before = _path(node.inputsAt(0), me)
    return None if before is None else (*before, node.s("name"))


def _bind_default_arguments(name: str, module: Any, graph: Any) -> None:
    """Leave the samples as the only argument of ``forward``."""
    inputs = list(graph.inputs())[1:]
    arguments = module.forward.schema.arguments[1:]
    if not inputs or str(inputs[0].type()) != "Tensor":
        found = f"forward takes ({', '.join(str(value.type()) for value in inputs)})"
        raise ModelError(name, found, "one tensor of samples", "Wrap it in a module with one tensor input.")
    for place in range(len(inputs) - 1, 0, -1):
        if not arguments[place].has_default_value():
            found = f"forward takes {len(inputs)} inputs ({', '.join(a.name for a in arguments)})"
            raise ModelError(name, found, "one tensor of samples", "Wrap it in a module with one input.")
        with graph.insert_point_guard(next(iter(graph.nodes()))):
            bound = graph.insertConstant(arguments[place].default_value)
        inputs[place].replaceAllUsesWith(bound)
        graph.eraseInput(place + 1)


def _drop_checks(graph: Any) -> None:
    """Remove ``if … raise`` without a result: such checks keep the layers that they look at."""
    for node in [n for n in graph.nodes() if n.kind() == "prim::If" and not n.outputsSize()]:
        kinds = {inner.kind() for body in bodies_of(node) for inner in walk_nodes(body)}
        if "prim::RaiseException" in kinds and not any(kind.endswith("_") for kind in kinds):
            node.destroy()


def _drop_self(name: str, graph: Any) -> None:
    """Take the module itself out of the arguments; everything must be a constant by now."""
    me = next(iter(graph.inputs()))
    if me.uses():
        left = sorted({use.user.s("name") for use in me.uses() if use.user.hasAttribute("name")})
        fix = "Save torch.jit.freeze(module.eval()), or a module whose forward changes no attribute."
        found = "forward needs attributes that are not constant tensors or numbers"
        raise ModelError(name, found, "parameters that stay while it runs", fix, left)
    graph.eraseInput(0)


def _count_uses(graph: Any) -> Counter[int]:
    """Reads of every constant tensor, by address."""
    uses = Counter[int]()
    for node in walk_nodes(graph):
        value = constant(node.output()) if node.kind() == "prim::Constant" else None
        if isinstance(value, torch.Tensor):
            uses[value.data_ptr()] += len(readers(node.output()))
    return uses
