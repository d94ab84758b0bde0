"""Pictures of a camera one after the other: how many, for how many clients, and none without clients."""

import re

import httpx
import pytest
import simplejpeg

from edge_runtime.http import preview
from edge_runtime.http.preview import MOST_CLIENTS
from edge_runtime.messaging.commands.roles import Role
from tests.support.http_bench import Bench
from tests.support.http_tokens import bearer, make_access
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.client = httpx.Client(base_url=bench.url, timeout=WAIT_S, trust_env=False)
    yield bench
    bench.client.close()
    bench.close()


def open_stream(bench, path, **headers):
    return bench.client.send(bench.client.build_request("GET", path, headers=headers), stream=True)


def read_parts(answer):
    """Headers and bytes of each part, as a browser reads them."""
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    buffer = b""
    for chunk in answer.iter_bytes():
        buffer += chunk
        while (found := re.match(rb"--%b\r\n(.*?)\r\n\r\n" % boundary, buffer, re.DOTALL)) is not None:
            headers = dict(line.split(b": ") for line in found[1].split(b"\r\n"))
            end = found.end() + int(headers[b"Content-Length"])
            if not buffer[end:].startswith(b"\r\n--" + boundary):
                break
            yield headers, buffer[found.end() : end]
            buffer = buffer[end + 2 :]


def test_pictures_come_one_after_the_other_as_long_as_there_is_a_client(bench):
    answer = open_stream(bench, "/cameras/belt/preview.mjpg?max_side=40&fps=5")
    assert answer.headers["content-type"].startswith("multipart/x-mixed-replace; boundary=")
    parts = read_parts(answer)
    seen = [next(parts) for _ in range(3)]
    assert [int(headers[b"Frame-Seq"]) for headers, _ in seen] == [1, 2, 3]
    height, width, _, _ = simplejpeg.decode_jpeg_header(seen[0][1])
    assert (width, height) == (40, 20)
    answer.close()
    server = bench.server._server
    assert until(lambda: not server.server_state.connections)
    asked = len(bench.camera.asked)
    assert bench.client.get("/healthz").status_code == 200
    assert len(bench.camera.asked) == asked


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("gate/preview.mjpg", 403),
        ("belt/preview.mjpg?fps=0", 400),
        ("belt/preview.mjpg?fps=6", 400),
        ("belt/preview.mjpg?fps=nan", 400),
        ("belt/preview.mjpg?fps=1e-9", 400),
        ("belt/preview.mjpg?max_side=5", 400),
    ],
)
def test_what_cannot_be_shown_is_refused_before_it_begins(bench, path, code):
    assert bench.client.get(f"/cameras/{path}").status_code == code


def test_a_camera_that_is_silent_for_a_while_goes_on_and_one_that_may_not_leave_ends_it(bench, monkeypatch):
    monkeypatch.setattr(preview, "AGAIN_S", 0.0)
    bench.camera.wait_s = 0.05
    answer = open_stream(bench, "/cameras/belt/preview.mjpg?fps=5")
    parts = read_parts(answer)
    next(parts)
    take, ask = iter(["silent", "silent", "belt", "gate"]), bench.camera.ask
    bench.camera.ask = lambda _, max_side: ask(next(take), max_side)
    assert len(list(parts)) == 1
    assert next(take, None) is None
    assert bench.crashes.in_a_row() == {}


def test_clients_are_bounded_and_their_places_are_given_back(bench):
    opened = [open_stream(bench, "/cameras/belt/preview.mjpg") for _ in range(MOST_CLIENTS)]
    assert {one.status_code for one in opened} == {200}
    assert bench.client.get("/cameras/belt/preview.mjpg").status_code == 429
    assert bench.client.get("/cameras/gate/preview.mjpg").status_code == 429
    for one in opened:
        one.close()

    def is_free():
        answer = open_stream(bench, "/cameras/belt/preview.mjpg")
        answer.close()
        return answer.status_code == 200

    assert until(is_free)


def test_it_needs_an_operator(tmp_path):
    bench = Bench(tmp_path, access=make_access())
    try:
        answer = httpx.get(
            f"{bench.url}/cameras/belt/preview.mjpg", headers=bearer(Role.VIEWER), trust_env=False
        )
        assert answer.status_code == 403
    finally:
        bench.close()
