"""Samples come out of every format as they went in, and everything else is refused with its reason."""

import contextlib
import io
import json
import struct

import cbor2
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.npy import write_npy
from edge_runtime.inference.signals.payload import read_payload
from edge_runtime.inference.specs import PayloadSpec
from tests.support.sensor_payloads import FORMS, write_payload

NAMES = ("ax", "ay")
NAN = float("nan")
AT_S = 1_780_000_000.25
STRUCTURES = ("json", "cbor", "msgpack")
WRITERS = {"json": lambda value: json.dumps(value).encode(), "cbor": cbor2.dumps, "msgpack": msgpack.packb}


def read(data, names=NAMES, rate_hz=1.0, **payload):
    return read_payload(data, PayloadSpec(**payload), names, rate_hz)


def reason(data, names=NAMES, **payload):
    with pytest.raises(InputFlaw) as caught:
        read(data, names, **payload)
    return caught.value.reason


def packed(value, how):
    return WRITERS[how](value)


@pytest.fixture(params=STRUCTURES)
def how(request):
    return request.param


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", ["", "data.1.samples"])
def test_every_form_of_a_structure_is_read(how, form, path):
    window = np.array([[1, 2.5]] if form == "record" else [[1, 2.5], [NAN, -4], [1e-3, 6]])
    payload = PayloadSpec(format=how, path=path)
    found = read_payload(write_payload(window, payload, NAMES, form=form), payload, NAMES)
    np.testing.assert_array_equal(found.numbers, window)
    assert (found.numbers.dtype, found.times_wall_s) == (np.float64, None)


def test_other_fields_are_left_out_and_the_channels_have_the_order_of_the_model(how):
    data = packed({"ay": [3, 4], "id": "pump", "ok": True, "more": {"x": [1]}, "ax": [1, 2]}, how)
    np.testing.assert_array_equal(read(data, format=how).numbers, [[1, 3], [2, 4]])


def test_a_channel_that_some_records_lack_is_missing_there(how):
    data = packed(
        [{"ax": 1, "ay": 2}, {"ax": 3}, {"ax": None, "ay": ""}, {"ay": "NaN", "ax": " -12.5e1"}], how
    )
    np.testing.assert_array_equal(read(data, format=how).numbers, [[1, 2], [3, NAN], [NAN, NAN], [-125, NAN]])


def test_one_channel_may_be_a_plain_list(how):
    data = packed({"values": [1, None, 3]}, how)
    np.testing.assert_array_equal(read(data, ("a",), format=how, path="values").numbers, [[1], [NAN], [3]])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"ax": 1}, {"ax": 2}], RejectReason.MISSING_CHANNEL),
        ({"ax": [1, 2]}, RejectReason.MISSING_CHANNEL),
        ({"ax": [1, 2], "ay": [1]}, RejectReason.BAD_SHAPE),
        ({"ax": [1, 2], "ay": 1}, RejectReason.BAD_SHAPE),
        ([[1, 2], [3]], RejectReason.BAD_SHAPE),
        ([1, 2], RejectReason.BAD_SHAPE),
        ([{"ax": 1, "ay": 2}, [1, 2]], RejectReason.BAD_SHAPE),
        (7, RejectReason.BAD_SHAPE),
        ("text", RejectReason.BAD_SHAPE),
        ([], RejectReason.EMPTY),
        ({"ax": [], "ay": []}, RejectReason.EMPTY),
        ({"ax": 1, "ay": True}, RejectReason.BAD_DTYPE),
        ({"ax": [1], "ay": [{}]}, RejectReason.BAD_DTYPE),
        ({"ax": [1], "ay": [[1]]}, RejectReason.BAD_DTYPE),
        ({"ax": 1, "ay": "1_0"}, RejectReason.BAD_DTYPE),
        ({"ax": 1, "ay": "12,5"}, RejectReason.BAD_DTYPE),
        ({"ax": 1, "ay": "inf"}, RejectReason.BAD_DTYPE),
        ({"ax": 1, "ay": "\u0661"}, RejectReason.BAD_DTYPE),
    ],
    ids=str,
)
def test_another_form_or_value_is_refused(how, value, expected):
    assert reason(packed(value, how), format=how) is expected


