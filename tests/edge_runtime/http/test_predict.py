"""Pictures that are posted: answered to their callers, or refused with a reason that says what to do."""

import socket
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import orjson
import pytest

from edge_runtime.http import request_body
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.predict_service import AROUND_BYTES
from tests.support.bundle_models import png
from tests.support.http_bench import DOCUMENT, MOST_BYTES, Bench
from tests.support.http_contract import Contract
from tests.support.http_tokens import bearer, make_access
from tests.support.pipeline_bench import make_pipeline
from tests.support.waiting import WAIT_S, pause, until

pytestmark = pytest.mark.integration

PICTURE = png(np.full((16, 16, 3), (10, 10, 250), np.uint8))
"""Red (in BGR), which the scripted engine answers with class a."""

CONTRACT = Contract(DOCUMENT)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def post(bench):
    with client_of(bench) as client:
        yield client.post


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """For tests that leave it as it is."""
    bench = Bench(tmp_path_factory.mktemp("bench"))
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def send(shared):
    with client_of(shared) as client:
        yield client.post


def client_of(bench):
    return httpx.Client(
        base_url=bench.url, timeout=WAIT_S, trust_env=False, event_hooks={"response": [CONTRACT.check]}
    )


def as_form(picture):
    return {"files": {"file": ("x.png", picture, "image/png")}}


def as_json(picture):
    return {"json": {"image": b64encode(picture).decode()}}


@pytest.mark.parametrize("path", ["/predict", "/predict/parts"])
@pytest.mark.parametrize("form", [lambda picture: {"content": picture}, as_form, as_json])
def test_a_picture_is_answered_as_a_result_is_published(shared, send, path, form):
    answer = send(path, **form(PICTURE))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found = answer.json()
    assert (found["model"], found["generation"], found["stream"]) == ("parts", "parts/1", ":http")
    assert found["top"][0]["label"] == "a"
    assert set(found["timings_ms"]) == {"decode", "prepare", "queue", "infer", "total"}
    assert shared.results == []  # not published


def test_a_large_body_in_parts_and_a_body_of_unknown_length_are_read(send):
    padded = PICTURE + bytes(150_000)  # behind the end of the picture
    assert send("/predict", content=padded).status_code == 200
    assert send("/predict", content=iter([PICTURE[:30], PICTURE[30:]])).status_code == 200
    assert send("/predict", **as_form(padded)).status_code == 200


