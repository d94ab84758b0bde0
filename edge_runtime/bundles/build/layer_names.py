"""Names of layers and inputs that a person can read in reports, for an exported model."""

from collections.abc import Iterator, Sequence
from itertools import chain, count
from typing import Any


def name_input(sample_shape: Sequence[int]) -> str:
    """Name of the input that takes samples of this shape, without the batch axis."""
    return "image" if len(sample_shape) == 3 else "window"


def name_layers(model: Any) -> None:
    """Name every convolution's output after its weight, so that reports can be read, and drop exporter notes.

    A weight may be read by several convolutions, be computed, or have the very name that its layer would get: no tensor
    gets a name that is in use, and what is computed gives none.
    """
    graph, graphs = model.graph, list(_graphs(model.graph))
    weights, kept = {tensor.name for tensor in graph.initializer}, {value.name for value in graph.output}
    used = {name for one in graphs for name in _names(one)}
    names = dict[str, str]()
    for node in graph.node:
        if node.op_type == "Conv" and node.output[0] not in kept and node.input[1] in weights:
            wanted = node.input[1].removesuffix(".weight").lstrip("_") or "conv"
            numbered = (f"{wanted}_{number}" for number in count(2))
            name = next(one for one in chain([wanted], numbered) if one not in used)
            used.add(name)
            names[node.output[0]] = name
    for one in graphs:
        for node in one.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
            del node.metadata_props[:]
        for value in (*one.value_info, *one.input, *one.output, *one.initializer):
            value.name = names.get(value.name, value.name)
            del value.metadata_props[:]
        del one.metadata_props[:]


def _graphs(graph: Any) -> Iterator[Any]:
    """The graph and those inside its nodes, which read its tensors."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _names(graph: Any) -> Iterator[str]:
    yield from (value.name for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer))
    yield from (name for node in graph.node for name in (*node.input, *node.output))
