"""The redactor reaches every text in a value, whatever holds it."""

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from edge_runtime.system.redaction import HIDDEN, Redactor

SECRET = 'hunter2&"<x>'
SHORT = "abc"


class Point(NamedTuple):
    name: str
    at: int = 3


@dataclass(frozen=True)
class Fact:
    names: frozenset[str] = frozenset()
    inner: Any = None
    count: int = field(default=1)


class Word(StrEnum):
    SAME = SECRET


class Handle:
    def __repr__(self) -> str:
        return f"<Handle {SECRET}>"


@pytest.fixture
def redactor() -> Redactor:
    return Redactor([SECRET, SHORT])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({SECRET: 1}, {HIDDEN: 1}),
        ({f"topic/{SECRET}": {f"a {SECRET}": SECRET}}, {f"topic/{HIDDEN}": {f"a {HIDDEN}": HIDDEN}}),
        ({f"rtsp://me:{SECRET}@cam/1": 1}, {"rtsp://***@cam/1": 1}),
        ({("a", SECRET): 1}, {("a", HIDDEN): 1}),
        ({SECRET: 1, HIDDEN: 2}, {HIDDEN: 1, f"{HIDDEN} 2": 2}),
        ({1: SECRET, None: 2}, {1: HIDDEN, None: 2}),
        (OrderedDict({SECRET: 1}), {HIDDEN: 1}),
        (MappingProxyType({SECRET: SECRET}), {HIDDEN: HIDDEN}),
        ({SECRET, "b"}, {HIDDEN, "b"}),
        (frozenset({SECRET}), frozenset({HIDDEN})),
        (deque([SECRET, 1]), [HIDDEN, 1]),
        ({"a": 1}.keys() | {SECRET}, {"a", HIDDEN}),
        (SECRET.encode(), HIDDEN.encode()),
        (bytearray(f"a {SECRET}\xff", "latin-1"), f"a {HIDDEN}\xff".encode("latin-1")),
        (memoryview(SECRET.encode()), HIDDEN.encode()),
        (Point(SECRET), Point(HIDDEN)),
        ([Point(f"a {SECRET}", 4)], [Point(f"a {HIDDEN}", 4)]),
        (OSError(5, "not read", f"/x/{SECRET}"), f"[Errno 5] not read: '/x/{HIDDEN}'"),
        (ValueError(f"a {SECRET}"), f"a {HIDDEN}"),
        (KeyError(SECRET), f"'{HIDDEN}'"),
        (Path(f"/x/{SECRET}"), f"/x/{HIDDEN}"),
        (Handle(), f"<Handle {HIDDEN}>"),
        (Fact(frozenset({SECRET}), Point(SECRET)), Fact(frozenset({HIDDEN}), Point(HIDDEN))),
        (np.array([SECRET]), f"['{HIDDEN}']"),
        (np.str_(SECRET), HIDDEN),
    ],
)
def test_no_text_is_left_out(redactor: Redactor, value: object, shown: object) -> None:
    found = redactor.value(value)
    assert (found, SECRET in repr(found)) == (shown, False)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, 1.5, 2j, "ok", SHORT, {SHORT: SHORT}, b"\x89PNG\r\n\x1a\n\xff", Point("a"), Fact(), {1}, {"a"},
        ValueError("a"), Path("/x"), datetime(2026, 1, 1, tzinfo=UTC), Word.SAME, np.float32(1.5),
    ],
)  # fmt: skip
def test_the_rest_stays(redactor: Redactor, value: object) -> None:
    found = redactor.value(value)
    assert type(found) is type(value)
    assert found == value


def test_arrays_of_numbers_are_not_turned_into_text(redactor: Redactor) -> None:
    array = np.zeros(3)
    assert redactor.value([array])[0] is array


@pytest.mark.parametrize(
    "form", ["hunter2&amp;&#34;&lt;x&gt;", "hunter2&amp;&quot;&lt;x&gt;", "hunter2%26%22%3Cx%3E"]
)
def test_a_secret_in_a_page_is_hidden(redactor: Redactor, form: str) -> None:
    assert redactor.text(f"<p title='{form}'>") == f"<p title='{HIDDEN}'>"


def test_the_texts_of_our_pages_stay(redactor: Redactor) -> None:
    for package, name in (
        ("calibration.report", "page.html.jinja"),
        ("edge_runtime.http", "page/index.html"),
    ):
        text = files(package).joinpath(name).read_text(encoding="utf-8")
        assert redactor.text(text) == text


def test_threads_that_learn_at_once_lose_nothing() -> None:
    redactor = Redactor()
    start = threading.Barrier(8)

    def learn(number: int) -> None:
        start.wait()
        for count in range(20):
            redactor.learn([f"secret-{number}-{count}."])

    threads = [threading.Thread(target=learn, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    texts = [f"secret-{number}-{count}." for number in range(8) for count in range(20)]
    assert redactor.text("".join(texts)) == HIDDEN * len(texts)
