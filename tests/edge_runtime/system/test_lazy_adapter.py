"""An adapter that is made at its first use."""

from dataclasses import dataclass

import pytest
from pydantic import TypeAdapter, ValidationError

from edge_runtime.system.lazy_adapter import LazyAdapter


@dataclass(frozen=True)
class Point:
    x: int


def test_it_reads_the_type_and_is_made_once() -> None:
    points: LazyAdapter[list[Point]] = LazyAdapter(list[Point])
    assert points.adapter.validate_json(b'[{"x": 1}]') == [Point(1)]
    assert points.adapter is points.adapter
    with pytest.raises(ValidationError):
        points.adapter.validate_json(b'[{"x": "one"}]')


def test_nothing_is_built_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[object] = []

    def note(form: object) -> TypeAdapter[Point]:
        built.append(form)
        return TypeAdapter(Point)

    monkeypatch.setattr("edge_runtime.system.lazy_adapter.TypeAdapter", note)
    lazy: LazyAdapter[Point] = LazyAdapter(Point)
    assert built == []
    assert lazy.adapter.validate_python({"x": 2}) == Point(2)
    assert built == [Point]
