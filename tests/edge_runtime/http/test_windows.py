"""The next window of a sensor as a chart over HTTP."""

from xml.etree import ElementTree as ET

import httpx
import pytest

from edge_runtime.serving.access import Access
from edge_runtime.system.rfc3339 import format_rfc3339
from tests.support.http_bench import Bench
from tests.support.still_camera import CAPTURED_AT_S, StillCamera
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration


@pytest.fixture
def client(tmp_path):
    bench = Bench(tmp_path, camera=StillCamera(), access=Access())
    with httpx.Client(base_url=bench.url, timeout=WAIT_S, trust_env=False) as client:
        yield client
    bench.close()


def test_it_is_a_chart_that_may_run_nothing(client):
    answer = client.get("/sensors/pump/window.svg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert answer.headers["captured-at"] == format_rfc3339(CAPTURED_AT_S)
    assert answer.headers["frame-seq"] == "1"
    assert "sandbox" in answer.headers["content-security-policy"]
    ET.fromstring(answer.text)


@pytest.mark.parametrize(
    "path", ["/sensors/belt/window.svg", "/cameras/pump/picture.jpg", "/cameras/pump/preview.mjpg"]
)
def test_a_camera_has_no_window_and_a_sensor_no_picture(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert "/" in answer.json()["error"]
