"""Looks through an ONNX file without the onnx package (whose import alone costs a third of the start-up budget).

It reads the protobuf wire format: which operators there are, whether any tensor keeps its data in another file (a
way to read foreign files; onnx had five CVEs there), whether a node is in training mode. Every tensor and subgraph
is visited. Bounded in depth; weights are skipped by their length.

Field numbers: onnx/onnx.proto.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

MAX_DEPTH = 12
MAX_FIELDS = 5_000_000
_LEVEL = 3  # a graph in an attribute of a node

_Kind = Literal["model", "graph", "node", "attribute", "tensor", "sparse", "function", "training"]
_CHILDREN: dict[_Kind, dict[int, _Kind]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
}


class NotOnnx(Exception):
    """The bytes are not an ONNX file; the text says why."""


class TooDeep(NotOnnx):
    """It may be one, but its control flow is nested too deeply to be looked through."""


@dataclass(slots=True)
class OnnxFacts:
    """What is in an ONNX file."""

    operators: Counter[str] = field(default_factory=Counter)
    external: list[str] = field(default_factory=list)
    """Names of tensors whose data lies in another file."""
    training: list[str] = field(default_factory=list)
    """BatchNormalization nodes in training mode."""
    has_graph: bool = False
    fields_left: int = MAX_FIELDS


def read_onnx_facts(model: bytes) -> OnnxFacts:
    """Facts about an ONNX file.

    Raises:
        NotOnnx: it is not one, or nested too deeply.
    """
    facts = OnnxFacts()
    _visit(memoryview(model), "model", facts, 0)
    if not facts.has_graph:
        raise NotOnnx("no graph in it")
    return facts


def _visit(data: memoryview, kind: _Kind, facts: OnnxFacts, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TooDeep(f"control flow (If, Loop) nested more than {MAX_DEPTH // _LEVEL} deep")
    children = _CHILDREN[kind]
    texts: dict[int, str] = {}
    flags: dict[int, int] = {}
    is_training = False
    for number, value in _fields(data, facts):
        if isinstance(value, int):
            flags[number] = value
            continue
        if number in children:
            child = children[number]
            facts.has_graph |= child == "graph"
            if kind == "node" and child == "attribute":
                is_training |= _is_set(value, b"training_mode", facts)
            _visit(value, child, facts, depth + 1)
        elif number in (1, 3, 4, 8) and len(value) <= 1000:
            texts[number] = bytes(value).decode("utf-8", "replace")
        if kind == "tensor" and number == 13:  # an external_data entry, whatever data_location says
            flags[14] = 1
    if kind == "node":
        facts.operators[texts.get(4, "")] += 1
        if is_training and texts.get(4) == "BatchNormalization":
            facts.training.append(texts.get(3, "") or "unnamed")
    elif kind == "tensor" and flags.get(14) == 1:  # data_location EXTERNAL
        facts.external.append(texts.get(8, "") or "unnamed")


def _is_set(attribute: memoryview, name: bytes, facts: OnnxFacts) -> bool:
    """Whether this attribute has this name and a non-zero integer."""
    values = dict(_fields(attribute, facts))
    found = values.get(1)
    return not isinstance(found, int | None) and bytes(found) == name and bool(values.get(3))


def _fields(data: memoryview, facts: OnnxFacts) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, varint value or payload); fixed-width fields are skipped."""
    at, end = 0, len(data)
    while at < end:
        facts.fields_left -= 1
        if facts.fields_left < 0:
            raise NotOnnx(f"more than {MAX_FIELDS} fields")
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(data, at)
            if length > end - at:
                raise NotOnnx("it ends in the middle of a field")
            yield number, data[at : at + length]
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise NotOnnx(f"wire type {wire}")
    if at > end:
        raise NotOnnx("it ends in the middle of a field")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise NotOnnx("it ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
