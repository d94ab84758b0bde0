"""A daemon for each flow, and a broker for those that have one."""

import pytest

from tests.support.daemon_box import Box
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import WAIT_S


@pytest.fixture
def box(tmp_path):
    box = Box(tmp_path)
    yield box
    if box.process is not None and box.process.poll() is None:
        box.process.kill()
        box.process.wait(WAIT_S)
    box.check_results_file()


@pytest.fixture
def broker(tmp_path):
    with Mosquitto(tmp_path / "broker") as broker:
        yield broker