def test_a_path_to_nothing_is_a_missing_channel(how):
    data = packed({"data": [{"ax": 1, "ay": 2}]}, how)
    assert read(data, format=how, path="data.0").numbers.tolist() == [[1, 2]]
    for path in ("data.1", "other", "data.-1", "data.x", "data.0.ax.0", "."):
        assert reason(data, format=how, path=path) is RejectReason.MISSING_CHANNEL


def test_infinity_is_refused_and_nan_is_missing(how):
    assert reason(packed({"ax": float("inf"), "ay": 1}, how), format=how) is RejectReason.NON_FINITE
    np.testing.assert_array_equal(read(packed({"ax": NAN, "ay": 1}, how), format=how).numbers, [[NAN, 1]])


@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_huge_whole_numbers_of_json_are_numbers_or_refused(digits):
    data = b'{"ax": 1%s, "ay": 2}' % (b"0" * digits)
    if digits == 20:
        assert read(data).numbers.tolist() == [[1e20, 2]]
    else:
        assert reason(data) is RejectReason.NON_FINITE


@pytest.mark.parametrize(
    "data",
    [
        b'{"ax": 1, "ay": 2, "ax": 3}',
        b'[{"ax": 1, "ay": 2}, {"ax": 1, "ay": 2, "ax": NaN}]',
        b'{"ax" : 1, "ay" : 2, "more": {"x": 1}, "ay" : 3}',
        cbor2.dumps({"a": 1}).replace(b"\xa1", b"\xa2") + cbor2.dumps("a") + b"\x02",
        b"\x82\xa1a\x01\xa1a\x02",
    ],
    ids=["json", "json with NaN", "json with spaces", "cbor", "msgpack"],
)
def test_a_field_that_comes_twice_is_refused(data):
    how = "json" if data[:1] in b"{[" else "cbor" if data[:1] == b"\xa2" else "msgpack"
    assert reason(data, format=how) is RejectReason.UNREADABLE


def test_a_name_that_is_also_a_value_is_no_field_that_comes_twice():
    assert read(b'{"channels": ["ax", "ay"], "ax": 1, "ay": 2}').numbers.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("how", "data"),
    [
        ("json", b"[" * 100_000),
        ("json", b'{"ax":' * 100_000),
        ("json", b'{"ax": [1, 2'),
        ("json", b'{"ax": 1, "ay": 2} {"ax": 1, "ay": 2}'),
        ("json", b"ax=1"),
        ("cbor", b"\x81" * 100_000),
        ("cbor", b"\x9f" * 100_000),
        ("cbor", b"\xc6" * 100_000),
        ("cbor", bytes.fromhex("9b0fffffffffffffff")),
        ("cbor", bytes.fromhex("7b0fffffffffffffff")),
        ("cbor", bytes.fromhex("9a03ffffff") * 30 + b"\0" * 10),
        ("cbor", bytes.fromhex("d81c81d81d00")),
        ("cbor", bytes.fromhex("c5821b00000000ffffffff03")),
        ("cbor", bytes.fromhex("d82368282b2b61292b2b")),
        ("cbor", bytes.fromhex("c249" + "01" * 9)),
        ("cbor", bytes.fromhex("a1810101")),
        ("cbor", b"\xd8\x55\x43abc"),
        ("cbor", b"\xa1\x61"),
        ("msgpack", b"\x91" * 100_000),
        ("msgpack", b"\xdd\x00\x0f\x42\x00" * 500 + b"\0" * 1_000_000),
        ("msgpack", b"\xdd\x7f\xff\xff\xff"),
        ("msgpack", b"\xdb\x7f\xff\xff\xff"),
        ("msgpack", b"\xd4\x01\x00"),
        ("msgpack", b"\x81\x01\x00"),
        ("msgpack", b"\x01\x02"),
        ("msgpack", b"\xc1"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:8].hex(),
)
def test_hostile_structures_are_refused(how, data):
    assert reason(data, format=how) in (
        RejectReason.UNREADABLE,
        RejectReason.TRUNCATED,
        RejectReason.UNSUPPORTED,
        RejectReason.BAD_SHAPE,
    )


