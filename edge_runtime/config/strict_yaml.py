"""Reads YAML from untrusted sources: plain data, plus the line of every key.

PyYAML's safe loader still takes duplicate keys silently (the last one wins), expands alias bombs, and recurses as
deep as the text asks. Here all of that is refused, every problem at once. No schema lives here: the configuration
and the bundle manifest check their own.

Not ruamel.yaml, which ``edit`` needs for comments: it costs a start 7 ms of CPU more, takes 2.4 s for 24,000 keys
instead of 0.23 s, and would save no line here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from edge_runtime.errors import ConfigError, Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_PROBLEMS = 50
"""More than a person reads; a generated file may have 24,000, which would take seconds to put into words."""

MAX_VALUES = 50_000
"""Keys and values of one text. 256 KiB could hold 130,000, of which each can be a mistake of some kilobytes."""

MAX_NUMBER_CHARACTERS = 100
"""Of a whole number or fraction as it is written, in any base; Python takes seconds for some of 100,000."""
MAX_INTEGER = 2**63 - 1

_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_NUMBERS = f"a number of at most {MAX_NUMBER_CHARACTERS} characters, between -{MAX_INTEGER} and {MAX_INTEGER}"
_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The data of one YAML text, and the line of each part."""

    source: str
    """Where the text comes from, for messages."""
    data: Any
    """dict, list, str, int, float, bool or None; keys are always str."""
    lines: dict[_Path, int] = field(repr=False)

    def nearest_line(self, path: Sequence[str | int]) -> int | None:
        """1-based line of a key or list item, or of the closest parent that the text has; None for the whole file."""
        parts = tuple(map(str, path))
        while parts and parts not in self.lines:
            parts = parts[:-1]
        return self.lines.get(parts) if parts else None


def load(text: str | bytes, source: str) -> Document:
    """Parse one YAML document.

    Args:
        text: At most 256 KiB, UTF-8 when bytes. An empty text gives ``None`` as data.
        source: Name for messages, usually the file's path.

    Returns:
        Data and line numbers.

    Raises:
        ConfigError: not YAML, too large, too many values, nested deeper than 32, more than one document; or it holds
            duplicate keys, anchors, aliases, tags, merge keys, keys that are not text, or dates. Lists every problem.
    """
    decoded = _decode(text, source)
    problems = _structure_problems(decoded, source)
    if problems:
        raise ConfigError(source, tuple(problems))
    loader = yaml.CSafeLoader(decoded)
    try:
        node = loader.get_single_node()
        builder = _Builder(loader, [], {})
        data = builder.build(node, ()) if node is not None else None
    finally:
        loader.dispose()
    if builder.problems:
        raise ConfigError(source, tuple(builder.problems[:MAX_PROBLEMS]))
    return Document(source, data, builder.lines)


def is_plain_text(value: str) -> bool:
    """Whether YAML reads it as text when it stands there without quotes, as far as its form is one of text."""
    try:
        node = yaml.compose(value, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return True  # whatever writes it puts such a text in quotes by itself
    return not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:str"


def _decode(text: str | bytes, source: str) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise ConfigError(source, (Problem("", None, f"{size} bytes", f"at most {MAX_BYTES} bytes"),))
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = text.count(b"\n", 0, err.start) + 1
        found = f"byte 0x{text[err.start]:02x} that is not UTF-8"
        raise ConfigError(source, (Problem("", line, found, "UTF-8 text"),)) from err


def _structure_problems(text: str, source: str) -> list[Problem]:
    """Walk the event stream, which costs no recursion and builds nothing, before any tree is made."""
    problems: list[Problem] = []
    depth = documents = values = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            line = _line(event)
            values += isinstance(event, yaml.NodeEvent)
            if values > MAX_VALUES:
                few = f"at most {MAX_VALUES}"
                return [*problems, Problem("", line, f"more than {MAX_VALUES} keys and values", few)]
            if isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    return [*problems, Problem("", line, "nested too deeply", f"at most {MAX_DEPTH} levels")]
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    problems.append(Problem("", line, "a second document", "one document, no second '---'"))
                    return problems
            problems.extend(_event_problems(event, line))
            if len(problems) >= MAX_PROBLEMS:
                break
    except yaml.YAMLError as err:
        raise ConfigError(source, (*problems, _syntax_problem(err))) from err
    return problems


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _event_problems(event: yaml.Event, line: int) -> list[Problem]:
    if isinstance(event, yaml.AliasEvent):
        return [Problem("", line, f"alias *{event.anchor}", "the value itself; aliases are not taken")]
    found = []
    if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
        found.append(Problem("", line, f"anchor &{event.anchor}", "no anchor; aliases are not taken"))
    tag = getattr(event, "tag", None)
    if tag is not None and isinstance(event, yaml.NodeEvent) and tag != "!":
        found.append(Problem("", line, f"tag {tag}", "a plain value without a tag"))
    return found


def _syntax_problem(err: yaml.YAMLError) -> Problem:
    mark = getattr(err, "problem_mark", None)
    words = getattr(err, "problem", None) or getattr(err, "reason", None) or str(err)
    return Problem("", mark.line + 1 if mark is not None else None, f"not YAML: {words}", "valid YAML")


@dataclass(slots=True)
class _Builder:
    """Turns nodes into data; depth is bounded because the event walk came first."""

    loader: yaml.CSafeLoader
    problems: list[Problem]
    lines: dict[_Path, int]

    def build(self, node: yaml.Node, path: _Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, str(i))) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: _Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self._key(key_node, path, line)
            if key is None:
                continue
            here = (*path, key)
            if key in data:
                first = self.lines[here]
                self._refuse(
                    here, line, f"key {key!r} a second time (first on line {first})", "each key once"
                )
                continue
            self.lines[here] = line
            data[key] = self.build(value_node, here)
        return data

    def _key(self, node: yaml.Node, path: _Path, line: int) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str":
            return str(node.value)
        shown = repr(node.value[:60]) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        if node.tag == "tag:yaml.org,2002:merge":
            self._refuse(path, line, "a merge key <<", "the keys written out")
        else:
            self._refuse(path, line, f"key {shown} that YAML does not read as text", "a text key; quote it")
        return None

    def _scalar(self, node: yaml.Node, path: _Path) -> Any:
        line = node.start_mark.line + 1
        shown = repr(node.value[:60])
        if node.tag in _NUMBER_TAGS and len(node.value) > MAX_NUMBER_CHARACTERS:
            self._refuse(path, line, f"a number of {len(node.value)} characters", _NUMBERS)
            return None
        try:
            value = self.loader.construct_object(node)
        except (ValueError, OverflowError, yaml.YAMLError):
            self._refuse(path, line, f"{shown}, which cannot be read", "a number or text; quote text")
            return None
        if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
            self._refuse(path, line, shown, _NUMBERS)
            return None
        if value is None or isinstance(value, str | int | float):  # bool is an int
            return value
        self._refuse(path, line, f"{shown}, which YAML reads as {type(value).__name__}", "text; quote it")
        return None

    def _refuse(self, path: _Path, line: int, found: str, expected: str) -> None:
        self.problems.append(Problem(".".join(path), line, found, expected))
