"""The Open Inference Protocol: what a request may look like, and that no other one does anything."""

import struct
import tracemalloc
from base64 import b64encode
from contextlib import suppress
from functools import partial

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.http.oip_body import JsonData, load_body
from edge_runtime.serving.oip_request import InferQuestion
from edge_runtime.serving.oip_tensors import BinaryData, classify, pack_array, pack_texts
from edge_runtime.serving.predictions import ServedModel
from edge_runtime.serving.refusals import Refusal
from tests.support.bundle_models import png
from tests.support.http_bench import DOCUMENT, MOST_BYTES, Bench
from tests.support.http_contract import Contract
from tests.support.pipeline_bench import make_pipeline
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

HEADER = "Inference-Header-Content-Length"
PICTURE = png(np.full((16, 16, 3), (10, 10, 250), np.uint8))
TENSOR = np.arange(2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8) / 100
INFER = "/v2/models/parts/infer"

CONTRACT = Contract(DOCUMENT)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("bench"))
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def client(bench):
    with httpx.Client(
        base_url=bench.url, timeout=WAIT_S, trust_env=False, event_hooks={"response": [CONTRACT.check]}
    ) as client:
        yield client


def as_json(data=None, **given):
    tensor = {"name": "image", "shape": [2, 3, 8, 8], "datatype": "FP32", "data": data, **given}
    return {"inputs": [{key: value for key, value in tensor.items() if value is not None}]}


def in_binary(request, *binary):
    head = orjson.dumps(request)
    return {"content": head + b"".join(binary), "headers": {HEADER: str(len(head))}}


def test_the_server_and_the_model_describe_themselves(client):
    assert client.get("/v2").json()["extensions"] == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
    ]
    assert [client.get(f"/v2/health/{kind}").status_code for kind in ("live", "ready")] == [200, 200]
    for path in ("/v2/models/parts", "/v2/models/parts/versions/4"):
        assert client.get(f"{path}/ready").json() == {"name": "parts", "ready": True}
        assert client.get(path).json() == {
            "name": "parts",
            "versions": ["4"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 8, 8]}],
            "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
        }
        assert client.get(f"{path}/config").json() == {
            "name": "parts",
            "platform": "onnxruntime_onnx",
            "max_batch_size": 8,
            "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, 8, 8]}],
            "output": [{"name": "scores", "data_type": "TYPE_FP32", "dims": [3]}],
        }


@pytest.mark.parametrize(
    "path", ["/v2/models/gears", "/v2/models/parts/versions/3", "/v2/models/parts/versions/x"]
)
def test_what_is_not_here_is_404(client, path):
    assert client.get(path).status_code == 404
    assert client.get(f"{path}/ready").status_code == 404
    answer = client.post(f"{path}/infer", json=as_json(TENSOR.ravel().tolist()))
    assert (answer.status_code, list(answer.json())) == (404, ["error"])


@pytest.mark.parametrize("data", [TENSOR.tolist(), TENSOR.ravel().tolist()])
def test_tensors_in_json_nested_or_flat(client, data):
    answer = client.post("/v2/models/parts/versions/4/infer", json={**as_json(data), "id": "7"})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["id"], found["model_name"], found["model_version"]) == ("7", "parts", "1")
    assert found["parameters"] == {"generation": "parts/1"}
    [scores] = found["outputs"]
    assert (scores["name"], scores["datatype"], scores["shape"]) == ("scores", "FP32", [2, 3])
    np.testing.assert_allclose(scores["data"], TENSOR.mean(axis=(2, 3)).ravel(), rtol=1e-5)


def test_tensors_and_outputs_in_binary(client):
    request = as_json(parameters={"binary_data_size": TENSOR.nbytes})
    request["parameters"] = {"binary_data_output": True}
    answer = client.post(INFER, **in_binary(request, TENSOR.tobytes()))
    assert answer.status_code == 200
    head = int(answer.headers[HEADER])
    [scores] = orjson.loads(answer.content[:head])["outputs"]
    assert scores["parameters"] == {"binary_data_size": 24}
    found = np.frombuffer(answer.content[head:], "<f4").reshape(scores["shape"])
    np.testing.assert_allclose(found, TENSOR.mean(axis=(2, 3)), rtol=1e-5)


