"""Pictures of several cameras in one answer: what comes, what is refused, and what is still waited for."""

import base64
import threading
import time

import httpx
import pytest
import simplejpeg

from edge_runtime.http.live import LOOK_S, MOST_CAMERAS
from tests.support.http_bench import Bench
from tests.support.still_camera import HEIGHT, WIDTH, StillCamera
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path, camera=StillCamera())
    bench.client = httpx.Client(base_url=bench.url, timeout=WAIT_S, trust_env=False)
    yield bench
    bench.client.close()
    bench.close()


def look(bench, *cameras, **more):
    answer = bench.client.get("/live", params={"camera": cameras, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_camera_says_what_became_of_it(bench):
    found = {}

    def is_whole():  # a machine that is slow has one of them later
        found.update(look(bench, "belt", "yard", "gate", "silent", max_side=40))
        return sorted(one["camera"] for one in found["pictures"]) == ["belt", "yard"]

    assert until(is_whole)
    for one in found["pictures"]:
        height, width, _, _ = simplejpeg.decode_jpeg_header(base64.b64decode(one["jpeg"]))
        assert (width, height, one["width"], one["height"]) == (40, 20, WIDTH, HEIGHT)
    assert found["refused"].keys() == {"gate"}
    assert found["refused"]["gate"]["code"] == 403
    assert found["waiting"].keys() == {"silent"}


def test_it_waits_for_a_first_picture_as_long_as_it_is_asked_to(bench):
    began_s = time.monotonic()
    assert look(bench, "silent", longest_ms=0)["pictures"] == []
    threading.Timer(2 * LOOK_S, bench.camera.coming.set_result, (bench.camera.frame(),)).start()
    [one] = look(bench, "silent")["pictures"]
    assert one["camera"] == "silent"
    assert time.monotonic() - began_s > 2 * LOOK_S


def test_results_are_those_of_the_cameras_and_short(bench):
    bench.listed = [
        {"stream": "belt", "seq": 3, "captured_at": "x", "id": "1", "outputs": {"y": [0.5] * 1000}},
        {"stream": "roof", "seq": 3, "captured_at": "x", "id": "2", "top": []},
    ]
    [one] = look(bench, "belt")["results"]
    assert (one["seq"], one["outputs"]) == (3, {"y": None})


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?camera=belt&max_side=9",
        "?camera=belt&longest_ms=-1",
        "?" + "&".join(f"camera=c{n}" for n in range(MOST_CAMERAS + 1)),
        "?" + "&".join(["camera=belt"] * (MOST_CAMERAS + 1)),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(bench, query):
    answer = bench.client.get(f"/live{query}")
    assert (answer.status_code, type(answer.json()["error"])) == (400, str)
    assert bench.crashes.in_a_row() == {}


def test_a_sensor_gives_a_chart_and_the_values_of_its_results(bench):
    values = [{"name": "wear", "value": 0.5, "unit": "mm", "limits": "inside"}]
    bench.listed = [{"stream": "pump", "seq": 1, "captured_at": "x", "id": "1", "values": values}]
    found = {}

    def has_come():  # a machine that is slow has it later
        found.update(look(bench, "pump"))
        return found["pictures"]

    assert until(has_come)
    [one] = found["pictures"]
    assert one["svg"].startswith("<svg")
    assert "jpeg" not in one
    assert found["results"][0]["values"] == values
