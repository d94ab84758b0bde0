"""A daemon for each flow."""

import pytest

from tests.support.daemon_box import Box
from tests.support.waiting import WAIT_S


@pytest.fixture
def box(tmp_path):
    box = Box(tmp_path)
    yield box
    if box.process is not None and box.process.poll() is None:
        box.process.kill()
        box.process.wait(WAIT_S)
    box.check_results_file()