def test_pictures_in_bytes_are_prepared_as_those_of_a_camera(client, bench):
    packed = struct.pack("<I", len(PICTURE)) + PICTURE
    size = {"binary_data_size": 2 * len(packed)}
    in_bytes = as_json(shape=[2], datatype="BYTES", parameters=size)
    texts = [b64encode(PICTURE).decode()] * 2
    in_text = as_json(texts, shape=[2], datatype="BYTES", parameters={"content_type": "base64"})
    answers = [client.post(INFER, **in_binary(in_bytes, packed, packed)), client.post(INFER, json=in_text)]
    one = client.post("/predict", content=PICTURE).json()["top"][0]
    for answer in answers:
        scores = np.reshape(answer.json()["outputs"][0]["data"], (2, 3))
        np.testing.assert_allclose(scores, [[250 / 255, 10 / 255, 10 / 255]] * 2, rtol=1e-5)
        assert scores[0].argmax() == one["index"]
    assert bench.results == []


def test_classes_in_place_of_numbers(client):
    request = as_json(TENSOR.tolist())
    request["outputs"] = [{"name": "scores", "parameters": {"classification": 2}}]
    [found] = client.post(INFER, json=request).json()["outputs"]
    assert (found["datatype"], found["shape"]) == ("BYTES", [2, 2])
    assert [text.split(":")[1:] for text in found["data"]] == [["2", "c"], ["1", "b"]] * 2
    request["outputs"][0]["parameters"]["binary_data"] = True
    answer = client.post(INFER, json=request)
    binary = answer.content[int(answer.headers[HEADER]) :]
    assert BinaryData(memoryview(binary)).read_elements(4) == [one.encode() for one in found["data"]]


FLAT = TENSOR.ravel().tolist()


@pytest.mark.parametrize(
    "request_",
    [
        [], {}, {"inputs": []}, {"inputs": 3}, {"inputs": [3]}, {"inputs": [{}]}, {"inputs": None},
        {**as_json(FLAT), "id": 3}, {**as_json(FLAT), "parameters": []}, {**as_json(FLAT), "outputs": 3},
        {"inputs": as_json(FLAT)["inputs"] * 2},
        as_json(FLAT, name="other"), as_json(FLAT, name=3), as_json(FLAT, datatype="FP64"),
        as_json(FLAT, datatype="fp32"), as_json(FLAT, datatype="x" * 2000), as_json(FLAT, shape=[384]),
        as_json(FLAT, shape=[2, 3, 8, 7]), as_json(FLAT, shape=[3, 8, 8]), as_json(FLAT, shape=[0, 3, 8, 8]),
        as_json(FLAT, shape=[9, 3, 8, 8]), as_json(FLAT, shape=[-1, 3, 8, 8]), as_json(FLAT, shape=[2**40, 3, 8, 8]),
        as_json(FLAT, shape=["2", 3, 8, 8]), as_json(FLAT, shape=[1, 3, 8, 8]), as_json(FLAT, shape=[2.0, 3, 8, 8]),
        as_json(FLAT[1:]), as_json([*FLAT[1:], None]), as_json([*FLAT[1:], "3"]), as_json([FLAT, FLAT[1:]]),
        as_json(TENSOR.swapaxes(0, 1).tolist()), as_json(True), as_json("text"), as_json({"a": 1}), as_json(),
        as_json([True] * 384), as_json([True, *FLAT[1:]]), as_json([[]] * 384), as_json([[[[[1.0]]]]]),
        as_json(parameters={"binary_data_size": 1536}), as_json(parameters={"binary_data_size": -1}),
        as_json(parameters={"binary_data_size": "1536"}), as_json(parameters={"binary_data_size": True}),
        as_json(parameters={"binary_data_size": 0}),
        as_json(["aGk="], datatype="BYTES", shape=[1]), as_json([3], datatype="BYTES", shape=[1]),
        *(as_json(data, datatype="BYTES", shape=[1], parameters={"content_type": "base64"})
          for data in (["%%"], [3], "aGk=", [], ["aGk="] * 2, None)),
        as_json(["aGk="], datatype="BYTES", shape=[0], parameters={"content_type": "base64"}),
        *({**as_json(FLAT), "outputs": [output]} for output in
          ({"name": "other"}, {}, {"name": "scores", "parameters": {"binary_data": 1}},
           {"name": "scores", "parameters": {"classification": -1}},
           {"name": "scores", "parameters": {"classification": "3"}})),
        {**as_json(FLAT), "outputs": [{"name": "scores"}] * 2},
        {**as_json(FLAT), "parameters": {"binary_data_output": "yes"}},
    ],
)  # fmt: skip
def test_a_request_that_is_wrong_is_400_with_a_reason(client, bench, request_):
    answer = client.post(INFER, json=request_)
    assert (answer.status_code, list(answer.json())) == (400, ["error"]), answer.text
    assert len(answer.json()["error"]) < 2_500
    assert bench.crashes.total == 0


