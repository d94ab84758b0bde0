"""A real watch, a real engine and real jobs, in one thread: a drift, its end, the same drift again, and another one."""

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.config import CommissionConfig, DriftConfig, RecalibrationConfig, ReferenceConfig
from edge_runtime.daemon.wiring.recalibration import identify_bundle
from edge_runtime.datatypes import Generation, Label, Result, Sample, Timings
from edge_runtime.deployment.deployment import Deployment
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.patch_trial import PatchTrial
from edge_runtime.deployment.rollout import Rollout
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.messaging.events import Recalibrated, RolledBack
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.controller import RecalibrationController
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.task import TaskRequest
from edge_runtime.system.supervised_thread import Crashes
from tests.support.controller_bench import Clock
from tests.support.jobs import run_job
from tests.support.onnx_nets import hazy
from tests.support.pipeline_bench import make_pipeline
from tests.support.small_site import frames_of, small_bundle

pytestmark = pytest.mark.integration

WINDOW = 32


def yellow(x):
    """As under a sodium lamp: less blue, and all of it flatter."""
    return x * np.float32([0.7, 0.6, 0.3]).reshape(3, 1, 1) + np.float32([0.2, 0.1, -0.4]).reshape(3, 1, 1)


class FinishedJob:
    """A job that is done when it has been started."""

    def __init__(self, folder, request, pixels, deadline_s):
        self.request, self.progress, self._result = request, None, run_job(folder, request, pixels)

    def poll(self, now_s):
        return self._result

    def kill(self):
        pass


class Site:
    """A camera before a controller whose parts are all real."""

    def __init__(self, folder):
        bundle = small_bundle(folder)
        self.preprocessor, self.clock = PicturePreprocessor(bundle.manifest.preprocess), Clock()
        self.events, self.jobs, self.seq = [], [], 0
        state = ModelState.open(folder / "state", "small")
        rollout = Rollout(Generation(bundle.id))
        self.slot = EngineSlot(rollout.active, OnnxEngine(bundle.model_files.data))

        def build(patched):
            return OnnxEngine(bundle.model_files.data if patched is None else patched.model.data)

        deployment, crashes = Deployment(rollout, self.slot, state, build), Crashes()
        pipeline, _, _ = make_pipeline(slot=self.slot)
        drift = DriftConfig(window_frames=WINDOW, sample_every_s=0.1, cooldown_s=1)
        self.controller = RecalibrationController(
            ModelContext(
                "small",
                bundle.path,
                identify_bundle(bundle),
                state,
                self.events.append,
                self.clock,
                self.clock,
            ),
            RecalibrationConfig(
                commission=CommissionConfig(frames=128),
                reference=ReferenceConfig(frames=48, persist=False),
                cooldown_s=1,
            ),
            drift,
            deployment=deployment,
            watch=DriftWatch(lambda path: OnnxEngine(Path(path).read_bytes())),
            start_job=self._start,
            next_due_wall_s=lambda schedule, after: None,
            trial=PatchTrial("small", pipeline, deployment, state.folder, crashes),
            crashes=crashes,
        )

    def _start(self, *arguments):
        self.jobs.append(FinishedJob(*arguments))
        return self.jobs[-1]

    def shows(self, count, drift=lambda x: x):
        """So many frames, each sampled and answered; gives the patch that is active then."""
        for pixels in frames_of(count, 100 + self.seq, drift):
            self.clock.now += 1.0
            at_s = self.clock.now
            tensor = self.preprocessor.normalise(pixels)
            logits = self.slot.engine.infer(tensor[np.newaxis])["logits"][0]
            sample = Sample("belt", self.seq, tensor, pixels, None, at_s, at_s, at_s, 0.0, 0.0)
            top = (Label(int(logits.argmax()), "x", 0.9),)
            timings = Timings(0, 0, 0, 0, 0)
            self.seq += 1
            self.controller.offer(
                sample, Result("box", "belt", self.seq, at_s, "small", "small/1", timings, top)
            )
            self.controller.tick(timeout_s=0.001)
        return self.slot.generation.patch

    def commission(self):
        self.controller.request(TaskRequest("commission"))
        self.shows(140)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    site.commission()
    return site


def known_reports(site):
    """Of the jobs that were given a known patch."""
    return [job.poll(0.0) for job in site.jobs if job.request.known]


def test_a_drift_its_end_the_same_drift_and_another_one(site):
    assert site.controller.status().commissioned
    assert site.shows(100) is None
    assert site.shows(200, hazy) == "p1"
    assert site.shows(200) is None
    assert any(isinstance(event, RolledBack) for event in site.events)
    assert known_reports(site) == []

    assert site.shows(200, hazy) == "p1"
    [again] = known_reports(site)
    assert (again.is_known, again.candidate, again.frames.distilled_from) == (True, "p1", 0)
    assert [event.report for event in site.events if isinstance(event, Recalibrated)][-1].is_known

    assert site.shows(200) is None
    assert site.shows(200, yellow) == "p2"
    assert len(known_reports(site)) == 1
    assert site.shows(200) is None
    assert site.shows(200, yellow) == "p2"
    assert [report.candidate for report in known_reports(site)] == ["p1", "p2"]
