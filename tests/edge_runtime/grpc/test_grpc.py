"""The Open Inference Protocol over gRPC: by the stock client, and by messages that no client sends."""

import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from edge_runtime.cli.check import check_config
from edge_runtime.grpc import service
from edge_runtime.grpc.messages import SERVICE, find_message
from edge_runtime.grpc.server import GrpcServer
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.access import Access
from edge_runtime.serving.listener import PortUnavailable
from edge_runtime.serving.request_counts import RequestCounts
from edge_runtime.serving.token_holder import TokenHolder, hash_token
from edge_runtime.system.supervised_thread import Crashes
from tests.support.bundle_models import png
from tests.support.http_bench import MOST_BYTES, Bench, make_signal_parts
from tests.support.mosquitto import free_port
from tests.support.sensor_payloads import write_payload
from tests.support.signal_bundles import CHANNELS, LENGTH, machine_windows, signal_spec
from tests.support.two_inputs import make_two_input_parts
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

PICTURE = png(np.full((16, 16, 3), (10, 10, 250), np.uint8))
TENSOR = np.arange(2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8) / 100
MEANS = TENSOR.mean(axis=(2, 3))
TOKEN, READER = "sMh0m7jC3yZ1VqK8xQ2t", "k1k2k3k4k5k6k7k8k9k0"
WAY = f"/{SERVICE}/"


class GrpcBench(Bench):
    def __init__(self, folder, **given):
        super().__init__(folder, **given)
        self.counts, self.grpc_crashes, self.grpc_port = RequestCounts(), Crashes(), free_port()
        self.is_ready = True

        def make_handler():
            return service.InferenceService(self.predict, lambda: self.is_ready, self.counts).make_handler()

        most = self.predict.max_body_bytes
        self.grpc = GrpcServer("127.0.0.1", self.grpc_port, most, make_handler, self.grpc_crashes)
        self.grpc.start()
        self.address = f"127.0.0.1:{self.grpc_port}"
        self.client = triton.InferenceServerClient(self.address)
        self.channel = grpc.insecure_channel(self.address)
        grpc.channel_ready_future(self.channel).result(WAIT_S)

    def close(self):
        self.client.close()
        self.channel.close()
        self.grpc.stop()
        super().close()

    def call(self, name, data=b"", **given):
        """Raw bytes there and back."""
        return self.channel.unary_unary(WAY + name)(data, timeout=WAIT_S, **given)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    bench = GrpcBench(tmp_path_factory.mktemp("bench"))
    yield bench
    bench.close()


def make_input(values, datatype="FP32", name="image"):
    given = triton.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return given


def make_pictures(*pictures):
    return make_input(np.array(pictures, dtype=object), "BYTES")


def make_message(**given):
    tensor = {"name": "image", "datatype": "FP32", "shape": [2, 3, 8, 8], **given.pop("tensor", {})}
    return find_message("ModelInferRequest")(**{"model_name": "parts", "inputs": [tensor], **given})


def code_of(call, *given, **named):
    try:
        call(*given, **named)
    except grpc.RpcError as err:
        return err.code().name
    except InferenceServerException as err:
        return err.status().removeprefix("StatusCode.")
    return "OK"


def test_the_server_and_the_model_describe_themselves(shared):
    client = shared.client
    assert [client.is_server_live(), client.is_server_ready(), client.is_model_ready("parts")] == [True] * 3
    about = client.get_server_metadata(as_json=True)
    assert (about["name"], about["extensions"]) == ("edge-runtime", ["classification", "model_configuration"])
    assert client.get_model_metadata("parts", "4", as_json=True) == {
        "name": "parts",
        "versions": ["4"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": ["-1", "3", "8", "8"]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": ["-1", "3"]}],
    }
    assert client.get_model_config("parts", as_json=True)["config"] == {
        "name": "parts",
        "platform": "onnxruntime_onnx",
        "max_batch_size": 8,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": ["3", "8", "8"]}],
        "output": [{"name": "scores", "data_type": "TYPE_FP32", "dims": ["3"]}],
    }
    shared.is_ready = False
    assert not client.is_server_ready()
    shared.is_ready = True


@pytest.mark.parametrize(("name", "version"), [("gears", ""), ("parts", "3"), ("parts", "x")])
def test_what_is_not_here_is_not_found(shared, name, version):
    for call in (shared.client.get_model_metadata, shared.client.get_model_config):
        assert code_of(call, name, version) == "NOT_FOUND"
    assert code_of(shared.client.infer, name, [make_input(TENSOR)], version) == "NOT_FOUND"