def test_structures_are_bounded_in_size(how):
    assert reason(b" " * (2 * 1024 * 1024 + 1), format=how) is RejectReason.TOO_LARGE


def test_empty_records_make_no_more_values_than_a_payload_has_bytes(how):
    names = [f"c{i}" for i in range(512)]
    data = packed([{}] * 10_000 + [dict.fromkeys(names)], how)
    assert reason(data, names, format=how) is RejectReason.TOO_LARGE


@pytest.mark.parametrize("how", ["csv", "raw", "npy"])
def test_short_values_are_bounded_in_number(how, monkeypatch):
    monkeypatch.setattr("edge_runtime.inference.signals.readings.MAX_WINDOW_VALUES", 1000)
    payload = PayloadSpec(format=how, type="int8")
    for samples, is_taken in ((500, True), (501, False)):
        data = write_payload(np.ones((samples, 2)), payload, NAMES)
        if is_taken:
            assert len(read_payload(data, payload, NAMES)) == samples
        else:
            assert reason(data, format=how, type="int8") is RejectReason.TOO_LARGE


def test_text_of_structures_that_is_not_utf8_is_a_bad_encoding():
    assert reason(b"\xa1\x61\xff\x01", format="cbor") is RejectReason.BAD_ENCODING
    assert reason(b"\x81\xa1\xff\x01", format="msgpack") is RejectReason.BAD_ENCODING


@pytest.mark.parametrize("how", ["cbor", "msgpack"])
def test_binary_values_are_raw_numbers_of_the_declared_type(how):
    data = packed({"ax": struct.pack("<3h", 1, -2, 3), "ay": struct.pack("<3h", 4, 5, 6)}, how)
    assert read(data, format=how, type="int16").numbers.tolist() == [[1, 4], [-2, 5], [3, 6]]
    assert reason(data, format=how, type="float32") is RejectReason.BAD_SHAPE
    whole = packed({"samples": struct.pack("<4f", 1, 2, 3, 4)}, how)
    assert read(whole, format=how, path="samples").numbers.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("tag", "code"), [(85, "<2f"), (86, "<2d"), (81, ">2f"), (77, "<2h"), (73, ">2h"), (64, "2B")]
)
def test_typed_arrays_of_cbor_say_their_type(tag, code):
    arrays = {name: cbor2.CBORTag(tag, struct.pack(code, 1, 2)) for name in NAMES}
    assert read(cbor2.dumps(arrays), format="cbor").numbers.tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize("form", ["columns", "records", "rows"])
@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_times_of_every_unit_are_unix_seconds(how, form, unit, factor):
    payload = PayloadSpec(format=how, time="t", time_unit=unit)
    data = write_payload(np.ones((2, 2)), payload, NAMES, [AT_S * factor, (AT_S + 1) * factor], form)
    np.testing.assert_allclose(
        read_payload(data, payload, NAMES).times_wall_s, [AT_S, AT_S + 1], rtol=0, atol=1e-6
    )


def test_one_time_of_several_samples_is_that_of_the_last(how):
    data = packed({"t": AT_S, "ax": [1, 2, 3], "ay": [1, 2, 3]}, how)
    found = read(data, format=how, time="t", rate_hz=4.0)
    assert found.times_wall_s.tolist() == [AT_S - 0.5, AT_S - 0.25, AT_S]


@pytest.mark.parametrize(
    ("text", "at_s"),
    [
        ("2026-07-01T08:30:00Z", 1782894600.0),
        ("2026-07-01t10:30:00.5+02:00", 1782894600.5),
        ("2026-07-01 08:30:00.123456789Z", 1782894600.123456),
    ],
)
def test_dates_are_read_with_their_time_zone(how, text, at_s):
    data = packed({"t": text, "ax": 1, "ay": 2}, how)
    assert read(data, format=how, time="t", time_unit="rfc3339").times_wall_s.tolist() == [at_s]


