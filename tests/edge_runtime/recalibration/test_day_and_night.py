"""A real model's first taps, real pictures: infrared at night, once commissioned, is no drift; haze and noise are."""

from pathlib import Path

import numpy as np
import pytest

import calibration
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.config import DemoConfig, DriftConfig
from edge_runtime.datatypes import Frame, Sample
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.recalibration.drift.baseline_selector import KnownBaselines
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.sources.demo.demo_camera import DemoCamera
from tests.support.paths import DEMO

pytestmark = pytest.mark.integration

BUNDLE = DEMO / "bundle" / "efficientnet-lite0" / "1"
SETTINGS = DriftConfig(window_frames=16, sample_every_s=0.1)

APART = 10


class Camera:
    """The demo's conveyor through the bundle's preprocessing."""

    def __init__(self, bundle):
        self.preprocessor = PicturePreprocessor(bundle.manifest.preprocess)
        self.seq = 0

    def frames(self, count, light=None):
        """(N,3,224,224) under a light, sampled every ``APART`` frames; none is shown twice."""
        source = DemoCamera("belt", DEMO / "pictures", DemoConfig(drift=light, drift_at_s=0.0), fps=10.0)
        self.seq += count
        shown = (source.frame(i * APART) for i in range(self.seq - count, self.seq))
        return np.stack([self.prepared(picture) for picture in shown])

    def prepared(self, picture):
        sample = self.preprocessor.prepare(Frame("belt", 0, picture, 0.0, 0.0))
        assert isinstance(sample, Sample)
        return sample.tensor


@pytest.fixture(scope="module")
def site():
    """The camera, and what it takes to watch for day and night."""
    bundle = load_bundle(BUNDLE)
    camera, model = Camera(bundle), bundle.model_files.data
    lights = {"day": None, "night": "grey"}
    known = {name: calibration.snapshot(model, camera.frames(64, light)) for name, light in lights.items()}
    return camera, known, calibration.probe(model)


class WatchedSite:
    """A watch of the site's states that begins by day."""

    def __init__(self, site, *names):
        self.camera, known, probe = site
        states = KnownBaselines({name: known[name] for name in names}, "day")
        engine = OnnxEngine(probe)
        self.watch = DriftWatch(lambda path: engine)
        self.watch.open(states, Path("probe"), SETTINGS)
        self.at_s = 0.0

    def shows(self, light, frames=64):
        noticed = []
        for tensor in self.camera.frames(frames, light):
            self.at_s += 0.1
            noticed.append(self.watch.look(tensor, self.at_s))
        return [change for change in noticed if change is not None]


def test_night_and_day_come_and_go_without_an_alarm(site):
    watched = WatchedSite(site, "day", "night")
    noticed = [watched.shows(light) for light in (None, "grey", None, "grey")]
    assert noticed == [[], ["switched"], ["switched"], ["switched"]]
    assert watched.watch.in_use == "night"


def test_without_a_baseline_of_the_night_it_is_a_drift(site):
    watched = WatchedSite(site, "day")
    assert watched.shows(None) == []
    assert watched.shows("grey") == ["alarm"]
    assert watched.shows(None) == ["returned"]


@pytest.mark.parametrize("drift", ["haze", "noise"])
def test_a_drift_by_day_alarms_although_the_night_is_known(site, drift):
    watched = WatchedSite(site, "day", "night")
    assert watched.shows(None) == []
    assert watched.shows(drift) == ["alarm"]
    assert watched.watch.in_use == "day"


def test_a_drift_that_becomes_known_is_recognised_until_its_patch_is_gone(site):
    camera, *_ = site
    watched = WatchedSite(site, "day")
    haze = calibration.snapshot(BUNDLE / "model.onnx", camera.frames(64, "haze"))
    watched.watch.follow_drifts({"p1": haze})
    watched.watch.follow_drifts({"p1": haze})  # watched already
    assert watched.shows(None) == []
    assert watched.watch.known_drift is None
    assert watched.shows("haze") == ["alarm"]
    assert watched.watch.known_drift == "p1"
    watched.watch.follow_drifts({})
    watched.shows("haze", 1)
    assert watched.watch.known_drift is None
