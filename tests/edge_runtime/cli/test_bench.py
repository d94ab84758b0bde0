"""The bench measures real processes; its arithmetic is checked on made-up figures."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge_runtime.cli.bench.bare import run_calls
from edge_runtime.cli.bench.commands import bench_command, format_table
from edge_runtime.cli.bench.daemon import BenchError, run_daemon
from edge_runtime.cli.bench.rounds import BenchOrder, bench, percentiles
from edge_runtime.config import EngineConfig
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.engines.threads import choose_threads, cpu_budget
from tests.support.bundle_models import small_model
from tests.support.bundle_store import SMALL
from tests.support.engine_models import pixels
from tests.support.fake_engine import FakeEngine
from tests.support.paths import DEMO

pytestmark = pytest.mark.integration

BUNDLE = DEMO / "bundle" / "efficientnet-lite0" / "1"


def test_percentiles_are_those_of_the_values():
    assert percentiles([1.0, 2.0, 3.0, 4.0]) == {"p50": 2.5, "p90": 3.7, "p99": 3.97, "max": 4.0}


def test_a_loop_counts_every_call_of_every_caller():
    engine = FakeEngine()
    tensors = [np.zeros((1, 3, 8, 8), np.float32)]
    figures = run_calls(lambda number: engine.infer(tensors[0]), callers=2, seconds=0.2, fps=50)
    assert len(figures["call_ms"]) == len(engine.batch_sizes) - 5
    assert 2 <= len(figures["call_ms"]) <= 24
    small, x = OnnxEngine(small_model()), pixels(1)
    figures = run_calls(lambda number: small.infer(x), callers=1, seconds=0.1, fps=None)
    assert figures["frames_per_s"] > 50
    assert 0 < figures["cpu_ms_per_frame"] < 1000


def test_a_daemon_that_does_not_start_is_an_error_with_its_last_words(tmp_path):
    config = {
        "device": "bench",
        "models": {"m": {"bundle": "/nowhere"}},
        "cameras": {"c": {"path": "/x", "model": "m"}},
    }
    with (
        pytest.raises(BenchError, match="nowhere"),
        run_daemon(config, tmp_path),
    ):
        pass


def test_measures_the_bare_engine_and_a_whole_daemon_in_turn():
    order = BenchOrder(
        SMALL, seconds=1.0, rounds=1, fps=10.0, size=(320, 240),
        engine=EngineConfig(runtime="openvino", pin_threads=True),
    )  # fmt: skip
    told = []
    report = bench(order, lambda part, parts: told.append(parts))
    assert told == len(told) * [len(told)]
    assert report["bundle"] == "photos/1"
    assert report["runs_on"].startswith("openvino")
    assert set(report["rounds"][0]) == {
        "bare", "loop", "bare all", "loop all", "daemon", "bare paced", "daemon paced",
    }  # fmt: skip
    assert report["callers"] == 1
    plan = choose_threads(cpu_budget(), 1)
    assert (report["workers"], report["intra"]) == (plan.workers, plan.intra)
    for part in report["rounds"][0].values():
        assert part["frames_per_s"] > 1
    assert 3 < report["summary"]["daemon paced"]["frames_per_s"] < 12
    ratio = report["ratios"]["frames_per_s"]
    assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
    assert report["inputs"].endswith("320 x 240")


class MadeUpDaemon:
    """Whatever it is asked, it answers one frame a second."""

    first_result_s = 1.0

    def look(self, seconds):
        timings = dict.fromkeys(("decode", "prepare", "queue", "infer", "total"), 1.0)
        return {"frames_per_s": 1.0, "cpu_ms_per_frame": 1.0, "pss_mib": 1.0, "timings_ms": [timings]}


def test_a_lone_caller_is_not_measured_again_as_all_of_them(monkeypatch):
    asked = []

    def run_bare(order, plan, inputs, config, folder, callers, **options):
        asked.append((folder.name, callers))
        figures = dict.fromkeys(("frames_per_s", "cpu_ms_per_frame", "pss_mib"), 2.0)
        return {**figures, "call_ms": [1.0], "runs_on": "made up"}

    @contextmanager
    def run_made_up(config, folder):
        yield MadeUpDaemon()

    monkeypatch.setattr("edge_runtime.cli.bench.rounds._bare", run_bare)
    monkeypatch.setattr("edge_runtime.cli.bench.rounds.run_daemon", run_made_up)
    told = []
    report = bench(BenchOrder(SMALL, rounds=1, threads="latency"), lambda part, parts: told.append(parts))
    assert told == [5] * 5
    assert asked == [("bare", 1), ("loop", 1), ("bare-paced", 1)]
    assert (report["callers"], report["workers"]) == (1, 1)
    one = report["rounds"][0]
    assert one["bare all"] == one["bare"]
    text = format_table(report)
    assert "bare engine: 1 caller(s); daemon: 1 worker(s)" in text
    assert text.count("daemon over bare engine") == 1


def config(folder: Path) -> Path:
    path = folder / "box.yaml"
    path.write_text(
        f"device: box\nstate_dir: {folder}/state\n"
        "models:\n"
        "  m:\n    bundle: demo:efficientnet-lite0\n    threads: 1\n"
        "    engine: {runtime: openvino, precision: device}\n"
        "  other: {bundle: demo:efficientnet-lite0}\n"
        "cameras:\n"
        "  a: {path: demo:conveyor, model: m}\n  b: {path: demo:conveyor, model: m}\n"
        "  c: {path: demo:conveyor, model: other}\n"
    )
    return path


@pytest.fixture
def ordered(monkeypatch):
    """Gives the order that the command line makes of its arguments; nothing is measured."""
    orders = []

    def stop(order, tell):
        orders.append(order)
        raise BenchError("enough")

    monkeypatch.setattr("edge_runtime.cli.bench.rounds.bench", stop)

    def make(*arguments):
        found = CliRunner().invoke(bench_command, [str(argument) for argument in arguments])
        return orders.pop() if orders else found.output

    return make


def test_a_model_of_a_configuration_is_measured_as_it_runs_there(ordered, tmp_path):
    order = ordered("--config", config(tmp_path), "--model", "m")
    assert order.bundle == BUNDLE
    assert (order.streams, order.threads) == (2, 1)
    assert (order.engine.runtime, order.engine.precision) == ("openvino", "device")


def test_options_go_before_the_configuration(ordered, tmp_path):
    order = ordered(
        "--config", config(tmp_path), "--model", "m", "--threads", "latency", "--streams", 1, "--precision", "f32",
        "--device", "GPU", "--device", "CPU", "--pin-threads",
    )  # fmt: skip
    assert (order.streams, order.threads) == (1, "latency")
    assert order.engine.devices == ("GPU", "CPU")
    assert (order.engine.runtime, order.engine.precision) == ("openvino", "f32")
    assert order.engine.pin_threads


def test_a_bundle_alone_is_measured_with_the_defaults_and_what_options_say(ordered):
    order = ordered(BUNDLE)
    assert (order.streams, order.threads, order.engine) == (1, "auto", EngineConfig())
    order = ordered(BUNDLE, "--runtime", "openvino", "--threads", 2)
    assert (order.threads, order.engine) == (2, EngineConfig(runtime="openvino"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give a BUNDLE"),
        ((BUNDLE, "--model", "m"), "with --config"),
        ((BUNDLE, "--threads", "many"), "not a valid integer"),
        ((BUNDLE, "--threads", "0"), "1<=x<=256"),
        ((BUNDLE, "--device", "C PU"), "a device"),
    ],
)
def test_what_cannot_be_meant_is_refused(ordered, arguments, words):
    assert words in ordered(*arguments)


def test_callers_are_bound_to_the_given_cpus():
    cpu, seen = max(os.sched_getaffinity(0)), set()
    run_calls(lambda number: seen.add(frozenset(os.sched_getaffinity(0))), 1, 0.05, None, [(cpu,)])
    assert frozenset({cpu}) in seen


def test_a_folder_without_pictures_is_refused(tmp_path):
    found = CliRunner().invoke(bench_command, [str(BUNDLE), "--pictures", str(tmp_path)])
    assert isinstance(found.exception, BundleError)
    assert str(tmp_path) in str(found.exception)


def test_the_table_names_both_columns():
    milliseconds = (
        "infer_ms_p50",
        "call_ms_p50",
        "call_ms_p99",
        "decode_ms_p50",
        "total_ms_p50",
        "total_ms_p99",
    )
    others = ("frames_per_s", "cpu_ms_per_frame", "pss_mib", "first_result_s")
    part = dict.fromkeys((*milliseconds, *others), 1.0)
    ratio = {"median": 0.9, "low": 0.8, "high": 1.0}
    names = (
        "frames_per_s",
        "frames_per_s_over_bare_all",
        "frames_per_s_over_loop",
        "frames_per_s_over_loop_all",
        "paced_total_p99_over_infer_p50",
        "paced_cpu_per_frame",
        "memory",
    )
    report = {
        "bundle": "b/1", "runs_on": "x", "budget": "2 cores", "streams": 1, "inputs": "4 golden", "fps": 30.0,
        "summary": dict.fromkeys(
            ("bare", "loop", "bare all", "loop all", "daemon", "bare paced", "daemon paced"), part
        ),
        "callers": 1, "workers": 2, "intra": 1,
        "ratios": dict.fromkeys(names, ratio),
    }  # fmt: skip
    text = format_table(json.loads(json.dumps(report)))
    assert "bare engine      daemon" in text
    assert "bare engine: 1 caller(s); daemon: 2 worker(s)" in text
    assert "daemon over bare engine, 2 caller(s): frames/s" in text
    assert "0.90   (0.80 to 1.00)" in text
