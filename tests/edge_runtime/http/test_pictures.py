"""Pictures of cameras over HTTP: which frame, how large, who may have them, and what is said where there is none."""

import threading

import httpx
import pytest
import simplejpeg

from edge_runtime.http.pictures import MOST_REQUESTS
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.system.rfc3339 import format_rfc3339
from tests.support.http_bench import Bench
from tests.support.http_tokens import bearer, make_access
from tests.support.still_camera import CAPTURED_AT_S, HEIGHT, WIDTH, StillCamera
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


def open_bench(folder, camera, access=None):
    bench = Bench(folder, camera=camera, access=access)
    bench.client = httpx.Client(base_url=bench.url, timeout=WAIT_S, trust_env=False)
    return bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """For tests that leave it as it was."""
    bench = open_bench(tmp_path_factory.mktemp("bench"), StillCamera())
    yield bench
    bench.client.close()
    bench.close()


def test_it_is_the_next_frame_and_says_in_which_coordinates_results_are(bench):
    answer = bench.client.get("/cameras/belt/picture.jpg?max_side=40")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    height, width, _, _ = simplejpeg.decode_jpeg_header(answer.content)
    assert (width, height) == (40, 20)
    names = ("frame-seq", "frame-width", "frame-height")
    assert [int(answer.headers[name]) for name in names] == [len(bench.camera.asked), WIDTH, HEIGHT]
    assert answer.headers["captured-at"] == format_rfc3339(CAPTURED_AT_S)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/cameras/gate/picture.jpg", 403),
        ("/cameras/belt/picture.jpg?max_side=15", 400),
        ("/cameras/belt/picture.jpg?max_side=1921", 400),
        ("/cameras/belt/picture.jpg?max_side=-1", 400),
        ("/cameras/belt/other.jpg", 404),
    ],
)
def test_what_is_not_given_is_refused_with_a_reason(bench, path, code):
    answer = bench.client.get(path)
    assert answer.status_code == code
    assert isinstance(answer.json()["error"], str)
    assert bench.crashes.in_a_row() == {}


def test_a_page_from_elsewhere_gets_no_picture(bench):
    answer = bench.client.get("/cameras/belt/picture.jpg", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


def test_with_tokens_a_picture_needs_one_of_an_operator(tmp_path):
    bench = open_bench(tmp_path, StillCamera(), make_access())
    try:
        codes = [
            bench.client.get("/cameras/belt/picture.jpg", headers=headers).status_code
            for headers in ({}, bearer(Role.VIEWER), bearer(Role.OPERATOR))
        ]
    finally:
        bench.client.close()
        bench.close()
    assert codes == [401, 403, 200]


def test_a_silent_camera_is_503_and_its_frame_is_not_cancelled(tmp_path):
    camera = StillCamera(wait_s=0.05)
    bench = open_bench(tmp_path, camera)
    try:
        answer = bench.client.get("/cameras/silent/picture.jpg")
        assert answer.status_code == 503
        assert "silent" in answer.json()["error"]
        camera.coming.set_result(camera.frame())  # raises where it was cancelled
    finally:
        bench.client.close()
        bench.close()


def test_requests_that_gave_up_leave_nothing_at_a_camera_that_is_silent_for_days(tmp_path):
    camera, callbacks = StillCamera(wait_s=0.05), []
    camera.coming.add_done_callback = callbacks.append
    bench = open_bench(tmp_path, camera)
    try:
        codes = [bench.client.get("/cameras/silent/picture.jpg").status_code for _ in range(3)]
    finally:
        bench.client.close()
        bench.close()
    assert codes == [503] * 3
    assert len(callbacks) == 1


class SlowCamera(StillCamera):
    """Its pictures take until ``gate`` is set."""

    def __init__(self, wait_s):
        super().__init__(wait_s)
        self.gate, self.made = threading.Event(), []

    def make(self, stream, frame, max_side, quality):
        self.made.append(frame.seq)
        self.gate.wait(WAIT_S)
        return super().make(stream, frame, max_side, quality)


def test_a_picture_that_nobody_waits_for_any_more_is_not_made(tmp_path):
    camera = SlowCamera(wait_s=0.2)
    bench = open_bench(tmp_path, camera)
    try:
        codes = [bench.client.get("/cameras/belt/picture.jpg").status_code for _ in range(3)]
        camera.gate.set()
        camera.wait_s = WAIT_S
        codes.append(bench.client.get("/cameras/belt/picture.jpg").status_code)
    finally:
        camera.gate.set()
        bench.client.close()
        bench.close()
    assert codes == [503, 503, 503, 200]
    assert camera.made[-1] == 4
    assert len(camera.made) <= 2  # one was under way when its caller gave up


def test_so_many_wait_at_a_time_and_health_is_answered_meanwhile(tmp_path):
    camera = StillCamera()
    bench = open_bench(tmp_path, camera)
    codes = []

    def get():
        url = f"{bench.url}/cameras/silent/picture.jpg"
        codes.append(httpx.get(url, timeout=WAIT_S, trust_env=False).status_code)

    threads = [threading.Thread(target=get) for _ in range(MOST_REQUESTS + 1)]
    try:
        for thread in threads:
            thread.start()
        assert until(lambda: codes)  # the one that is too much
        assert codes == [429]
        assert bench.client.get("/healthz").status_code == 200
        camera.coming.set_result(camera.frame())
    finally:
        for thread in threads:
            thread.join(WAIT_S)
        bench.client.close()
        bench.close()
    assert codes == [429, *[200] * MOST_REQUESTS]
