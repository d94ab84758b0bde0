"""Text in another encoding than declared is refused as such and gives no numbers."""

import codecs
import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.signals.payload import read_payload
from edge_runtime.inference.signals.text import decode_text
from edge_runtime.inference.specs import PayloadSpec

NAMES = ("振动",)
TEXT = "振动,x\n1.5,2\n"
BYTES = {
    "utf-8": TEXT.encode(),
    "utf-8 with a mark": TEXT.encode("utf-8-sig"),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16-le": TEXT.encode("utf-16-le"),
    "utf-16-be": TEXT.encode("utf-16-be"),
    "utf-16-be with a mark": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "gbk": TEXT.encode("gbk"),
}
TAKEN = {
    "utf-8": {"utf-8", "utf-8 with a mark"},
    "utf-16": {"utf-16", "utf-16-be with a mark"},
    "utf-16-le": {"utf-16", "utf-16-le"},
    "utf-16-be": {"utf-16-be", "utf-16-be with a mark"},
    "gbk": {"gbk"},
    "latin-1": set(),
}


@pytest.mark.parametrize("sent", BYTES)
@pytest.mark.parametrize("declared", TAKEN)
def test_only_the_declared_encoding_is_read(declared, sent):
    payload = PayloadSpec(format="csv", encoding=declared)
    if sent in TAKEN[declared]:
        assert read_payload(BYTES[sent], payload, NAMES).numbers.tolist() == [[1.5]]
    else:
        with pytest.raises(InputFlaw) as caught:
            read_payload(BYTES[sent], payload, NAMES)
        assert caught.value.reason is RejectReason.BAD_ENCODING


@pytest.mark.parametrize("sent", ["utf-16-le", "utf-16-be", "utf-16"])
@pytest.mark.parametrize("declared", ["utf-8", "gbk", "latin-1"])
def test_wide_text_of_ascii_is_no_narrow_text(declared, sent):
    with pytest.raises(InputFlaw) as caught:
        decode_text('{"a": 1}'.encode(sent), declared)
    assert caught.value.reason is RejectReason.BAD_ENCODING


ENCODINGS = ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "gbk", "latin-1"]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(ENCODINGS),
    st.sampled_from(ENCODINGS),
    st.sampled_from(["", codecs.BOM_UTF8.decode("latin-1"), "\ufeff"]),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
    st.text(st.sampled_from("振动°äx\t"), max_size=4),
    st.sampled_from(["json", "csv"]),
)
def test_a_wrong_encoding_never_gives_other_numbers(sent, declared, mark, numbers, more, how):
    if how == "json":
        text = json.dumps({"a": numbers, "note": more}, ensure_ascii=False)
    else:
        text = "note,a\n" + "".join(f"{more},{number!r}\n" for number in numbers)
    with contextlib.suppress(InputFlaw):
        data = (mark + text).encode(sent, "ignore")
        found = read_payload(data, PayloadSpec(format=how, encoding=declared), ["a"])
        assert found.numbers.ravel().tolist() == numbers


def test_latin_1_is_read():
    payload = PayloadSpec(format="json", encoding="latin-1")
    assert read_payload('{"°C": 21.5}'.encode("latin-1"), payload, ["°C"]).numbers.tolist() == [[21.5]]


def test_a_name_that_is_in_no_encoding_is_a_missing_channel():
    with pytest.raises(InputFlaw) as caught:
        read_payload(b"x\n1\n", PayloadSpec(format="csv"), NAMES)
    assert caught.value.reason is RejectReason.MISSING_CHANNEL
