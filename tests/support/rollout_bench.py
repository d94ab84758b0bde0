"""The rollout of one model's versions on a real pipeline: engines, installed versions and the clock are scripted."""

from datetime import UTC

from edge_runtime.config import RolloutConfig
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.rollout_ports import RolloutPorts
from edge_runtime.deployment.trial_run import Candidate
from edge_runtime.deployment.version_pointers import VersionPointers
from edge_runtime.deployment.version_rollout import VersionRollout
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.postprocess.postprocessor import Postprocessor
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.inference.trial import Arm
from edge_runtime.recalibration.schedule import find_next_due_wall_s
from edge_runtime.system.supervised_thread import Crashes
from tests.support.fake_engine import FakeEngine
from tests.support.pipeline_bench import NEVER, SPEC, Manifest, make_frame, make_pipeline
from tests.support.waiting import until

LABELS = ("a", "b", "c")
PLAN = {"shadow": {"frames": 20, "cpu": 200}, "canary": {"frames": 20, "share": 0.5}, "watch_s": 60.0}


class RolloutBench:
    """One model, version 1, with scripted newer versions."""

    def __init__(self, folder, labels=LABELS, **plan):
        self.folder, self.now_s = folder, 1000.0
        self.pipeline, self.results, self.errors = make_pipeline(max_age_s=1e9)
        self.installed, self.engines, self.labels = set(), {}, labels
        self.opening_fails, self.handed_over, self.facts, self.memory_mib = None, 0, [], 100.0
        self.plan = RolloutConfig.model_validate({**PLAN, **plan})
        self.seq, self.crashes, self.wall_ahead_s = 0, Crashes(), 1e9
        self.postprocessor = Postprocessor(Manifest, labels)
        """Of newer versions."""
        self.rollout = self.make()

    def make(self, version=1):
        ports = RolloutPorts(
            find_newest=lambda used, refused: max(
                (one for one in self.installed if one > used and one not in refused), default=None
            ),
            find_newer=lambda used: frozenset(one for one in self.installed if one > used),
            open_candidate=self.open_candidate,
            hand_over=self.hand_over,
            emit=self.facts.append,
            clock=lambda: self.now_s,
            wall_clock=lambda: self.wall_ahead_s + self.now_s,
            find_due_wall_s=lambda line, after_wall_s: find_next_due_wall_s(line, after_wall_s, UTC),
        )
        return VersionRollout(
            "parts", self.plan, bundle=f"parts/{version}", version=version, pipeline=self.pipeline,
            folder=self.folder, ports=ports, crashes=self.crashes,
        )  # fmt: skip

    def restart(self, version=1):
        """As after kill -9."""
        self.pipeline, self.results, self.errors = make_pipeline(max_age_s=1e9)
        self.rollout = self.make(version)

    def hand_over(self):
        self.handed_over += 1

    def open_candidate(self, version, should_stop):
        assert not should_stop()
        if self.opening_fails is not None:
            raise self.opening_fails
        engine = self.engines.setdefault(version, FakeEngine())
        slot = EngineSlot(Generation(f"parts/{version}"), engine)
        arm = Arm(PicturePreprocessor(SPEC), slot, self.postprocessor)
        return Candidate(f"parts/{version}", f"hash of {version}", arm, is_prepared_alike=True)

    def begin(self, version=2, engine=None):
        if engine is not None:
            self.engines[version] = engine
        self.rollout.begin()
        self.installed.add(version)
        self.tick()

    def tick(self, later_s=0.0):
        self.now_s += later_s
        self.rollout.tick()

    @property
    def stage(self):
        return self.rollout.status().stage

    @property
    def pointers(self):
        return VersionPointers.load(self.folder / "versions.json")

    def play(self, count):
        """Answer frames; in shadow, one by one, as fast as the shadow takes them."""
        for _ in range(count):
            before = self.frames_of_candidate()
            self.pipeline.accept(make_frame(self.seq), is_live=True, stop=NEVER)
            self.seq += 1
            while not self.pipeline.is_empty():
                self.pipeline.step(0.0)
            if self.stage == "shadow":
                assert until(lambda before=before: self.frames_of_candidate() > before)

    def frames_of_candidate(self):
        figures = self.rollout.status().figures
        return figures["candidate"].frames if figures else 0

    def play_until(self, *stages, most=3000, later_s=0.0):
        for _ in range(most):
            self.play(1)
            self.tick(later_s)
            if self.stage in stages:
                return
        raise AssertionError(f"still {self.stage}: {self.rollout.status()}")

    def stages(self):
        return [(fact.before, fact.stage) for fact in self.facts]
