"""Reads the .xml of an OpenVINO IR and writes it anew: OpenVINO has no validator for such files.

Only what an IR is made of is written: elements, attributes, and the text of a ``dim``. All other text goes, comments
too, and so does what names a file of weights; document types and entities are refused. Every constant lies inside the
.bin, and ids, sizes and numbers are bounded. A layer that needs an extension library is refused: none is loaded.

Source: docs.openvino.ai, "Intermediate Representation"; pugixml, which OpenVINO reads with, is lenient.
"""

import re
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

MAX_BYTES = 32 << 20
"""Takes about 3 s; the largest models in use have a few MB."""
MAX_ELEMENTS, MAX_DEPTH = 4_000_000, 64
MAX_LAYERS, MAX_EDGES = 200_000, 1_000_000
MAX_ATTRIBUTES, MAX_NAME_CHARACTERS, MAX_VALUE_CHARACTERS = 64, 256, 1 << 20
MAX_TENSOR_ELEMENTS = 1 << 31
MOST_TENSOR_AXES = 64
VERSIONS = range(7, 100)
"""Of IR files; the engine says which ones it reads."""

_BITS: dict[str, int] = {
    "boolean": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "i4": 4, "i8": 8, "i16": 16, "i32": 32, "i64": 64,
    "u1": 1, "u2": 2, "u4": 4, "u8": 8, "u16": 16, "u32": 32, "u64": 64, "nf4": 4, "f8e4m3": 8, "f8e5m2": 8,
    "f8e8m0": 8, "f4e2m1": 4,
}  # fmt: skip
"""Of an element, by type; of others (``string``, ``u3``) only the place in the .bin is checked."""
_CHECKED = frozenset({"net", "layers", "layer", "data", "edge", "port"})
_MOST_LOOKED_AT = 2 * MAX_ATTRIBUTES
_SPECIAL = re.compile(r"""[&<>"'\t\r\n]""")
_ESCAPES = str.maketrans({one: f"&#{ord(one)};" for one in "&<>\"'\t\r\n"})
_NUMBER = re.compile(r"[0-9]{1,18}")
_KEPT_BYTES = 8 << 20
_LAST: deque[tuple[bytes, int, bytes]] = deque(maxlen=1)
"""A bundle is verified, then opened, and both ask for the same file: the second takes it away. 1.4 MB of XML take
115 ms of processor time."""
_WEIGHTS_ELSEWHERE = ("weights_path", "weightless")
"""Parts of the names of notes that tell OpenVINO where else the weights lie."""


class NotIr(Exception):
    """The bytes are not the .xml of an IR, or one that must not be opened; the text says why."""


def rewrite_ir(xml: bytes, weights_bytes: int) -> bytes:
    """The .xml of an IR as OpenVINO may get it; ``weights_bytes`` is the size of its .bin.

    Raises:
        NotIr: it is not one, or reaches outside its two files or the bounds.
    """
    if len(xml) > MAX_BYTES:
        raise NotIr(f"{len(xml)} bytes of XML; at most {MAX_BYTES}")
    with suppress(IndexError):
        known, known_bytes, written = _LAST.pop()
        if (known, known_bytes) == (xml, weights_bytes):
            return written
    written = _rewrite(xml, weights_bytes)
    if len(xml) <= _KEPT_BYTES:
        _LAST.append((xml, weights_bytes, written))
    return written


def _rewrite(xml: bytes, weights_bytes: int) -> bytes:
    parser = expat.ParserCreate("UTF-8")
    reader = _Reader(parser, weights_bytes)
    parser.buffer_text = parser.ordered_attributes = True
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.StartDoctypeDeclHandler = reader.refuse_declaration
    parser.EntityDeclHandler = reader.refuse_declaration
    try:
        parser.Parse(xml, True)
    except (expat.ExpatError, UnicodeError) as err:
        raise NotIr(f"not XML ({err})") from err
    return b"<?xml version='1.0'?>\n" + "".join(reader.out).encode()