@pytest.mark.parametrize("form", [lambda picture: {"content": picture}, as_form, as_json])
@pytest.mark.parametrize(
    ("picture", "reason"), [(b"words", "unsupported"), (b"", "empty"), (PICTURE[:60], None)]
)
def test_a_picture_that_cannot_be_used_is_422_with_its_reason(send, form, picture, reason):
    answer = send("/predict", **form(picture))
    assert answer.status_code == 422
    found = answer.json()
    assert found["rejected"] in ([reason] if reason else ["truncated", "unreadable"])
    assert found["detail"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b""),
        ("application/json", b"{"),
        ("application/json", b"[]"),
        ("application/json", b'{"image": 3}'),
        ("application/json", b'{"image": "%%%%"}'),
        ("application/json", b'{"image": "\xff"}'),
        ("application/json", b'{"picture": "aGk="}'),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n',
        ),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_400(send, content_type, body):
    answer = send("/predict", content=body, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_json_of_many_values_is_refused_before_it_takes_memory(send):
    body = b"[" * 100_000
    answer = send("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_a_body_that_is_too_long_is_413_whether_it_says_so_or_not(shared, send):
    with socket.create_connection(("127.0.0.1", shared.server.port), timeout=WAIT_S) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")  # no byte of it had to be sent
    assert send("/predict", **as_json(bytes(MOST_BYTES + 1))).status_code == 413  # of the picture itself
    most = str(MOST_BYTES * 4 // 3 + AROUND_BYTES + 1)
    chunks = b"%x\r\n" % int(most) + bytes(int(most)) + b"\r\n"
    with socket.create_connection(("127.0.0.1", shared.server.port), timeout=WAIT_S) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
        )
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_an_unknown_model_is_404_and_one_must_be_named_where_there_are_several(bench, post):
    answer = post("/predict/gears", content=PICTURE)
    assert answer.status_code == 404
    assert "parts" in answer.json()["error"]
    bench.models["gears"] = bench.models["parts"]
    assert post("/predict", content=PICTURE).status_code == 404
    assert post("/predict/gears", content=PICTURE).status_code == 200


def test_a_device_that_stops_or_has_no_model_says_503(bench, post):
    bench.models = {}
    assert post("/predict", content=PICTURE).status_code == 503
    assert post("/predict/parts", content=PICTURE).status_code == 503
    bench.is_stopping = True
    assert post("/predict/parts", content=PICTURE).status_code == 503


def test_a_model_that_was_replaced_meanwhile_answers_by_its_successor(bench, post):
    successor = make_pipeline()[0]
    before, is_first = bench.models, iter([True, True])

    def find():
        return before if next(is_first, False) else {"parts": type(before["parts"])(successor, None)}

    bench.pipeline.drain()
    bench.predictions.models = find
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, "/predict/parts", content=PICTURE)
        assert until(lambda: len(successor.scheduler))
        successor.step(timeout_s=0.0)
        assert answer.result(WAIT_S).status_code == 200


def test_a_model_that_ends_meanwhile_is_503(bench, post):
    bench.pipeline.drain()
    assert post("/predict", content=PICTURE).status_code == 503


def test_a_failing_engine_is_500_and_the_next_request_is_answered(bench, post):
    bench.engine.failures = 1
    answer = post("/predict", content=PICTURE)
    assert (answer.status_code, answer.json()["rejected"]) == (500, "engine_error")
    assert post("/predict", content=PICTURE).status_code == 200


def test_what_nobody_foresaw_is_500_counted_and_the_next_request_is_answered(bench, post):
    find, calls = bench.predictions.models, iter([1, 1])

    def fail_second():
        if next(calls, None) is None and bench.crashes.total == 0:
            raise OSError("bug")
        return find()

    next(calls)
    bench.predictions.models = fail_second
    assert post("/predict", content=PICTURE).status_code == 500
    assert bench.crashes.by_thread() == {"predict": 1}
    assert post("/predict", content=PICTURE).status_code == 200


def test_more_than_may_be_under_way_is_429_with_a_time_to_try_again_and_health_is_answered(tmp_path):
    bench = Bench(tmp_path, queue=2, max_batch_size=1)
    bench.engine.gate.clear()
    try:
        with ThreadPoolExecutor(2) as pool:
            slow = [pool.submit(_post, bench, PICTURE) for _ in range(2)]
            assert until(lambda: bench.pipeline.metrics.stream(":http").frames == 2)
            answer = _post(bench, PICTURE)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            assert _post(bench, bytes(MOST_BYTES)).status_code == 429  # its body was read to the end
            assert httpx.get(f"{bench.url}/healthz", trust_env=False, timeout=WAIT_S).status_code == 200
            bench.engine.gate.set()
            assert [one.result(WAIT_S).status_code for one in slow] == [200, 200]
        assert _post(bench, PICTURE).status_code == 200
    finally:
        bench.close()


def test_an_answer_that_takes_too_long_is_504_and_its_sample_is_dropped(tmp_path):
    bench = Bench(tmp_path, timeout_s=0.3, max_batch_size=1)
    bench.engine.gate.clear()
    try:
        with ThreadPoolExecutor(2) as pool:
            codes = [
                one.result(WAIT_S).status_code for one in [pool.submit(_post, bench, PICTURE) for _ in "ab"]
            ]
        assert codes == [504, 504]
        bench.engine.gate.set()
        assert until(bench.pipeline.is_idle)
        counters = bench.pipeline.scheduler.counters
        assert counters.taken + counters.dropped_stale == counters.offered
        assert bench.engine.batch_sizes in ([1], [1, 1])
    finally:
        bench.close()


def test_an_answer_that_takes_longer_than_a_client_may_is_waited_for(tmp_path, monkeypatch):
    """The limits of connections are for slow clients; here the model is slow."""
    from edge_runtime.http import bounded_protocol

    monkeypatch.setattr(bounded_protocol, "STALL_S", 0.1)
    monkeypatch.setattr(bounded_protocol, "_CHECK_S", 0.02)
    bench = Bench(tmp_path)
    bench.engine.gate.clear()
    try:
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(_post, bench, PICTURE)
            assert until(lambda: bench.engine.batch_sizes)
            pause(0.5)
            bench.engine.gate.set()
            assert slow.result(WAIT_S).status_code == 200
    finally:
        bench.close()


def test_a_body_that_comes_too_slowly_is_408(shared, monkeypatch):
    monkeypatch.setattr(request_body, "BODY_S", 0.1)
    with socket.create_connection(("127.0.0.1", shared.server.port), timeout=WAIT_S) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n12345")
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_page_from_elsewhere_and_a_caller_without_a_token_have_nothing_answered(tmp_path):
    bench = Bench(tmp_path, access=make_access())
    try:
        refused = _post(bench, PICTURE)
        assert (refused.status_code, refused.headers["www-authenticate"][:6]) == (401, "Bearer")
        assert _post(bench, PICTURE, **bearer(Role.VIEWER)).status_code == 403
        right = bearer(Role.OPERATOR)
        assert _post(bench, PICTURE, **right, Origin="http://evil.example").status_code == 403
        assert _post(bench, PICTURE, **right).status_code == 200
        assert bench.pipeline.metrics.stream(":http").frames == 1
    finally:
        bench.close()


def test_encoded_bodies_are_refused(send):
    assert send("/predict", content=PICTURE, headers={"content-encoding": "gzip"}).status_code == 415


def test_errors_of_the_server_itself_have_the_same_form(shared):
    answer = httpx.get(f"{shared.url}/predict", trust_env=False, timeout=WAIT_S)
    assert (answer.status_code, list(orjson.loads(answer.content))) == (405, ["error"])
    assert answer.headers["allow"] == "POST"


def _post(bench, picture, **headers):
    return httpx.post(
        f"{bench.url}/predict", content=picture, headers=headers, trust_env=False, timeout=WAIT_S
    )
