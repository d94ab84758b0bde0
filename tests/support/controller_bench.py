"""A recalibration controller without its thread: ``tick`` by hand, a scripted drift watch and scripted jobs."""

import hashlib
from dataclasses import replace

import numpy as np
import orjson

from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import BaselineFacts
from calibration.stats.moments import Moments, moments_of_frames
from edge_runtime.config import (
    CommissionConfig,
    DriftConfig,
    RecalibrationConfig,
    ReferenceConfig,
    RolloutConfig,
)
from edge_runtime.datatypes import Generation, Label, Result, Sample, Timings
from edge_runtime.deployment.deployment import Deployment
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.patch_trial import PatchTrial
from edge_runtime.deployment.rollout import Rollout
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.messaging.event_forms import as_data
from edge_runtime.messaging.events import RecalibrationReport
from edge_runtime.recalibration.baselines.store import BaselineStore
from edge_runtime.recalibration.context import Identity, ModelContext
from edge_runtime.recalibration.controller import RecalibrationController
from edge_runtime.recalibration.job.messages import CommissioningResult, JobFailure
from edge_runtime.recalibration.task import Approval, TaskRequest
from edge_runtime.system.supervised_thread import Crashes
from tests.support.fake_engine import FakeEngine
from tests.support.pipeline_bench import NEVER, make_frame, make_pipeline
from tests.support.waiting import until
from tools.document.event_examples import FIGURES, a_report

BASE = Generation("parts/1")
IDENTITY = Identity("parts/1", "a" * 64, "spec", "b" * 64)
PAGE = "<!-- pictures begin --><img><!-- pictures end --><p>page</p>"
SHADOW = {"shadow": {"cpu": 200}}
"""One that rests would only take time."""
BATCH = np.zeros((1, 3, 8, 8), np.float32)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class ScriptedWatch:
    """A drift watch whose changes the test decides: "alarm", "returned", or the name of a baseline to switch to."""

    def __init__(self):
        self.changes, self.score, self.is_drifted, self.is_open = [], 1.0, False, False
        self.window_began_at_s, self.is_quiet = 0.0, False
        self.in_use, self.known_drift, self.known = None, None, None
        self.nearer_to = None

    def open(self, known, probe, settings):
        self.__init__()
        self.known, self.in_use, self.is_open = known, known.in_use, True

    def close(self):
        self.in_use, self.is_open = None, False

    def follow_drifts(self, drifts):
        self.known = replace(self.known, drifts=drifts)

    def look(self, tensor, at_s, result):
        change = self.changes.pop(0) if self.changes else None
        if change is not None and change not in ("alarm", "returned"):
            self.in_use, change = change, "switched"
        self.is_drifted = {"alarm": True, "returned": False, "switched": False, None: self.is_drifted}[change]
        return change

    @property
    def drift_score(self):
        return self.score if self.is_open and self.is_drifted else None

    def is_nearer_to_drift(self, patch):
        return self.nearer_to == patch

    def scores(self):
        return {self.in_use: (self.score, 0.5)} if self.is_open else {}

    def figures(self):
        return replace(FIGURES, score=self.score, threshold=0.5)


class ScriptedJob:
    """A job that ends when the test says so."""

    def __init__(self, folder, request, pixels, deadline_s):
        self.folder, self.request, self.pixels, self.deadline_s = folder, request, pixels, deadline_s
        self.outcome, self.progress, self.is_killed = None, None, False

    def poll(self, now_s):
        return self.outcome

    def kill(self):
        self.is_killed = True

    def end(self, result, model=b"patched"):
        if isinstance(result, RecalibrationReport):
            sha256 = hashlib.sha256(model).hexdigest() if result.accepted else result.model_sha256
            from_id = result.baseline_id or Baseline.load(self.request.baseline).id
            result = replace(result, cause=self.request.cause, model_sha256=sha256, baseline_id=from_id)
            result = replace(result, reference=self.request.reference.name, dry_run=self.request.is_dry_run)
            is_new = result.accepted and not result.is_known
            patch = self.folder / "patch"
            if is_new:
                patch.mkdir()
                (patch / "model.onnx").write_bytes(model)
                (patch / "patch.safetensors").write_bytes(b"patch")
            place = patch if is_new and not self.request.is_dry_run else self.folder / "report"
            place.mkdir(exist_ok=True)
            (place / "report.json").write_bytes(orjson.dumps(as_data(result)))
            (place / "report.html").write_text(PAGE)
        self.outcome = result

    def fail(self, error, *, is_lasting=False):
        self.outcome = JobFailure(error, is_lasting)


def a_baseline(seed=0, facts=None):
    """A small real baseline of the model that ``IDENTITY`` speaks of."""
    x = np.random.default_rng(seed).normal(seed, 1.0, (16, 3, 4, 4)).astype(np.float32)
    seen = moments_of_frames(x)
    taps = Moments({"input": seen.pool()})
    known = facts or BaselineFacts()
    return Baseline(taps, {"input": seen}, "a" * 64, (3, 4, 4), 16, 16.0, 1000.0 + seed, "0.1", facts=known)


