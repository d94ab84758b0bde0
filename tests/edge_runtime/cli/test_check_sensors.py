"""Whether the memory of all sensors together is said before the box runs out of it."""

import pytest

from edge_runtime.cli.check_sensors import note_memory_of_sensors
from edge_runtime.config import Config
from edge_runtime.inference.signals.windows import measure_most_bytes
from tests.support.signal_bundles import signal_spec


def config_of(count, **keys):
    sensors = {f"pump{i}": {"path": "mqtt", "model": "machine", **keys} for i in range(count)}
    return Config.model_validate({
        "device": "box", "state_dir": "/nowhere", "models": {"machine": {"bundle": "machine"}},
        "mqtt": {"host": "localhost"}, "sensors": sensors,
    })  # fmt: skip


@pytest.mark.parametrize(("count", "is_said"), [(1, False), (40, True)])
def test_many_sensors_that_fit_alone_are_said_together(count, is_said):
    found = note_memory_of_sensors(config_of(count), {"machine": signal_spec()}, box_bytes=4 << 30)
    assert bool(found) is is_said


def test_long_windows_and_late_samples_take_more():
    usual = measure_most_bytes(signal_spec())
    assert measure_most_bytes(signal_spec(late_s=600)) > 3 * usual
    found = note_memory_of_sensors(config_of(1, late_s=3600), {"machine": signal_spec()}, box_bytes=256 << 20)
    assert "pump0" in found[0]


def test_sensors_that_are_off_or_whose_bundle_is_not_known_count_for_nothing():
    config = config_of(40, enabled=False)
    assert note_memory_of_sensors(config, {"machine": signal_spec()}, box_bytes=1 << 20) == []
    assert note_memory_of_sensors(config_of(40), {}, box_bytes=1 << 20) == []
