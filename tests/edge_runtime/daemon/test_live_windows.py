"""The next window of a sensor as a chart, from the frames that the daemon answers anyway."""

from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from calibration.report.window_chart import WindowChart
from edge_runtime.daemon.live_pictures import LivePictures
from edge_runtime.daemon.live_windows import LiveWindows
from edge_runtime.daemon.snapshots import NoPicture
from edge_runtime.datatypes import Frame
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.serving.refusals import Refusal
from tests.support.signal_bundles import LENGTH, machine_windows, signal_spec


class Cameras:
    """Streams by name: whether one is open."""

    def __init__(self):
        self.is_open = True

    def ask_frame(self, stream, max_side):
        if not self.is_open:
            return None
        coming = Future()
        coming.set_result(frame(machine_windows(1)[0]))
        return coming

    def describe_silence(self, stream, now_s):
        return "it has given none yet"


def frame(payload):
    return Frame("pump", 3, payload, 1.0, 2.0, None)


@pytest.fixture
def site():
    """A device with a sensor ``pump``."""
    spec = signal_spec()
    bundle = SimpleNamespace(manifest=SimpleNamespace(preprocess=spec))
    pipeline = SimpleNamespace(preprocessor=make_preprocessor(spec))
    models = {"machine": SimpleNamespace(bundle=bundle, pipeline=pipeline)}
    config = SimpleNamespace(sensors={"pump": SimpleNamespace(model="machine")}, cameras={})
    running, cameras = SimpleNamespace(config=config, models=models), Cameras()
    windows = LiveWindows(running, cameras)
    return SimpleNamespace(windows=windows, cameras=cameras, models=models, config=config)


def test_a_window_is_a_chart_of_its_channels(site):
    assert site.windows.has("pump")
    assert not site.windows.has("belt")
    made = site.windows.make("pump", site.windows.ask("pump").result(0))
    assert isinstance(made, WindowChart)
    assert all(f">{name}, g<" in made.svg for name in ("ax", "ay", "az"))


def test_a_window_that_is_refused_is_not_drawn(site):
    with pytest.raises(NoPicture):
        site.windows.make("pump", frame(np.full((LENGTH, 3), np.nan)))


def test_a_sensor_whose_model_is_gone_or_that_is_closed_gives_none(site):
    window = frame(machine_windows(1)[0])
    site.models.clear()
    with pytest.raises(NoPicture):
        site.windows.make("pump", window)
    site.config.sensors.clear()
    with pytest.raises(NoPicture):
        site.windows.make("pump", window)
    site.cameras.is_open = False
    with pytest.raises(NoPicture):
        site.windows.ask("pump")


def test_over_http_it_is_the_same_chart_and_each_refusal_has_its_code(site):
    pictures = LivePictures(None, site.windows, lambda: False)
    coming = pictures.ask("pump", 640).result(0)
    assert isinstance(pictures.make("pump", coming, 640, 75), WindowChart)
    assert pictures.describe_silence("pump").code == 503
    site.cameras.is_open = False
    with pytest.raises(Refusal) as refused:
        pictures.ask("pump", 640)
    assert refused.value.code == 503
