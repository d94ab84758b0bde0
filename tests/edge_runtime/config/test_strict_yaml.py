import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.config.strict_yaml import MAX_BYTES, MAX_VALUES, load
from edge_runtime.errors import ConfigError


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, "x.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_gives_data_and_lines() -> None:
    document = load("a: 1\nb:\n  c: [x, {d.e: yes}]\n  f: 0.5\n", "x.yaml")
    assert document.data == {"a": 1, "b": {"c": ["x", {"d.e": True}], "f": 0.5}}
    assert document.nearest_line(("b",)) == 2
    assert document.nearest_line(("b", "c", 0)) == 3
    assert document.nearest_line(("b", "c", 1, "d.e")) == 3
    assert document.nearest_line(("b", "missing", "deeper")) == 2
    assert document.nearest_line(("missing",)) is None


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_empty_text_is_none(text: str) -> None:
    assert load(text, "x.yaml").data is None


def test_reports_every_duplicate_with_both_lines() -> None:
    found = problems("a: 1\nb: 2\na: 3\nc: {d: 1, d: 2}\n")
    assert len(found) == 2
    assert found[0].startswith("line 3: a: key 'a' a second time (first on line 1)")
    assert "c.d" in found[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1]\nb: 2\n", "anchor &x"),
        ("a: *x\n", "alias *x"),
        ("a: !!python/object/apply:os.system [ls]\n", "tag"),
        ("a: !!binary aGk=\n", "tag"),
        ("<<: {a: 1}\n", "merge"),
        ("1: a\n", "quote it"),
        ("on: a\n", "quote it"),
        ("? [a]\n: b\n", "a list or mapping"),
        ("a: 2020-01-01\n", "date"),
        ("a: 2020-99-99\n", "cannot be read"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("a: [1\n", "not YAML"),
        ("a: \x00\n", "not YAML"),
        ("[" * 100, "nested too deeply"),
        ("a: " + "9" * 5000 + "\n", "5000 characters"),
        ("a: " + "x" * MAX_BYTES, "at most"),
        ("a: [" + "1," * (MAX_VALUES + 1) + "]\n", str(MAX_VALUES)),
        ("a: [" + "{}," * (MAX_VALUES + 1) + "]\n", str(MAX_VALUES)),
    ],
)
def test_refuses(text: str, words: str) -> None:
    assert words in "\n".join(problems(text))


def test_names_the_line_of_a_byte_that_is_not_utf8() -> None:
    assert problems(b"a: 1\nb: \xff\n")[0].startswith("line 2: byte 0xff")


def test_alias_bomb_costs_nothing() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a, *a]\n" for i in range(2000))
    assert len(problems(bomb)) <= 60


@pytest.mark.parametrize(
    "number",
    [
        "0x" + "f" * 4000, "0" + "7" * 4000, "0b" + "1" * 4000, "9" * 4000, "-" + "9" * 4000, "1" + ":1" * 50_000,
        "1" + ":1" * 50_000 + ".5", "9" * 4000 + ".0", "1_" * 60 + "1", "0x8000000000000000", "9223372036854775808",
        "-9223372036854775808", "9999999999999999:59:59", "+0x" + "f" * 17,
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["a: {}\n", "a: [{}]\n", "a: {{b: {}}}\n"])
def test_numbers_of_many_digits_are_refused_in_any_base(number: str, form: str) -> None:
    (words,) = problems(form.format(number))
    assert words.startswith("line 1: a")
    assert len(words) < 400


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x7fffffffffffffff", 2**63 - 1),
        ("1:30", 90),
        ("1e400", "1e400"),
        ("1_000", 1000),
        ("0777", 511),
        ("-5", -5),
    ],
)
def test_other_numbers_are_read_as_before(text: str, value: object) -> None:
    assert load(f"a: {text}\n", "x.yaml").data == {"a": value}


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(alphabet="a:{}[]-&*!?'\"\n 1<%|>#,@", max_size=80)))
def test_any_input_gives_data_or_config_error(text: str | bytes) -> None:
    with contextlib.suppress(ConfigError):  # anything else fails the test
        load(text, "x.yaml")