@pytest.mark.parametrize(
    ("time", "unit"),
    [
        (None, "s"), (NAN, "s"), (float("inf"), "s"), (True, "s"), ("soon", "s"), ([], "s"), (12.5, "s"),
        (AT_S, "ms"), (AT_S * 1e3, "s"), (-1, "s"), ("2026-07-01T08:30:00", "rfc3339"), (AT_S, "rfc3339"),
        ("0001-01-01T00:00:00+23:00", "rfc3339"), ("1970-01-01T00:00:00Z", "rfc3339"), ("", "rfc3339"),
    ],
    ids=str,
)  # fmt: skip
def test_a_time_that_no_clock_shows_is_refused(how, time, unit):
    data = packed({"t": time, "ax": 1, "ay": 2}, how)
    expected = RejectReason.BAD_SHAPE if time == [] else RejectReason.BAD_TIME
    assert reason(data, format=how, time="t", time_unit=unit) is expected
    assert reason(packed({"ax": 1, "ay": 2}, how), format=how, time="t") is RejectReason.BAD_TIME


def test_as_many_times_as_samples_are_needed(how):
    data = packed({"t": [AT_S, AT_S], "ax": [1, 2, 3], "ay": [1, 2, 3]}, how)
    assert reason(data, format=how, time="t") is RejectReason.BAD_SHAPE


CSV = {"format": "csv"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_csv_are_samples(end):
    text = end.join(["# a pump", "id,ay , ax", "", '7,"2",1', "8,,NaN", " 9 , 4 , 3.5e0 ", ""])
    np.testing.assert_array_equal(read(text.encode(), **CSV).numbers, [[1, 2], [NAN, NAN], [3.5, 4]])


def test_csv_without_header_has_the_channels_in_their_order():
    assert read(b"1,2\n3,4", has_header=False, **CSV).numbers.tolist() == [[1, 2], [3, 4]]
    found = read(b"1780000000,25;1,5;-2\n", has_header=False, time="t", delimiter=";", decimal=",", **CSV)
    assert (found.numbers.tolist(), found.times_wall_s.tolist()) == ([[1.5, -2]], [AT_S])


def test_times_of_csv_may_be_dates():
    text = b"t,ax,ay\n2026-07-01T08:30:00Z,1,2\n2026-07-01T08:30:01Z,,\n"
    found = read(text, time="t", time_unit="rfc3339", **CSV)
    assert found.times_wall_s.tolist() == [1782894600, 1782894601]


@pytest.mark.parametrize(
    ("text", "payload", "expected"),
    [
        ("ax,ay\n1,2\n3\n", {}, RejectReason.BAD_SHAPE),
        ("ax,ay\n1,2,3\n", {}, RejectReason.BAD_SHAPE),
        ("1,2,3\n", {"has_header": False}, RejectReason.BAD_SHAPE),
        ("ax,az\n1,2\n", {}, RejectReason.MISSING_CHANNEL),
        ("ax;ay\n1;2\n", {}, RejectReason.MISSING_CHANNEL),
        ("1,2\n3,4\n", {}, RejectReason.MISSING_CHANNEL),
        ("ax,ay\n1,2\n", {"time": "t"}, RejectReason.MISSING_CHANNEL),
        ("t,ax,ay\n,1,2\n", {"time": "t"}, RejectReason.BAD_TIME),
        ("ax,ay,ax\n1,2,3\n", {}, RejectReason.UNREADABLE),
        ('ax,ay\n1,"2\n', {}, RejectReason.UNREADABLE),
        ("ax,ay\n", {}, RejectReason.EMPTY),
        ("\n\n", {"has_header": False}, RejectReason.EMPTY),
        ("ax,ay\n1,x\n", {}, RejectReason.BAD_DTYPE),
        ("ax,ay\n1,1_0\n", {}, RejectReason.BAD_DTYPE),
        ("ax,ay\n1,0x10\n", {}, RejectReason.BAD_DTYPE),
        ("ax;ay\n1;2,5\n", {"delimiter": ";"}, RejectReason.BAD_DTYPE),
        ("ax;ay\n1;2.5\n", {"delimiter": ";", "decimal": ","}, RejectReason.BAD_DTYPE),
        ("ax;ay\n1;1.234,5\n", {"delimiter": ";", "decimal": ","}, RejectReason.BAD_DTYPE),
        ("ax,ay\n1,\u0661\n", {}, RejectReason.BAD_DTYPE),
        ("ax,ay\n1,inf\n", {}, RejectReason.BAD_DTYPE),
        ("ax,ay\n1,1e999\n", {}, RejectReason.NON_FINITE),
        ("ax,ay\n1," + "2" * 70_000, {}, RejectReason.TOO_LARGE),
    ],
)  # fmt: skip
def test_csv_that_is_not_as_declared_is_refused(text, payload, expected):
    assert reason(text.encode(), **CSV, **payload) is expected


def test_long_csv_is_read_to_its_end():
    window = np.arange(3000.0).reshape(1000, 3)
    payload = PayloadSpec(format="csv")
    data = write_payload(window, payload, ("a", "b", "c"))
    np.testing.assert_array_equal(read_payload(data, payload, ("c", "a")).numbers, window[:, [2, 0]])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["json", "cbor", "msgpack", "csv", "npy", "raw"]),
    st.lists(st.tuples(*[st.floats(allow_infinity=False)] * 2), min_size=1, max_size=12),
    st.sampled_from(["columns", "records", "rows"]),
    st.sampled_from(["utf-8", "utf-16", "gbk"]),
    st.sampled_from([("ax", "ay"), ("振动", "电流"), ("a.x", 'quoted "y"')]),
)
def test_samples_come_out_as_they_went_in(how, rows, form, encoding, names):
    window = np.array(rows)
    payload = PayloadSpec(
        format=how, encoding=encoding, type="float64", time="t" if how in STRUCTURES else None
    )
    times = (AT_S + np.arange(len(window))).tolist()
    found = read_payload(write_payload(window, payload, names, times, form), payload, names)
    np.testing.assert_array_equal(found.numbers, window)
    assert found.times_wall_s is None or found.times_wall_s.tolist() == times


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["json", "cbor", "msgpack", "csv", "npy", "raw"]),
    st.sampled_from(["columns", "records", "rows"]),
    st.sampled_from(["utf-8", "utf-16", "gbk", "latin-1"]),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 6)), max_size=4),
    st.booleans(),
)
def test_a_damaged_payload_is_read_or_refused(how, form, encoding, edits, has_time):
    payload = PayloadSpec(format=how, encoding=encoding, time="t" if has_time else None)
    data = bytearray(write_payload(np.array([[1, NAN], [3, -4.5]]), payload, NAMES, [AT_S, AT_S + 1], form))
    for where, new, length in edits:
        at = int(where * len(data))
        data[at : at + length] = new
    with contextlib.suppress(InputFlaw):
        found = read_payload(bytes(data), payload, NAMES)
        assert found.numbers.shape == (len(found), 2)
        assert not np.isinf(found.numbers).any()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["json", "cbor", "msgpack", "csv", "npy", "raw"]), st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(how, data):
    with contextlib.suppress(InputFlaw):
        assert read(data, format=how).numbers.shape[1] == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("how", ["raw", "npy", "cbor"])
