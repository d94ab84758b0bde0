"""The disk of a box fills for real, and a real Prometheus says so; and says when that is over."""

import signal

import pytest

from tests.support.prometheus import Prometheus
from tests.support.small_disk import fill, small_disk
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

DISK_LOW = "EdgeRuntimeDiskLow"


@pytest.fixture
def disk(box):
    """The state directory of the box, on a disk of 384 MiB."""
    with small_disk(box.state, 384) as disk:
        yield disk


def find_note(box):
    return next(
        (reason for reason in box.get("/healthz").json()["reasons"] if reason.startswith("disk: ")), ""
    )


def test_a_disk_that_fills_is_an_alert_until_there_is_room_again(box, disk):
    """It goes through both limits: that of the alert, and the lower one at which the box itself says so."""
    (box.folder / "inbox").mkdir()
    box.write(cameras={"inbox": {"path": str(box.folder / "inbox"), "watch": True, "model": "parts"}})
    box.start()
    with Prometheus(box.folder / "prometheus", box.port) as prometheus:
        assert until(lambda: prometheus.query("edge_runtime_state_disk_size_bytes") == [384 * 2**20])
        assert DISK_LOW not in prometheus.firing()
        fill(disk / "large", 160)
        assert until(lambda: DISK_LOW in prometheus.firing())
        assert find_note(box) == ""
        fill(disk / "larger", 180)
        assert until(lambda: find_note(box))
        assert box.get("/readyz").status_code == 200
        for name in ("large", "larger"):
            (disk / name).unlink()
        assert until(lambda: DISK_LOW not in prometheus.firing() and not find_note(box))
    box.process.send_signal(signal.SIGTERM)
    assert box.wait(WAIT_S) == 0
