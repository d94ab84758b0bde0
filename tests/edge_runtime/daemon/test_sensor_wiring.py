from types import SimpleNamespace

import pytest

from edge_runtime.config import SensorConfig
from edge_runtime.daemon.wiring.sensors import make_spec_finder
from edge_runtime.deployment.stream_input import adapt_spec
from edge_runtime.errors import SourceLost
from tests.support.signal_bundles import signal_spec
from tests.support.small_site import PREPROCESS


def feeding(spec):
    """What gives the pipeline that windows go to."""
    return lambda: SimpleNamespace(preprocessor=SimpleNamespace(spec=spec))


def sensor(**keys):
    return SensorConfig.model_validate({"path": "mqtt", "model": "m", **keys})


def test_a_stream_says_only_what_differs_from_the_bundle():
    spec = signal_spec(payload={"format": "csv", "time": "t", "delimiter": ";"}, late_s=2.0)
    found = adapt_spec(spec, sensor(payload={"decimal": ",", "rate_hz": 50}, hop=64))
    assert (found.payload.format, found.payload.delimiter, found.payload.decimal) == ("csv", ";", ",")
    assert (found.late_s, found.hop, found.input_rate_hz, found.input_length) == (2.0, 64, 50, 128)
    assert adapt_spec(spec, sensor(payload={"time": ""}, late_s=0)).payload.time is None


def test_the_spec_in_force_is_found_anew_when_another_bundle_answers():
    pipelines = [feeding(signal_spec())()]
    find = make_spec_finder(lambda: pipelines[-1], "pump", sensor())
    first = find()
    assert find() is first
    pipelines.append(feeding(signal_spec(hop=32))())
    assert find().hop == 32


def test_a_model_of_pictures_gives_a_sensor_no_windows():
    with pytest.raises(SourceLost):
        make_spec_finder(feeding(PREPROCESS), "pump", sensor())()


def test_a_payload_that_fits_the_bundle_not_is_a_lost_source():
    spec = signal_spec(payload={"format": "csv", "delimiter": ";", "decimal": ","})
    with pytest.raises(SourceLost):
        make_spec_finder(feeding(spec), "pump", sensor(payload={"delimiter": ","}))()


@pytest.mark.parametrize("keys", [{"payload": {"rate_hz": 10_000_000}}, {"hop": 2**62}])
def test_windows_that_would_take_all_memory_are_a_lost_source(keys):
    with pytest.raises(SourceLost):
        make_spec_finder(feeding(signal_spec(rate_hz=1, length=64)), "pump", sensor(**keys))()