class ControllerBench:
    """A controller and all its collaborators; only watch, job and engine are scripted."""

    def __init__(
        self,
        tmp_path,
        *,
        commissioned=True,
        automatic=False,
        schedule_due=None,
        rollout=None,
        reference=None,
        clock=None,
        envelope=None,
        threshold=None,
        window_s=0.0,
        **settings,
    ):
        self.clock, self.events, self.jobs = clock or Clock(), [], []
        self.watch = watch = ScriptedWatch()
        self.model_state = ModelState.open(tmp_path, "parts")
        self.store = BaselineStore(self.model_state.baselines)
        if commissioned and not self.store.list_names():
            self.store.put(a_baseline())
        rollout = rollout or Rollout(BASE)
        self.slot = EngineSlot(rollout.active, FakeEngine())
        self.pipeline, self.results, _ = make_pipeline(slot=self.slot, max_age_s=1e9)
        self.version, self.patched, self.crashes = None, [], Crashes()
        self.make_patched = FakeEngine
        self.build_error = self.start_error = None
        self.deployment = Deployment(rollout, self.slot, self.model_state, self._build)
        self.due = schedule_due
        self.seq = self.frame = 0
        self.settings = RecalibrationConfig(
            commission=CommissionConfig(frames=16, automatic=automatic),
            reference=ReferenceConfig(**{"frames": 8, "reservoir": 32, **(reference or {})}),
            **{"min_frames": 8, "cooldown_s": 60, **settings},
        )
        self.drift, self.rollout = DriftConfig(sample_every_s=0.1), RolloutConfig.model_validate(SHADOW)
        context = ModelContext(
            "parts",
            tmp_path / "bundle",
            IDENTITY,
            self.model_state,
            self.events.append,
            self.clock,
            self.clock,
            envelope=envelope,
            threshold=threshold,
            window_s=window_s,
        )
        self.controller = RecalibrationController(
            context,
            self.settings,
            self.drift,
            deployment=self.deployment,
            watch=watch,
            start_job=self._start,
            next_due_wall_s=lambda schedule, after: self.due,
            trial=PatchTrial(
                "parts",
                self.pipeline,
                self.deployment,
                self.model_state.folder,
                self.crashes,
                find_version=lambda: self.version,
                clock=self.clock,
                wall_clock=self.clock,
            ),
            rollout=self.rollout,
            crashes=self.crashes,
        )
        self.reference = self.controller._reference

    def _build(self, model):
        if self.build_error:
            raise self.build_error
        if model is None:
            return FakeEngine()
        self.patched.append(self.make_patched())
        return self.patched[-1]

    def _start(self, folder, request, pixels, deadline_s):
        if self.start_error:
            raise self.start_error
        folder.mkdir(parents=True, exist_ok=True)
        self.jobs.append(ScriptedJob(folder, request, pixels, deadline_s))
        return self.jobs[-1]

    def feed(self, frames, label=None):
        for _ in range(frames):
            self.clock.now += 1.0
            pixels = np.random.default_rng(self.seq).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            at_s = self.clock.now
            sample = Sample("belt", self.seq, BATCH[0], pixels, None, at_s, at_s, at_s, 0.0, 0.0)
            top = (Label(self.seq % 4 if label is None else label, "x", 0.9),)
            result = Result("box", "belt", self.seq, at_s, "parts", "parts/1", Timings(0, 0, 0, 0, 0), top)
            self.seq += 1
            self.controller.offer(sample, result)
            self.controller.tick(timeout_s=0.001)

    def play(self, frames):
        """Answer frames with the pipeline, as fast as a patch in the shadow takes them."""
        for _ in range(frames):
            before = self.shadow_frames()
            self.play_alone()
            if before is not None:
                assert until(lambda before=before: self.shadow_frames() > before)

    def play_alone(self):
        """Answer a frame, whatever the shadow does."""
        self.pipeline.accept(make_frame(self.frame), is_live=True, stop=NEVER)
        self.frame += 1
        while not self.pipeline.is_empty():
            self.pipeline.step(0.0)

    def shadow_frames(self):
        """That the patch in the shadow has answered; None while none is there."""
        shadow = self.controller.status().shadow
        return None if shadow is None or shadow.shadow_s is None else shadow.frames

    def edit(self, limits=None, **settings):
        """An edit of the configuration."""
        self.settings = self.settings.model_copy(update=settings)
        if limits is not None:
            self.rollout = RolloutConfig.model_validate({**SHADOW, "limits": limits})
        self.controller.reconfigure(self.settings, self.drift, self.rollout)
        self.tick()

    def tick(self, seconds=0.0):
        self.clock.now += seconds
        self.controller.tick(timeout_s=0.001)

    def request(self, verb, **arguments):
        approval = Approval(arguments.pop("name", None), arguments.pop("expires_days", None))
        future = self.controller.request(TaskRequest(verb, approval=approval, **arguments))
        self.tick()
        return future.result(timeout=0)

    def kinds(self):
        return [fact.kind for fact in self.events]

    @property
    def last_event(self):
        """The newest event."""
        return self.events[-1]

    def commission(self, name=None, seed=1, **arguments):
        """The whole of it: request, feed, end the job with a baseline such as the job would make."""
        self.request("commission", name=name, **arguments)
        self.feed(16)
        job = self.jobs[-1]
        a_baseline(seed, job.request.facts).save(job.folder / "baseline.safetensors")
        (job.folder / "probe.onnx").write_bytes(b"probe")
        job.end(CommissioningResult(16, 1, 16.0))
        self.tick()

    def accept_one(self):
        self.watch.changes = ["alarm"]
        self.feed(9)
        self.jobs[-1].end(ACCEPTED)
        self.tick()


ACCEPTED, REFUSED = a_report(baseline_id=""), a_report(accepted=False, baseline_id="")
"""Without a baseline: a job fills in the one that it was begun with."""
