"""Windows of a whole daemon's sensor, recorded by the command and answered again: same numbers, same answers."""

import json

import numpy as np
import pytest

from edge_runtime.recordings.reader import open_recording
from tests.support.command_line import run_command
from tests.support.daemon_box import Box
from tests.support.signal_bundles import CHANNELS, LENGTH, RATE_HZ, build_signal_bundle, machine_windows
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

BEGAN_S = 1_700_000_000.0003


@pytest.fixture(scope="module")
def signal():
    """Four windows of samples with times: of the second one value is missing, of the third more than may be."""
    samples = np.concatenate(machine_windows(4, seed=31))
    samples[LENGTH + 7, 1] = np.nan
    samples[2 * LENGTH : 2 * LENGTH + 100, 2] = np.nan
    return samples


@pytest.fixture(scope="module")
def site(tmp_path_factory, signal):
    """A box whose sensor reads a table, a bundle, and a recording of both."""
    folder = tmp_path_factory.mktemp("site")
    bundle = build_signal_bundle(folder / "bundles")
    times = BEGAN_S + np.arange(len(signal)) / RATE_HZ
    rows = [",".join(["t", *CHANNELS])]
    for time_s, row in zip(times.tolist(), signal.tolist(), strict=True):
        rows.append(",".join([repr(time_s), *("" if np.isnan(one) else repr(one) for one in row)]))
    (folder / "pump.csv").write_text("\n".join(rows))
    box = Box(folder)
    model = {"bundle": str(bundle.parent), "recalibrate": False, "max_age_ms": None}
    sensor = {"path": str(folder / "pump.csv"), "model": "machine", "payload": {"format": "csv", "time": "t"}}
    keys = {"pace": "fastest", "loop": True, "recordings": True}
    box.write(models={"machine": model}, sensors={"pump": {**sensor, **keys}})
    box.start()
    assert until(lambda: len(box.results()) > 2), box.log()
    words = (
        "--state-dir",
        box.state,
        "--out",
        folder / "recording",
        "--frames",
        16,
        "--for",
        WAIT_S,
        "--json",
    )
    recorded = run_command("record", *words)
    box.process.terminate()
    box.wait()
    assert recorded[0] == 0, box.log()
    return folder


def test_windows_are_kept_as_they_came_with_their_times_and_missing_values(site, signal):
    recording = open_recording(site / "recording")
    assert recording.manifest.cameras == {"pump": "machine"}
    windows, seen = signal.reshape(4, LENGTH, 3), set()
    for line in recording.frames:
        frame = recording.read_frame(line)
        number = round((frame.captured_at_wall_s - BEGAN_S) * RATE_HZ) // LENGTH
        last_s = BEGAN_S + (LENGTH * (number + 1) - 1) / RATE_HZ
        assert frame.captured_at_wall_s == pytest.approx(last_s, abs=1e-6)
        assert (frame.payload.dtype, frame.rate_hz, frame.channels) == (np.float64, RATE_HZ, CHANNELS)
        np.testing.assert_array_equal(frame.payload, windows[number])
        seen.add(number)
    assert seen == {0, 1, 2, 3}


def test_windows_are_answered_again_as_they_were(site):
    code, written = run_command("replay", site / "recording", "--bundle", site / "bundles/machine", "--json")
    [found] = json.loads(written)["models"]
    assert code == 0
    assert found["compared"] == found["same"] >= 12
    assert found["worst"] == 0.0


def test_two_versions_are_compared_on_windows(site, tmp_path):
    bundle = site / "bundles/machine/1"
    out = tmp_path / "page.html"
    code, written = run_command("compare", site / "recording", bundle, bundle, "--out", out, "--json")
    assert code == 0
    assert json.loads(written)["agreement"] == 1.0