def test_raw_tensors(shared):
    answer = shared.client.infer("parts", [make_input(TENSOR)], request_id="7")
    np.testing.assert_allclose(answer.as_numpy("scores"), MEANS, rtol=1e-5)
    about = answer.get_response()
    assert (about.id, about.model_name, about.model_version) == ("7", "parts", "1")
    assert about.parameters["generation"].string_param == "parts/1"


def test_inputs_of_a_model_with_several_are_given_by_name(tmp_path):
    rng = np.random.default_rng(0)
    vibration, context = (rng.normal(size=(2, *shape)).astype(np.float32) for shape in ((3, 256), (2,)))
    bench = GrpcBench(tmp_path, **make_two_input_parts())
    given = [make_input(context, name="context"), make_input(vibration, name="vibration")]
    try:
        found = bench.client.infer("parts", given).as_numpy("scores")
        assert code_of(bench.client.infer, "parts", given[:1]) == "INVALID_ARGUMENT"
    finally:
        bench.close()
    load, temp = context.T
    np.testing.assert_allclose(
        found, np.column_stack([temp, vibration.mean(axis=2), load]), rtol=1e-4, atol=1e-6
    )


def test_typed_tensors_and_pictures(shared):
    read = find_message("ModelInferResponse").FromString
    typed = make_message(tensor={"contents": {"fp32_contents": TENSOR.ravel()}})
    answer = read(shared.call("ModelInfer", typed.SerializeToString()))
    found = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(answer.outputs[0].shape)
    np.testing.assert_allclose(found, MEANS, rtol=1e-5)
    pictures = {"datatype": "BYTES", "shape": [2], "contents": {"bytes_contents": [PICTURE] * 2}}
    answer = read(shared.call("ModelInfer", make_message(tensor=pictures).SerializeToString()))
    raw = shared.client.infer("parts", [make_pictures(PICTURE, PICTURE)])
    assert answer.raw_output_contents[0] == raw.as_numpy("scores").tobytes()


def test_classes_in_place_of_numbers(shared):
    wanted = [triton.InferRequestedOutput("scores", class_count=2)]
    found = shared.client.infer("parts", [make_input(TENSOR)], outputs=wanted).as_numpy("scores")
    assert [text.decode().split(":")[1:] for text in found.ravel()] == [["2", "c"], ["1", "b"]] * 2


RAW = [TENSOR.tobytes()]


