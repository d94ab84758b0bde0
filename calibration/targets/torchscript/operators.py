"""Which operators of a TorchScript file reach outside of the model: files, the console, other processes.

A TorchScript file is a program. Loading it runs its ``__setstate__`` methods, so the search itself belongs into a
process with limits. It looks at every function and method that the file defines, called or not.
"""

import re
from collections.abc import Iterator
from typing import Any

from calibration.targets.torchscript import program

_NAMESPACES = frozenset(
    {
        "aten", "prim", "prims", "quantized", "_quantized", "quantization", "onednn", "mkldnn", "mkldnn_prepacked",
        "mkl", "sparse", "static_runtime",
    }
)  # fmt: skip
"""Of operators that compute; others talk to processes, profilers or files."""
_REACH_OUTSIDE = frozenset(
    {
        "aten::save", "aten::from_file", "aten::_print", "prim::Print", "prim::PythonOp", "prim::IgnoredPythonOp",
        "prim::AddStatValue", "prim::TimePoint",
    }
)  # fmt: skip
_WORDS = re.compile(r"(^|[_:])(rpc|remote|file|open|save|load|pickle|unpickle|exec|system)([_.]|$)")
"""Parts of a name by which an operator of a later torch is recognised; no operator that computes has one today."""
_CLASSES = re.compile(r"__torch__\.torch\.classes\.(?!quantized\.|rnn\.|sparse\.|xnnpack\.|mkldnn\.)[\w.]+")
"""Classes in C++ that are bound to TorchScript, but those that only hold packed weights."""


def find_foreign_operators(data: bytes) -> list[str]:
    """The names of operators and classes that reach outside of the model, sorted; empty: it only computes.

    Raises:
        ModelError: it is not TorchScript, or needs operators that this torch does not have.
    """
    functions = program.load_functions("model", data)
    return sorted({name for one in functions for name in _names_in(one.graph) if is_foreign(name)})


def is_foreign(name: str) -> bool:
    """Whether an operator, as torch writes it (``aten::relu``), or a class reaches outside of the model."""
    if "::" not in name:
        return _CLASSES.fullmatch(name) is not None
    return (
        name.split("::", maxsplit=1)[0] not in _NAMESPACES
        or name in _REACH_OUTSIDE
        or bool(_WORDS.search(name))
    )


def _names_in(graph: Any) -> Iterator[str]:
    """Every operator of a graph, its blocks and its sub-graphs, and every bound class among its values."""
    for node in graph.nodes():
        yield node.kind()
        for value in node.outputs():
            yield from _CLASSES.findall(str(value.type()))
        for block in node.blocks():
            yield from _names_in(block)
        for name in node.attributeNames():
            if node.kindOf(name) == "g":
                yield from _names_in(node.g(name))