def test_a_nan_that_signals_is_missing_like_any_other(how, dtype):
    bits = {"float32": np.array([1, 0x7F800001], "<u4"), "float64": np.array([1, 0x7FF0000000000001], "<u8")}[
        dtype
    ]
    array = bits.view(dtype)
    if how == "cbor":
        tag = {"float32": 85, "float64": 86}[dtype]
        data = cbor2.dumps({name: cbor2.CBORTag(tag, array.tobytes()) for name in NAMES})
    else:
        data = write_npy(np.stack([array, array], axis=1)) if how == "npy" else array.repeat(2).tobytes()
    found = read(data, format=how, type=dtype).numbers * 2.0
    assert np.isnan(found).tolist() == [[False, False], [True, True]]


def test_an_array_file_is_one_whatever_is_declared():
    file = io.BytesIO()
    np.save(file, np.ones((3, 2)))
    assert read(file.getvalue(), format="csv").numbers.shape == (3, 2)


@pytest.mark.parametrize(
    ("how", "data"), [("json", b'{"x": [1, 2], "y": [3, 4]}'), ("csv", b"y,x\n3,1\n4,2\n")]
)
def test_fields_may_have_other_names_than_the_channels(how, data):
    spec = PayloadSpec(format=how, names={"ax": "x", "ay": "y"})
    np.testing.assert_array_equal(read_payload(data, spec, ("ax", "ay")).numbers, [[1, 3], [2, 4]])
