"""Requests to a model with several inputs: by name, or as one window; others are refused with what to send."""

import struct

import httpx
import numpy as np
import pytest

from tests.support.http_bench import DOCUMENT, Bench
from tests.support.http_contract import Contract
from tests.support.sensor_payloads import write_payload
from tests.support.two_inputs import ALL_CHANNELS, make_two_input_parts, two_input_spec, two_input_windows
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration
CONTRACT = Contract(DOCUMENT)
INFER = "/v2/models/parts/infer"
RNG = np.random.default_rng(0)
VIBRATION = RNG.normal(size=(2, 3, 256)).astype(np.float32)
CONTEXT = RNG.normal(size=(2, 2)).astype(np.float32)
SPEC = two_input_spec()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("bench"), **make_two_input_parts())
    hooks = {"response": [CONTRACT.check]}
    with httpx.Client(base_url=bench.url, timeout=WAIT_S, trust_env=False, event_hooks=hooks) as client:
        yield client
    bench.close()


def tensor(name, values, **given):
    shape = list(values.shape)
    return {"name": name, "shape": shape, "datatype": "FP32", "data": values.ravel().tolist(), **given}


def test_the_inputs_are_described_by_name(client):
    found = [{"name": "vibration", "datatype": "FP32", "shape": [-1, 3, 256]}]
    found.append({"name": "context", "datatype": "FP32", "shape": [-1, 2]})
    assert client.get("/v2/models/parts").json()["inputs"] == found
    assert [one["dims"] for one in client.get("/v2/models/parts/config").json()["input"]] == [[3, 256], [2]]


@pytest.mark.parametrize("is_reversed", [False, True])
def test_named_inputs_in_any_order_become_windows(client, is_reversed):
    inputs = [tensor("vibration", VIBRATION), tensor("context", CONTEXT)]
    answer = client.post(INFER, json={"inputs": inputs[::-1] if is_reversed else inputs})
    assert answer.status_code == 200, answer.text
    [scores] = answer.json()["outputs"]
    load, temp = CONTEXT.T
    expected = np.column_stack([temp, VIBRATION.mean(axis=2), load])
    np.testing.assert_allclose(scores["data"], expected.ravel(), rtol=1e-4, atol=1e-6)


def test_payloads_and_whole_windows_are_taken_under_one_name(client):
    body = write_payload(two_input_windows(1)[0], SPEC.payload, ALL_CHANNELS)
    binary = struct.pack("<I", len(body)) + body
    given = {
        "name": "window",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(binary)},
    }
    head = httpx.Request("POST", "http://box", json={"inputs": [given]}).content
    headers = {"Inference-Header-Content-Length": str(len(head))}
    assert client.post(INFER, content=head + binary, headers=headers).status_code == 200
    assert client.post("/predict", content=body).status_code == 200
    whole = RNG.normal(size=(1, 5, 256)).astype(np.float32)
    assert client.post(INFER, json={"inputs": [tensor("window", whole)]}).status_code == 200


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param([tensor("vibration", VIBRATION)], id="one is missing"),
        pytest.param([tensor("vibration", VIBRATION), tensor("vibration", VIBRATION)], id="one twice"),
        pytest.param([tensor("vibration", VIBRATION), tensor("contxt", CONTEXT)], id="unknown"),
        pytest.param([tensor("vibration", VIBRATION), tensor("context", CONTEXT[:1])], id="other numbers"),
        pytest.param([tensor("vibration", VIBRATION), tensor("context", CONTEXT[:, :1])], id="another shape"),
        pytest.param(
            [tensor("vibration", VIBRATION), tensor("context", CONTEXT, datatype="BYTES")], id="BYTES"
        ),
        pytest.param([tensor("vibration", VIBRATION[:0]), tensor("context", CONTEXT[:0])], id="none"),
    ],
)
def test_other_inputs_are_refused(client, inputs):
    answer = client.post(INFER, json={"inputs": inputs})
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
