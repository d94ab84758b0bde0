"""Names for what is added to a graph: none is a name of the model, whatever its tensors are called.

In ONNX an initializer of an input's name is that input's default value: a name that is there already may be wrong
without any error.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onnx import AttributeProto, NodeProto


@dataclass(frozen=True, slots=True)
class FreeNames:
    """Names that begin as no name of the model does."""

    prefix: str

    def of(self, kind: str, tensor: str = "") -> str:
        """The same name for the same two, and for no others; ``kind`` has no slash in it."""
        return f"{self.prefix}/{kind}/{tensor}" if tensor else f"{self.prefix}/{kind}"


def find_free_names(taken: Iterable[str], word: str) -> FreeNames:
    """Names that begin with ``word``, and with more where one of the ``taken`` ones does too."""
    rivals = [name for name in taken if name.startswith(word)]
    while any(name.startswith(word) for name in rivals):
        word += "'"
    return FreeNames(word)


def names_in(nodes: Iterable[NodeProto]) -> Iterator[str]:
    """All names that nodes read and give, and those in the bodies of control flow."""
    for node in nodes:
        yield from node.input
        yield from node.output
        for item in node.attribute:
            for body in [item.g] if item.type == AttributeProto.GRAPH else item.graphs:
                yield from (value.name for value in (*body.input, *body.output, *body.initializer))
                yield from names_in(body.node)
