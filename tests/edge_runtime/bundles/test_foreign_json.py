"""Texts of others: what is no JSON, too much, too deep or of another shape is a short refusal."""

import pytest
from pydantic import BaseModel

from edge_runtime.bundles.foreign_json import MOST_SHOWN, BadJson, read_json


class Shape(BaseModel):
    parts: dict[str, int]


def test_what_fits_is_read():
    assert read_json(Shape, b'{"parts": {"a": 1}, "other": 2}') == Shape(parts={"a": 1})


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1]", b"null", b'{"parts": 1}', b"[" * 5000, b"{}" + b",{}" * 50_000, b'\xff{"parts": {}}'],
    ids=["nothing", "cut", "list", "null", "another type", "deep", "many values", "no utf-8"],
)
def test_what_does_not_is_refused(text):
    with pytest.raises(BadJson):
        read_json(Shape, text)


def test_a_long_key_of_the_text_does_not_fill_the_refusal():
    with pytest.raises(BadJson) as refused:
        read_json(Shape, b'{"parts": {"' + b"k" * 10_000 + b'": "no number"}}')
    assert len(str(refused.value)) <= 2 * MOST_SHOWN + 2
