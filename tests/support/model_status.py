"""The status of a model and of its versions, as a daemon gives them."""

from edge_runtime.daemon.model_runtime import ModelStatus, StreamStatus, ThreadStatus
from edge_runtime.deployment.rollout_policy.figures import ArmFigures
from edge_runtime.deployment.rollout_status import RolloutStatus
from edge_runtime.inference.metrics import Percentiles
from tests.support.fake_engine import LIBRARY


def versions(stage=None, *, paused=None, frames=0, stage_s=0.0):
    figures = ArmFigures()
    for _ in range(frames):
        figures.note_failure("of no matter")
    return RolloutStatus(
        active=4,
        previous=3,
        candidate=None if stage is None else 5,
        stage=stage,
        stage_s=stage_s,
        paused=paused,
        verdict=None,
        findings=(),
        figures={"candidate": figures.summary()} if frames else {},
        comparisons=(),
        refused={},
        waiting=(),
        problem=None,
    )


def status(**fields):
    values = {
        "bundle": "parts/4",
        "generation": "parts/4",
        "runs_on": "CPU",
        "engine": LIBRARY,
        "notes": (),
        "threads": ThreadStatus(1, 1, "", (), None),
        "batches": 1,
        "last_inference_at": None,
        "mean_batch": 1.0,
        "infer_ms": None,
        "total_ms": Percentiles(12.5, 20.0, 31.0, 40.0),
        "dropped_oldest": 0,
        "dropped_stale": 0,
        "engine_errors": 0,
        "lost_to_errors": 0,
        "swaps": 0,
        "streams": {"belt": StreamStatus(11, 10, {})},
        "answers": (),
        "recalibration": None,
        "rollout": versions("shadow", frames=50),
    }
    return ModelStatus(**{**values, **fields})
