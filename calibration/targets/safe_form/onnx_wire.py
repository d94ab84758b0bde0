"""Reads an ONNX file without the onnx package (whose import alone costs a third of the start-up budget), and writes it.

The parser of the protobuf wire format is strict: all that two parsers may read differently is refused (numbers longer
than their field or than needed, groups, a known field in another form, a second value of a single field). Fields that
are not in the table are left out of what it writes. So a reader of :attr:`OnnxFile.data` sees the tensors and nodes
that were seen here. A file without unknown fields comes out as the very same bytes: nothing is copied.

Every message is visited. Bounded in depth and fields; weights are passed over by their length. What else is to be
known of a file, a :class:`Visitor` is shown in the same pass: its bytes are read in no other way.

Source: protobuf.dev/programming-guides/encoding. onnx had five CVEs of foreign files that are read as weights.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from calibration.targets.safe_form.onnx_schema import MESSAGES, Message

MAX_GRAPHS = 4
"""Graphs inside each other: If and Loop three deep."""
MAX_DEPTH = 40
MAX_FIELDS = 5_000_000
MAX_ELEMENTS = 1 << 31
"""Of one tensor; a sparse one says its size in a few bytes."""
MAX_NAME_BYTES = 4096
"""Of names, operators and domains, as far as they are read here; other texts are passed over by their length."""

_VARINT, _INT32, _FIXED, _BYTES, _MESSAGE = range(5)
_WIRES: dict[str, tuple[int, int, int]] = {
    "int64": (0, _VARINT, 0), "uint64": (0, _VARINT, 0), "int32": (0, _INT32, 0), "enum": (0, _INT32, 0),
    "float": (5, _FIXED, 4), "double": (1, _FIXED, 8), "bytes": (2, _BYTES, 0),
}  # fmt: skip
"""Wire type, how it is read, and the bytes of a fixed width."""
_LENGTH = 2
"""The wire type of everything that begins with its length."""
_INT32_END, _INT32_NEGATIVE, _VARINT_END = 1 << 31, (1 << 64) - (1 << 31), 1 << 64
_KEY_BYTES, _LENGTH_BYTES, _VALUE_BYTES = 5, 5, 10

_Entry = tuple[int, int, int, Message | None, bool]
_Parts = list[memoryview]
Fields = list[tuple[int, Any]]
"""Number and value: an int, bytes (text, packed numbers), or what a visitor made of a message."""


def _entries(message: Message) -> dict[int, _Entry]:
    """Key on the wire -> number, how it is read, bytes of a fixed width, message inside, whether it comes once."""
    found: dict[int, _Entry] = {}
    for number, one in MESSAGES[message].items():
        is_single = not one.is_repeated
        if one.kind in MESSAGES:
            found[number << 3 | _LENGTH] = (number, _MESSAGE, 0, one.kind, is_single)
            continue
        wire, action, width = _WIRES[one.kind]
        found[number << 3 | wire] = (number, action, width, None, is_single)
        if one.is_repeated and wire != _LENGTH:
            found[number << 3 | _LENGTH] = (number, _BYTES, 0, None, False)  # all values in one packet
    return found


_TABLES = {message: _entries(message) for message in MESSAGES}
_NAME, _OPERATOR, _DOMAIN = 3, 4, 7
"""Of a node."""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
"""Of a tensor."""
_READ: dict[Message, frozenset[int]] = {
    "node": frozenset({_NAME, _OPERATOR, _DOMAIN}), "attribute": frozenset({1, 3}),
    "tensor": frozenset({8, _EXTERNAL_DATA, _DATA_LOCATION}), "function": frozenset({10}),
}  # fmt: skip
"""Fields whose values are wanted here; of a message inside, that it is there."""
_NOTHING: frozenset[int] = frozenset()
_DIMENSIONS: dict[Message, int] = {"tensor": 1, "sparse": 3}
_CUT = "it ends in the middle of a field"


class NotOnnx(Exception):
    """The bytes are not an ONNX file, or one that could be read in two ways; the text says why."""


class TooDeep(NotOnnx):
    """It may be one, but its control flow is nested too deeply to be looked through."""


@dataclass(slots=True)
class OnnxFile:
    """What is in an ONNX file."""

    data: bytes = b""
    """The model as a framework may get it: the file without unknown fields."""
    operators: Counter[str] = field(default_factory=Counter)
    domains: dict[str, str] = field(default_factory=dict)
    """Domains of the operators, each with one operator of it; the one of ONNX itself is empty."""
    functions: set[str] = field(default_factory=set)
    """Domains of functions that the file defines itself."""
    external: list[str] = field(default_factory=list)
    """Names of tensors whose data lies in another file."""
    training: list[str] = field(default_factory=list)
    """BatchNormalization nodes in training mode."""
    has_graph: bool = False


class Visitor(Protocol):
    """Is shown the messages of a file, the inner ones first."""

    @property
    def wanted(self) -> Mapping[Message, frozenset[int]]:
        """The fields that it wants to see, by message; other messages are not shown."""
        ...

    def visit(self, message: Message, fields: Fields, graphs: int) -> Any:
        """See one message; what it returns stands for the message in the fields of the one around it.

        Args:
            message: Its kind.
            fields: (number, value) of those that are wanted, in the file's order.
            graphs: So many graphs are open, it included; 0 in a function.
        """
        ...


def read_onnx(model: bytes, visitor: Visitor | None = None) -> OnnxFile:
    """Parse an ONNX file.

    Raises:
        NotOnnx: it is not one, can be read in two ways, or is nested too deeply.
    """
    reader = _Reader(model, OnnxFile(), visitor)
    parts = reader.read(0, len(model), "model", 0, 0)
    if not reader.file.has_graph:
        raise NotOnnx("no graph in it")
    reader.file.data = model if parts is None else b"".join(parts)
    return reader.file


def unpack_numbers(value: int | memoryview) -> list[int]:
    """The numbers of a repeated field, of which one stands alone or all in one packet; each 0 to 2**64 - 1.

    Raises:
        NotOnnx: the last one has no end.
    """
    if isinstance(value, int):
        return [value]
    reader, numbers, at = _Reader(bytes(value), OnnxFile()), list[int](), 0
    while at < len(value):
        number, at = reader._varint(at, len(value), _VALUE_BYTES)
        numbers.append(number)
    return numbers


@dataclass(slots=True)
class _Reader:
    """One pass over a file; positions are those of the whole file, so that nothing is copied."""

    model: bytes
    file: OnnxFile
    visitor: Visitor | None = None
    visited: Any = None
    """What the visitor made of the message that was read last."""
    fields_left: int = MAX_FIELDS
    is_training: bool = False
    """Whether an attribute of the node that is being read says so."""

    def read(self, start: int, end: int, message: Message, depth: int, graphs: int) -> _Parts | None:
        """Visit one message; gives its new bytes in parts, or None where it stays as it is."""
        graphs += message == "graph"
        self._require_flat(depth, graphs)
        data, table, wanted = self.model, _TABLES[message], _READ.get(message, _NOTHING)
        dimensions, values, changes = _DIMENSIONS.get(message), dict[int, int | str](), list[_Change]()
        shown = _NOTHING if self.visitor is None else self.visitor.wanted.get(message, _NOTHING)
        fields: Fields = []
        at, seen, elements = start, 0, 1
        while at < end:
            begin = at
            self.fields_left -= 1
            key, at = data[at], at + 1
            if key >= 0x80:
                key, at = self._varint(begin, end, _KEY_BYTES)
            entry = table.get(key)
            if entry is None:
                at = self._skip(key, at, end, message)
                changes.append((begin, at, []))
                continue
            number, action, width, inside, is_single = entry
            if is_single:
                if seen >> number & 1:
                    raise NotOnnx(f"field {number} of a {message} comes twice")
                seen |= 1 << number
            if action >= _BYTES:
                length, at = self._varint(at, end, _LENGTH_BYTES)
                stop = at + length
                if stop > end:
                    raise NotOnnx(_CUT)
                if inside is not None:
                    parts = self.read(at, stop, inside, depth + 1, graphs)
                    if parts is not None:
                        changes.append((begin, stop, [_head(key, parts), *parts]))
                    if number in shown:
                        fields.append((number, self.visited))
                    if number in wanted:
                        values[number] = 1
                elif number in wanted:
                    values[number] = self._text(at, stop)
                elif number == dimensions:
                    elements = self._count_packed(elements, at, stop)
                if inside is None and number in shown:
                    fields.append((number, memoryview(data)[at:stop]))
                at = stop
            elif action == _FIXED:
                at += width
            else:
                value, at = self._varint(at, end, _VALUE_BYTES)
                if action == _INT32 and _INT32_END <= value < _INT32_NEGATIVE:
                    raise NotOnnx(f"field {number} of a {message} is longer than 32 bits")
                if number in wanted:
                    values[number] = value
                elif number == dimensions:
                    elements = _count(elements, value)
                if number in shown:
                    fields.append((number, value))
        if at > end:
            raise NotOnnx(_CUT)
        self._note(message, values)
        if self.visitor is not None:
            self.visited = self.visitor.visit(message, fields, graphs) if shown else None
        return _rewrite(memoryview(data), start, end, changes) if changes else None

    def _require_flat(self, depth: int, graphs: int) -> None:
        if graphs > MAX_GRAPHS:
            raise TooDeep(f"control flow (If, Loop) nested more than {MAX_GRAPHS - 1} deep")
        if depth > MAX_DEPTH:
            raise NotOnnx(f"messages nested more than {MAX_DEPTH} deep")
        if self.fields_left < 0:
            raise NotOnnx(f"more than {MAX_FIELDS} fields")

    def _note(self, message: Message, values: dict[int, int | str]) -> None:
        """Keep what is wanted of a message that was read to its end."""
        match message:
            case "graph":
                self.file.has_graph = True
            case "attribute":
                self.is_training |= values.get(1) == "training_mode" and values.get(3, 0) != 0
            case "node":
                operator, domain = str(values.get(_OPERATOR, "")), str(values.get(_DOMAIN, ""))
                self.file.operators[operator] += 1
                self.file.domains.setdefault("" if domain == "ai.onnx" else domain, operator)
                if self.is_training and operator == "BatchNormalization":
                    self.file.training.append(str(values.get(_NAME) or "unnamed"))
                self.is_training = False
            case "tensor":
                location = values.get(_DATA_LOCATION, 0)
                if location not in (0, 1):
                    raise NotOnnx(f"a tensor whose data lies at the unknown place {location}")
                if location or _EXTERNAL_DATA in values:
                    self.file.external.append(str(values.get(8) or "unnamed"))
            case "function":
                self.file.functions.add(str(values.get(10, "")))
            case _:
                pass

    def _text(self, at: int, end: int) -> str:
        if end - at > MAX_NAME_BYTES:
            raise NotOnnx(f"a name of more than {MAX_NAME_BYTES} bytes")
        try:
            return self.model[at:end].decode()
        except UnicodeDecodeError as err:
            raise NotOnnx("a name that is not UTF-8") from err

    def _count_packed(self, elements: int, at: int, end: int) -> int:
        while at < end:
            self.fields_left -= 1
            value, at = self._varint(at, end, _VALUE_BYTES)
            elements = _count(elements, value)
        self._require_flat(0, 0)
        return elements

    def _skip(self, key: int, at: int, end: int, message: Message) -> int:
        """The end of an unknown field's value."""
        number, wire = key >> 3, key & 7
        if number in MESSAGES[message]:
            raise NotOnnx(f"field {number} of a {message} in another form (wire type {wire})")
        if number == 0 or key >= 1 << 32 or wire not in (0, 1, 2, 5):
            raise NotOnnx(f"wire type {wire}, field number {number}")
        if wire == 0:
            return self._varint(at, end, _VALUE_BYTES)[1]
        if wire == _LENGTH:
            length, at = self._varint(at, end, _LENGTH_BYTES)
            at += length
        else:
            at += 8 if wire == 1 else 4
        if at > end:
            raise NotOnnx(_CUT)
        return at

    def _varint(self, at: int, end: int, most_bytes: int) -> tuple[int, int]:
        """A number in its shortest form, and where it ends."""
        data, value, shift = self.model, 0, 0
        for at in range(at, min(end, at + most_bytes)):  # noqa: B020 - the old position is not needed any more
            byte = data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if (byte == 0 and shift) or value >= _VARINT_END:
                    raise NotOnnx("a number that is longer than needed, or than 64 bits")
                return value, at + 1
            shift += 7
        raise NotOnnx("a number without an end, or longer than it may be")


_Change = tuple[int, int, _Parts]
"""Begin and end of some bytes, and those that come instead."""


def _rewrite(data: memoryview, start: int, end: int, changes: list[_Change]) -> _Parts:
    parts: _Parts = []
    for begin, stop, instead in changes:
        if begin > start:
            parts.append(data[start:begin])
        parts += instead
        start = stop
    if end > start:
        parts.append(data[start:end])
    return parts


def _head(key: int, parts: _Parts) -> memoryview:
    """Key and length of a message that is written anew."""
    return memoryview(_to_varint(key) + _to_varint(sum(len(part) for part in parts)))


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _count(elements: int, size: int) -> int:
    """Elements of a tensor with one axis more."""
    if size >= 1 << 63 or (elements := elements * size) > MAX_ELEMENTS:
        raise NotOnnx(f"a tensor of more than {MAX_ELEMENTS} elements, or with a negative size")
    return elements
