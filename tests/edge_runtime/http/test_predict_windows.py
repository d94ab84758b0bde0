"""Windows of sensors that are posted: answered like pictures, or refused with a reason."""

import struct
from base64 import b64encode

import httpx
import numpy as np
import orjson
import pytest

from edge_runtime.inference.npy import write_npy
from tests.support.http_bench import DOCUMENT, Bench, make_signal_parts
from tests.support.http_contract import Contract
from tests.support.sensor_payloads import write_payload
from tests.support.signal_bundles import CHANNELS, LENGTH, machine_windows, signal_spec
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

CONTRACT = Contract(DOCUMENT)
WINDOW, SPEC = machine_windows(1)[0], signal_spec()
TYPES = {
    "json": "application/json; charset=utf-8",
    "csv": "text/csv",
    "cbor": "application/cbor",
    "msgpack": "application/vnd.msgpack",
    "raw": "application/octet-stream",
    "npy": "application/octet-stream",
}
INFER = "/v2/models/parts/infer"


@pytest.fixture(params=list(TYPES))
def each(request, tmp_path):
    bench = Bench(tmp_path, **make_signal_parts(payload={"format": request.param}))
    yield bench, bench.pipeline.preprocessor.spec, TYPES[request.param]
    bench.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("bench"), **make_signal_parts())
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def client(bench):
    with client_of(bench) as client:
        yield client


def client_of(bench):
    return httpx.Client(
        base_url=bench.url, timeout=WAIT_S, trust_env=False, event_hooks={"response": [CONTRACT.check]}
    )


def means(window, spec):
    """What the engine answers: the mean of each channel of the prepared tensor."""
    mean, std = ([getattr(channel, part) for channel in spec.channels] for part in ("mean", "std"))
    return ((window - mean) / std).mean(axis=0)


def test_a_window_is_answered_in_every_format(each):
    bench, spec, content_type = each
    body = write_payload(WINDOW, spec.payload, CHANNELS)
    with client_of(bench) as client:
        for sent in (
            {"content": body, "headers": {"content-type": content_type}},
            {"content": body},
            {"files": {"file": ("window", body, content_type)}},
        ):
            answer = client.post("/predict/parts", **sent)
            assert (answer.status_code, answer.json()["stream"]) == (200, ":http")
            assert answer.json()["top"][0]["label"] == "abc"[int(means(WINDOW, SPEC).argmax())]
    assert bench.results == []


@pytest.mark.parametrize("form", ["columns", "records", "rows"])
def test_windows_of_json_have_every_form(client, form):
    answer = client.post("/predict", content=write_payload(WINDOW, SPEC.payload, CHANNELS, form=form))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"{", "unreadable"),
        (b"[" * 100_000, "unreadable"),
        (b'{"url": "http://127.0.0.1/"}', "missing_channel"),
        (b'{"ax": [1], "ay": [1]}', "missing_channel"),
        (b'{"ax": [1], "ay": [1], "az": [1]}', "bad_shape"),
        (b'{"ax": [true], "ay": [1], "az": [1]}', "bad_dtype"),
        ('{"ax": [1], "ay": [1], "az": [1]}'.encode("utf-16"), "bad_encoding"),
        (write_npy(WINDOW[:-1]), "bad_shape"),
        (write_npy(np.where(np.arange(LENGTH)[:, None] < 100, np.nan, WINDOW)), "missing_values"),
        (write_npy(np.where(WINDOW[3] == WINDOW, np.inf, WINDOW)), "non_finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_window_that_cannot_be_used_is_422_with_its_reason(client, content, reason):
    answer = client.post("/predict", content=content)
    assert (answer.status_code, answer.json()["rejected"]) == (422, reason)
    assert answer.json()["detail"]


@pytest.mark.parametrize("content_type", ["text/csv", "application/cbor", "application/x-msgpack"])
def test_a_body_of_another_format_than_declared_is_415(client, content_type):
    answer = client.post("/predict", content=b"ax,ay,az\n", headers={"content-type": content_type})
    assert (answer.status_code, list(answer.json())) == (415, ["error"])


def test_a_model_of_signals_describes_its_shape(client):
    found = client.get("/v2/models/parts").json()
    assert found["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3, LENGTH]}]
    found = client.get("/v2/models/parts/config").json()
    assert found["input"] == [{"name": "input", "data_type": "TYPE_FP32", "dims": [3, LENGTH]}]


def test_prepared_tensors_of_the_protocol_are_taken_as_they_are(client):
    tensor = np.random.default_rng(0).normal(size=(2, 3, LENGTH)).astype(np.float32)
    request = {
        "inputs": [{"name": "input", "shape": [2, 3, LENGTH], "datatype": "FP32", "data": tensor.tolist()}]
    }
    answer = client.post(INFER, json=request)
    assert answer.status_code == 200
    [scores] = answer.json()["outputs"]
    np.testing.assert_allclose(scores["data"], tensor.mean(axis=2).ravel(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [[2, LENGTH, 3], [2, 3, LENGTH, 1], [3, LENGTH], []])
def test_tensors_of_another_shape_are_refused(client, shape):
    data = [0.0] * int(np.prod(shape))
    request = {"inputs": [{"name": "input", "shape": shape, "datatype": "FP32", "data": data}]}
    assert client.post(INFER, json=request).status_code == 400


def test_payloads_in_bytes_are_prepared_as_those_of_a_sensor(client):
    data = write_payload(WINDOW, SPEC.payload, CHANNELS)
    packed = struct.pack("<I", len(data)) + data
    tensor = {"name": "input", "shape": [2], "datatype": "BYTES"}
    binary = {"inputs": [{**tensor, "parameters": {"binary_data_size": 2 * len(packed)}}]}
    head = orjson.dumps(binary)
    headers = {"Inference-Header-Content-Length": str(len(head))}
    texts = [b64encode(data).decode()] * 2
    text = {"inputs": [{**tensor, "data": texts, "parameters": {"content_type": "base64"}}]}
    for answer in (
        client.post(INFER, content=head + packed * 2, headers=headers),
        client.post(INFER, json=text),
    ):
        assert answer.status_code == 200
        scores = np.reshape(answer.json()["outputs"][0]["data"], (2, 3))
        np.testing.assert_allclose(scores, [means(WINDOW, SPEC)] * 2, atol=1e-5)


def test_a_payload_in_bytes_that_cannot_be_used_is_422(client):
    text = {"name": "input", "shape": [1], "datatype": "BYTES", "data": [b64encode(b"{").decode()]}
    request = {"inputs": [{**text, "parameters": {"content_type": "base64"}}]}
    assert client.post(INFER, json=request).status_code == 422