def test_binary_data_that_do_not_fit_are_400(client):
    size = {"binary_data_size": TENSOR.nbytes}
    good = in_binary(as_json(parameters=size), TENSOR.tobytes())
    for change in (
        {**good, "content": good["content"][:-1]},
        {**good, "content": good["content"] + b"x"},
        {**good, "headers": {HEADER: "3"}},
        {**good, "headers": {HEADER: "-3"}},
        {**good, "headers": {HEADER: "9" * 30}},
        {**good, "headers": {HEADER: "99999"}},
        {**good, "headers": {}},
        in_binary(as_json(parameters={"binary_data_size": 8}), b"12345678"),
        in_binary(
            as_json(parameters={"binary_data_size": 8}, datatype="BYTES", shape=[1]), b"\xff\xff\xff\xff1234"
        ),
        in_binary(as_json(parameters={"binary_data_size": 3}, datatype="BYTES", shape=[1]), b"\0\0\0"),
    ):
        assert client.post(INFER, **change).status_code == 400


def as_base64(picture):
    return as_json(
        [b64encode(picture).decode()], datatype="BYTES", shape=[1], parameters={"content_type": "base64"}
    )


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (as_json([1e39] * 384), 422),
        (as_base64(b"no picture"), 422),
        (as_base64(bytes(MOST_BYTES + 1)), 413),
        (as_json([[0] * 100] * 400), 413),
    ],
)
def test_what_preprocessing_refuses_is_an_error_too(client, given, code):
    answer = client.post(INFER, json=given)
    assert (answer.status_code, list(answer.json())) == (code, ["error"])


def test_an_engine_that_fails_is_500_and_a_full_queue_429(client, bench):
    bench.engine.failures = 1
    assert client.post(INFER, json=as_json(FLAT)).status_code == 500
    nine = as_json(FLAT, shape=[9, 3, 8, 8])
    assert "1 to 8" in client.post(INFER, json=nine).json()["error"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["name", "shape", "datatype", "data", "inputs", "outputs", "parameters", "classification"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "inputs", "outputs", "parameters"]), VALUES), VALUES, VALUES)
def test_no_json_is_an_error_of_ours(request_, data, parameters):
    model = ServedModel(make_pipeline()[0], None)
    for one in (request_, {**request_, **as_json(data, parameters=parameters)}):
        with suppress(Refusal):
            InferQuestion(partial(load_body, orjson.dumps(one), None), lambda _: None).read(model)


def test_arrays_are_packed_little_endian_and_without_gaps():
    big = np.arange(6, dtype=">i4").reshape(2, 3)
    assert pack_array(big[:, ::2]) == struct.pack("<4i", 0, 2, 3, 5)
    assert pack_texts(["a", "ü"]) == b"\x01\0\0\0a\x02\0\0\0\xc3\xbc"


def test_the_best_classes_come_first_and_labels_only_where_they_fit():
    scores = np.array([1, 5, 10, 4])
    assert classify(scores, 2, ()) == ["10.000000:2", "5.000000:1"]
    assert classify(scores, 9, "wxyz") == ["10.000000:2:y", "5.000000:1:x", "4.000000:3:z", "1.000000:0:w"]


def test_numbers_are_read_by_shape():
    assert JsonData([3, 4.5]).read_floats((1, 2)).tolist() == [[3.0, 4.5]]
    assert BinaryData(memoryview(struct.pack("<2f", 3, 4.5))).read_floats((1, 2)).tolist() == [[3.0, 4.5]]
    with pytest.raises(Refusal):
        JsonData([[3], [4.5]]).read_floats((1, 2))


@pytest.mark.parametrize("nest", [lambda texts: texts, lambda texts: [texts], lambda texts: [[1.0], texts]])
def test_texts_in_place_of_numbers_take_no_memory(nest):
    """An array of texts has the room of the longest for each: 20 MB of JSON would be many GB."""
    data = nest(["x" * 20_000, *["y"] * 500])
    tracemalloc.start()
    try:
        with pytest.raises(Refusal):
            JsonData(data).read_floats((1, 501))
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 2**20


@pytest.mark.parametrize(
    "data", [BinaryData(memoryview(bytes(4 * 100_000))), JsonData(["aGk="] * 100_000, is_base64=True)]
)
def test_pictures_beyond_the_shape_are_not_read(data):
    tracemalloc.start()
    try:
        with pytest.raises(Refusal):
            data.read_elements(2)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 2**16