@pytest.mark.parametrize(
    "message",
    [
        make_message(),
        make_message(inputs=[]),
        make_message(raw_input_contents=[RAW[0][1:]]),
        make_message(raw_input_contents=RAW * 2),
        make_message(raw_input_contents=RAW, tensor={"contents": {"fp32_contents": [1]}}),
        make_message(raw_input_contents=RAW, tensor={"name": "other"}),
        make_message(raw_input_contents=RAW, tensor={"datatype": "FP64"}),
        make_message(raw_input_contents=RAW, tensor={"shape": [-2, 3, 8, 8]}),
        make_message(raw_input_contents=RAW, tensor={"shape": [9, 3, 8, 8]}),
        make_message(raw_input_contents=RAW, tensor={"shape": [1] * 10_000}),
        make_message(raw_input_contents=RAW, outputs=[{"name": "other"}]),
        make_message(raw_input_contents=RAW, outputs=[{"name": "scores"}] * 2),
        make_message(
            raw_input_contents=RAW,
            outputs=[{"name": "scores", "parameters": {"classification": {"string_param": "2"}}}],
        ),
        make_message(
            raw_input_contents=RAW, parameters={str(number): {"bool_param": True} for number in range(200)}
        ),
        make_message(inputs=[{"name": "image"}] * 10_000),
        make_message(tensor={"datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b""] * 9}}),
        make_message(
            tensor={"datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"no picture"]}}
        ),
        make_message(
            tensor={
                "datatype": "BYTES",
                "shape": [1],
                "contents": {"bytes_contents": [bytes(MOST_BYTES + 1)]},
            }
        ),
    ],
)
def test_a_request_that_is_wrong_is_an_invalid_argument(shared, message):
    assert code_of(shared.call, "ModelInfer", message.SerializeToString()) == "INVALID_ARGUMENT"
    assert shared.crashes.total == 0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["ModelInfer", "ModelMetadata", "ModelReady", "ModelConfig"]))
def test_no_bytes_are_an_error_of_ours(shared, data, call):
    assert code_of(shared.call, call, data) in ("INVALID_ARGUMENT", "NOT_FOUND", "OK")
    assert shared.crashes.total == 0


def test_what_is_too_large_or_compressed_is_refused_before_it_is_read(shared):
    assert (
        code_of(shared.call, "ModelInfer", bytes(shared.predict.max_body_bytes + 1)) == "RESOURCE_EXHAUSTED"
    )
    packed = {"compression": grpc.Compression.Gzip}
    assert code_of(shared.call, "ModelInfer", bytes(100_000), **packed) == "UNIMPLEMENTED"
    assert code_of(shared.call, "ModelStreamInfer") == "UNIMPLEMENTED"
    assert (shared.crashes.total, shared.grpc_crashes.total) == (0, 0)


def test_no_message_is_kept_when_its_call_has_ended(shared):
    large = bytes(shared.predict.max_body_bytes - 1000)
    code_of(shared.call, "ModelInfer", large)
    tracemalloc.start()
    try:
        for _ in range(20):
            assert code_of(shared.call, "ModelInfer", large) == "INVALID_ARGUMENT"
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 5 * len(large)


def test_calls_are_counted(shared):
    before = shared.counts.read()
    assert code_of(shared.client.infer, "gears", [make_input(TENSOR)]) == "NOT_FOUND"
    assert shared.counts.read()["ModelInfer", "NOT_FOUND"] == before.get(("ModelInfer", "NOT_FOUND"), 0) + 1


def test_a_call_without_a_message_is_refused(shared):
    empty = shared.channel.stream_unary(f"{WAY}ModelInfer")
    assert code_of(empty, iter(()), timeout=WAIT_S) == "INVALID_ARGUMENT"


@pytest.fixture
def silence():
    """Requests of a call that says nothing until the test ends."""
    end = threading.Event()

    def hold():
        end.wait(WAIT_S)
        yield from ()

    yield hold
    end.set()


def test_a_message_that_does_not_come_is_not_waited_for(shared, monkeypatch, silence):
    monkeypatch.setattr(service, "RECEIVE_S", 0.1)
    held = shared.channel.stream_unary(f"{WAY}ModelInfer")
    assert code_of(held, silence(), timeout=WAIT_S) == "DEADLINE_EXCEEDED"
    assert shared.client.is_server_live()


def test_those_who_read_slowly_keep_nobody_from_an_answer(shared, monkeypatch, silence):
    monkeypatch.setattr(service, "RECEIVE_S", 5.0)
    monkeypatch.setattr(service, "RECEIVE_NAME_S", WAIT_S)
    reading = shared.channel.stream_unary(f"{WAY}ModelMetadata")
    held = [reading.future(silence(), timeout=WAIT_S) for _ in range(4)]
    data = make_message(raw_input_contents=RAW).SerializeToString()
    assert code_of(shared.call, "ModelInfer", data) == "OK"
    for one in held:
        one.cancel()


def test_a_full_queue_is_resource_exhausted_with_a_time_to_try_again(tmp_path):
    bench = GrpcBench(tmp_path, queue=2, max_batch_size=1)
    data = make_message(raw_input_contents=[RAW[0][:768]], tensor={"shape": [1, 3, 8, 8]}).SerializeToString()
    bench.engine.gate.clear()
    try:
        with ThreadPoolExecutor(2) as pool:
            slow = [pool.submit(bench.call, "ModelInfer", data) for _ in range(2)]
            assert until(lambda: bench.pipeline.metrics.stream(":http").frames == 2)
            with pytest.raises(grpc.RpcError) as caught:
                bench.call("ModelInfer", data)
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert ("grpc-retry-pushback-ms", "1000") in caught.value.trailing_metadata()
            assert bench.client.is_server_live()
            bench.engine.gate.set()
            assert all(one.result(WAIT_S) for one in slow)
        bench.engine.failures = 1
        assert code_of(bench.call, "ModelInfer", data) == "INTERNAL"
        bench.predictions.models = lambda: 1 / 0
        assert code_of(bench.call, "ModelInfer", data) == "INTERNAL"
        assert bench.crashes.by_thread() == {"grpc-request": 1}
    finally:
        bench.close()


def test_who_has_no_token_learns_nothing_but_health(tmp_path):
    holders = (
        TokenHolder("scanner", Role.OPERATOR, hash_token(TOKEN)),
        TokenHolder("wall", Role.VIEWER, hash_token(READER)),
    )
    bench = GrpcBench(tmp_path, access=Access(lambda: holders, needs_token=True))
    data = make_message(raw_input_contents=RAW).SerializeToString()
    about = find_message("ModelMetadataRequest")(name="parts").SerializeToString()
    try:
        assert bench.client.is_server_live()
        assert bench.client.is_server_ready()
        for token, codes in {
            None: ("UNAUTHENTICATED", "UNAUTHENTICATED"),
            "x" * 20: ("UNAUTHENTICATED", "UNAUTHENTICATED"),
            READER: ("OK", "PERMISSION_DENIED"),
            TOKEN: ("OK", "OK"),
        }.items():
            metadata = () if token is None else (("authorization", f"Bearer {token}"),)
            found = [
                code_of(bench.call, call, given, metadata=metadata)
                for call, given in (("ModelMetadata", about), ("ModelInfer", data))
            ]
            assert tuple(found) == codes
    finally:
        bench.close()


@pytest.mark.parametrize(
    ("peer", "client"), [("ipv4:192.0.2.7:1234", "192.0.2.7"), ("ipv6:%5B2001:db8::1%5D:1234", "2001:db8::1")]
)
def test_guesses_are_counted_by_the_address_of_their_machine(peer, client):
    assert service.find_client(peer) == client


def test_a_taken_port_is_an_error_of_the_start(shared):
    other = GrpcServer("127.0.0.1", shared.grpc_port, 1000, SimpleNamespace, Crashes())
    with pytest.raises(PortUnavailable):
        other.start()
    other.stop()


def test_the_port_is_free_after_the_stop_and_calls_under_way_are_answered(tmp_path):
    bench = GrpcBench(tmp_path)
    data = make_message(raw_input_contents=RAW).SerializeToString()
    bench.engine.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        under_way = pool.submit(bench.call, "ModelInfer", data)
        assert until(lambda: bench.pipeline.metrics.stream(":http").frames)
        stopping = pool.submit(bench.grpc.stop)
        bench.engine.gate.set()
        assert under_way.result(WAIT_S)
        stopping.result(WAIT_S)
    again = GrpcServer("127.0.0.1", bench.grpc_port, 1000, SimpleNamespace, Crashes())
    assert until(lambda: _can_start(again))
    again.stop()
    bench.close()


def test_without_the_library_check_names_the_extra(tmp_path, monkeypatch):
    file = tmp_path / "box.yaml"
    file.write_text(
        "device: box\nmodels: {parts: {bundle: nowhere}}\ncameras: {belt: {path: a.mp4, model: parts}}\n"
        "http: {grpc_port: 8001}\n"
    )
    assert [one.where for one in check_config(file, {}).problems][1:] == []
    monkeypatch.setitem(sys.modules, "grpc", None)
    found = check_config(file, {}).problems[1]
    assert (found.where, found.line) == ("http.grpc_port", 4)
    assert "edge-runtime[grpc]" in found.expected


def _can_start(server):
    try:
        server.start()
    except PortUnavailable:
        return False
    return True


def test_windows_of_sensors_come_as_tensors_or_as_payloads(tmp_path):
    window = machine_windows(1)[0]
    tensor = make_preprocessor(signal_spec()).normalise(window.T.astype(np.float32))
    bench = GrpcBench(tmp_path, **make_signal_parts())
    try:
        assert list(bench.client.get_model_metadata("parts").inputs[0].shape) == [-1, 3, LENGTH]
        prepared = triton.InferInput("input", [1, 3, LENGTH], "FP32")
        prepared.set_data_from_numpy(tensor[None])
        payload = triton.InferInput("input", [1], "BYTES")
        data = write_payload(window, signal_spec().payload, CHANNELS)
        payload.set_data_from_numpy(np.array([data], dtype=object))
        for given in (prepared, payload):
            found = bench.client.infer("parts", [given]).as_numpy("scores")
            np.testing.assert_allclose(found, [tensor.mean(axis=1)], atol=1e-5)
    finally:
        bench.close()