@dataclass(slots=True)
class _Reader:
    """Takes expat's events and writes them down again."""

    parser: expat.XMLParserType
    weights_bytes: int
    out: list[str] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    """Names of the open elements."""
    ids: list[set[str]] = field(default_factory=list)
    """Of the layers, for each network that is open: bodies of loops are networks too."""
    counts: Counter[str] = field(default_factory=Counter)
    elements: int = 0
    layer_types: list[str] = field(default_factory=list)
    """Of the open layers: bodies of loops stand inside of one."""
    is_in_dim: bool = False
    size: str = ""
    """Text of the open dim."""
    port_elements: int = 1
    left_out: int = 0
    """Depth inside an element that is left out."""

    def start(self, name: str, given: list[str]) -> None:
        """Check an element and write it; ``given`` is names and values of its attributes in turn."""
        self.elements += 1
        if self.is_in_dim or self.elements > MAX_ELEMENTS:
            raise NotIr(f"more than {MAX_ELEMENTS} elements, or one inside a dim")
        if name == "dim" and not given and self.path:  # every second element is one: kept short
            self.is_in_dim, self.size = True, ""
            self.parser.CharacterDataHandler = self.text  # elsewhere text means nothing, and only makes lines
            return
        self.path.append(name)
        if len(self.path) > MAX_DEPTH or len(name) > MAX_NAME_CHARACTERS:
            raise NotIr(f"more than {MAX_DEPTH} elements inside each other, or a very long name")
        if self.left_out or (name not in _CHECKED and _names_weights(name, given)):
            self.left_out += 1
            return
        if name in _CHECKED or len(self.path) == 1:
            self._check(name, dict(zip(given[::2], given[1::2], strict=True)))
        self.out.append(f"<{name}{_write(given)}>" if given else f"<{name}>")

    def _check(self, name: str, attributes: dict[str, str]) -> None:
        parent = self.path[-2] if len(self.path) > 1 else ""
        match name:
            case "net":
                self._check_root(attributes)
            case _ if not parent:
                raise NotIr(f"its root is {name!r}, not 'net'")
            case "layers":
                self.ids.append(set())
            case "layer":
                self.layer_types.append(attributes.get("type", ""))
                if parent == "layers":
                    self._check_layer(attributes)
            case "data" if parent == "layer" and self.layer_types[-1] == "Const":
                self._check_constant(attributes)
            case "edge":
                self._count("edge", MAX_EDGES)
            case "port":
                self.port_elements = 1
            case _:
                pass

    def end(self, name: str) -> None:
        """Write the end of an element."""
        if self.is_in_dim:
            self.is_in_dim = False
            self.parser.CharacterDataHandler = None
            if not self.left_out:
                self._count_port(self.size.strip())
                self.out.append(f"<dim>{self.size.strip().translate(_ESCAPES)}</dim>")
            return
        self.path.pop()
        if self.left_out:
            self.left_out -= 1
            return
        if name == "layers":
            self.ids.pop()
        elif name == "layer":
            self.layer_types.pop()
        self.out.append(f"</{name}>\n")

    def text(self, data: str) -> None:
        """Collect the text of a dim."""
        self.size += data[:MAX_NAME_CHARACTERS]

    def refuse_declaration(self, *_: Any) -> None:
        """Entities can name files and grow without bound; no IR has them."""
        raise NotIr("a document type or an entity in it")

    def _check_root(self, attributes: dict[str, str]) -> None:
        if len(self.path) != 1:
            raise NotIr("a net inside another element")
        version = attributes.get("version", "")
        if not _NUMBER.fullmatch(version) or int(version) not in VERSIONS:
            raise NotIr(f"version {version[:20]!r} of the format")

    def _check_layer(self, attributes: dict[str, str]) -> None:
        self._count("layer", MAX_LAYERS)
        known, own = self.ids[-1], attributes.get("id", "")
        if not _NUMBER.fullmatch(own) or own in known:
            raise NotIr(f"layer id {own[:20]!r}, which is no number or there twice")
        known.add(own)
        if attributes.get("version") == "extension":
            raise NotIr(f"layer {self.layer_types[-1][:60]!r} needs an extension library")

    def _check_constant(self, attributes: dict[str, str]) -> None:
        place = [attributes.get(key, "") for key in ("offset", "size")]
        if not all(_NUMBER.fullmatch(text) for text in place):
            raise NotIr("a constant without its place in the weights")
        offset, size = map(int, place)
        if offset + size > self.weights_bytes:
            raise NotIr(f"a constant at bytes {offset} to {offset + size} of {self.weights_bytes} of weights")
        elements = _elements_of(attributes.get("shape", ""))
        bits = _BITS.get(attributes.get("element_type", ""))
        if bits is not None and elements and (elements * bits + 7) // 8 != size:
            kind, shape = attributes["element_type"], attributes.get("shape", "")[:60]
            raise NotIr(f"a constant {kind} of shape [{shape}] in {size} bytes")

    def _count(self, what: str, most: int) -> None:
        self.counts[what] += 1
        if self.counts[what] > most:
            raise NotIr(f"more than {most} of {what}")

    def _count_port(self, size: str) -> None:
        if _NUMBER.fullmatch(size):  # -1, ? and ranges stay open
            self.port_elements *= int(size)
        if self.port_elements > MAX_TENSOR_ELEMENTS:
            raise NotIr(f"a tensor of more than {MAX_TENSOR_ELEMENTS} elements")


def _elements_of(shape: str) -> int:
    parts = shape.split(",", MOST_TENSOR_AXES) if shape.strip() else []
    if len(parts) > MOST_TENSOR_AXES or not all(_NUMBER.fullmatch(part.strip()) for part in parts):
        raise NotIr(f"a constant of shape [{shape[:60]}]")
    elements = 1
    for part in parts:
        elements *= int(part)
    if elements > MAX_TENSOR_ELEMENTS:
        raise NotIr(f"a constant of more than {MAX_TENSOR_ELEMENTS} elements")
    return elements


def _names_weights(name: str, given: list[str]) -> bool:
    """Whether an element is a note that tells where else weights lie."""
    if name in ("attribute", "info"):
        name = " ".join(given[:_MOST_LOOKED_AT])
    return "weight" in name.lower() and any(part in name.lower() for part in _WEIGHTS_ELSEWHERE)


def _write(given: list[str]) -> str:
    if len(given) > 2 * MAX_ATTRIBUTES:
        raise NotIr(f"an element of more than {MAX_ATTRIBUTES} attributes")
    if max(map(len, given)) > MAX_VALUE_CHARACTERS or max(map(len, given[::2])) > MAX_NAME_CHARACTERS:
        raise NotIr(f"an attribute with a very long name, or of more than {MAX_VALUE_CHARACTERS} characters")
    pairs = zip(given[::2], given[1::2], strict=True)
    if _SPECIAL.search("".join(given)) is None:
        return "".join([f' {key}="{value}"' for key, value in pairs])
    return "".join([f' {key}="{value.translate(_ESCAPES)}"' for key, value in pairs])
