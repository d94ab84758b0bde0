"""encode: the JSON that people receive."""

import json
import math

import jsonschema
import numpy as np
import pytest

from edge_runtime.datatypes import (
    Anomaly,
    Detection,
    Label,
    Origin,
    Rejected,
    RejectReason,
    Result,
    Timings,
    Value,
)
from edge_runtime.messaging.encoding import encode_object, encode_rejection, encode_result
from edge_runtime.messaging.message_schemas import RESULT

AT = 1_795_448_459.1234  # 2026-11-23T15:40:59.123Z


def result(**answer):
    timings = Timings(decode=2.9123, prepare=1.0, queue=0.4, infer=7.8049, total=12.11999)
    return Result("belt-3", "belt", 184223, AT, "parts", "parts/4+p17", timings, **answer)


def test_classification_reads_like_the_design():
    sent = json.loads(encode_result(result(top=(Label(7, "bolt", 0.93128),))))
    assert sent == {
        "id": "belt-3/belt/000184223",
        "stream": "belt",
        "seq": 184223,
        "captured_at": "2026-11-23T15:40:59.123Z",
        "model": "parts",
        "generation": "parts/4+p17",
        "top": [{"index": 7, "label": "bolt", "score": 0.9313}],
        "timings_ms": {"decode": 2.91, "prepare": 1.0, "queue": 0.4, "infer": 7.8, "total": 12.12},
    }


def test_boxes_are_rounded_to_a_tenth_of_a_pixel():
    found = Detection(1, "person", np.float32(0.5), (1.26, 2.0, np.float32(3.04), 4.99))
    sent = json.loads(encode_result(result(detections=(found,))))
    assert sent["detections"] == [{"index": 1, "label": "person", "score": 0.5, "box": [1.3, 2.0, 3.0, 5.0]}]


def test_no_detection_is_an_empty_list_and_not_a_missing_key():
    assert json.loads(encode_result(result(detections=())))["detections"] == []


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int8", "uint8", "int64", "bool", ">f4", "longdouble"]
)
def test_raw_outputs_carry_shape_and_dtype(dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)[:, ::-1]
    sent = json.loads(encode_result(result(outputs={"y": values})))["outputs"]["y"]
    assert sent["shape"] == [2, 3]
    assert np.array_equal(np.array(sent["data"]).reshape(2, 3), values.astype("float64"))
    assert not sent["dtype"].startswith(">")


def test_non_finite_raw_values_become_null():
    sent = json.loads(encode_result(result(outputs={"y": np.array([1.0, np.nan, np.inf], np.float32)})))
    assert sent["outputs"]["y"]["data"] == [1.0, None, None]


def test_an_array_json_cannot_carry_is_named():
    with pytest.raises(ValueError, match=r"'y'.*complex128"):
        encode_result(result(outputs={"y": np.zeros(2, complex)}))


@pytest.mark.parametrize("answer", [{}, {"top": (), "detections": ()}])
def test_exactly_one_kind_of_answer(answer):
    with pytest.raises(ValueError):
        encode_result(result(**answer))


def test_an_object_may_hold_what_numpy_and_pathlib_give(tmp_path):
    assert json.loads(encode_object({"n": np.int64(3), "path": tmp_path, "bad": math.nan, 5: 1})) == {
        "n": 3,
        "path": str(tmp_path),
        "bad": None,
        "5": 1,
    }


@pytest.mark.parametrize(
    ("origin", "sent"),
    [
        (Origin(name="day/1.jpg", modified_at_wall_s=AT),
         {"name": "day/1.jpg", "modified_at": "2026-11-23T15:40:59.123Z"}),
        (Origin(captured_at_wall_s=0.0), {"captured_at": "1970-01-01T00:00:00.000Z"}),
        (Origin(correlation=b"job 7"), {"correlation": "job 7"}),
        (Origin(correlation="ü".encode()), {"correlation": "ü"}),
        (Origin(correlation=b"\x00\xff"), {"correlation_base64": "AP8="}),
        (Origin(correlation=b""), {"correlation_base64": ""}),
        (Origin(correlation=b"two\nlines"), {"correlation_base64": "dHdvCmxpbmVz"}),
        (Origin(content_type="image/png"), {"content_type": "image/png"}),
        (Origin(properties=(("lot", "A7"), ("n", "1"), ("n", "2"))), {"properties": {"lot": "A7", "n": ["1", "2"]}}),
        (Origin(name="caf\udce9.jpg"), {"name": "caf\\xe9.jpg"}),
        (Origin(name="new\nline.jpg"), {"name": "new\nline.jpg"}),
        (Origin(left_out=("correlation",)), {"left_out": ["correlation"]}),
        (Origin(response_topic="edge/box/response/me"), {}),
    ],
)  # fmt: skip
def test_the_name_of_the_picture_is_in_its_result_and_its_rejection(origin, sent):
    answered = json.loads(encode_result(result(top=(), origin=origin)))
    rejected = Rejected("belt", 1, RejectReason.EMPTY, "0 bytes", AT, origin)
    refused = json.loads(encode_rejection(rejected, "belt-3", "parts"))
    assert (answered["input"], refused["input"]) == (sent, sent)


def test_a_rejection_reads_like_a_result():
    rejected = Rejected("belt", 12, RejectReason.TRUNCATED, "x" * 5000, AT)
    assert json.loads(encode_rejection(rejected, "belt-3", "parts", unsaid=4)) == {
        "id": "belt-3/belt/000000012",
        "stream": "belt",
        "seq": 12,
        "captured_at": "2026-11-23T15:40:59.123Z",
        "model": "parts",
        "rejected": "truncated",
        "detail": "x" * 500,
        "unsaid": 4,
    }


def test_values_have_six_significant_digits_and_their_place_in_the_limits():
    found = (Value("heat", 81.23456789, "degC", "above", 10.0), Value("days", 1e-7 / 3))
    assert json.loads(encode_result(result(values=found)))["values"] == [
        {"name": "heat", "value": 81.2346, "unit": "degC", "limits": "above"},
        {"name": "days", "value": 3.33333e-08, "unit": "", "limits": None},
    ]


@pytest.mark.parametrize(("threshold", "is_anomalous"), [(None, None), (1.5, True), (2.5, False)])
def test_an_anomaly_says_whether_it_is_one(threshold, is_anomalous):
    sent = json.loads(encode_result(result(anomaly=Anomaly(2.0000004, threshold))))
    assert sent["anomaly"] == {"score": 2.0, "threshold": threshold, "is_anomalous": is_anomalous}


def test_the_share_that_was_filled_is_there_for_windows_only():
    assert json.loads(encode_result(result(values=(), filled=0.123456)))["filled"] == 0.1235
    assert json.loads(encode_result(result(values=(), filled=0.0)))["filled"] == 0.0
    assert "filled" not in json.loads(encode_result(result(values=())))


@pytest.mark.parametrize(
    "answer", [{"values": (Value("heat", 1.0, "degC", "below"),)}, {"anomaly": Anomaly(1.0, None)}]
)
def test_new_answers_fit_the_schema(answer):
    jsonschema.Draft202012Validator(RESULT).validate(json.loads(encode_result(result(filled=0.5, **answer))))
