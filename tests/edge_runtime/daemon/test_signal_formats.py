"""A net of signals in every format, from its bundle to a patch that is in force after a restart, without a broker."""

import pytest

from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.config import DriftConfig
from edge_runtime.daemon.wiring.models import build_engine
from edge_runtime.daemon.wiring.recalibration import identify_bundle
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.open_bundle import OpenedModel
from edge_runtime.inference.engines.factory import DEFAULTS
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.task import Kind
from tests.support.jobs import run_job
from tests.support.signal_author import SignalAuthor
from tests.support.signal_bundles import machine_windows
from tests.support.signal_jobs import COUNT, drift, make_order, share_right, values_of

pytestmark = pytest.mark.integration
ALONE = ThreadPlan(1, 1, "test")


@pytest.mark.parametrize("kind", ["onnx", "openvino", "torchscript"])
def test_from_healthy_windows_to_a_patch_that_survives_a_restart(tmp_path, kind):
    author = SignalAuthor(tmp_path)
    author.model(kind)
    bundle = load_bundle(author.build().path)
    state = ModelState.open(tmp_path / "state", "machine")

    first = state.jobs / "one"
    run_job(first, make_order(Kind.COMMISSION, bundle, first), values_of(machine_windows(COUNT, seed=41)))
    identity = identify_bundle(bundle)
    context = ModelContext("machine", bundle.path, identity, state, [].append, lambda: 9.0, lambda: 9.0)
    baselines = ActiveBaselines(context, DriftWatch(None), DriftConfig())
    baselines.take(first)
    assert baselines.usable, baselines.problems

    drifted, again = values_of([drift(one) for one in machine_windows(COUNT, seed=42)]), state.jobs / "two"
    job = make_order(Kind.RECALIBRATE, bundle, state.baselines, name="default")
    report = run_job(again, job, drifted)
    assert report.accepted, report
    state.adopt(again / "patch", "p1")

    patched = ModelState.open(tmp_path / "state", "machine").read_patched("p1")
    engine = open_bundle_engine(bundle, ALONE)
    base = OpenedModel(bundle, bundle.model_files, ALONE, DEFAULTS, engine)
    test = machine_windows(200, seed=43)
    healthy, before = share_right(engine, test), share_right(engine, [drift(one) for one in test])
    after = share_right(build_engine(base, patched), [drift(one) for one in test])
    assert after - before >= 0.8 * (healthy - before) > 0
