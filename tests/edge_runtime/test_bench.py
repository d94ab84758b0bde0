"""The bench measures real processes; its arithmetic is checked on made-up figures."""

import json
from pathlib import Path

import numpy as np
import pytest
from bundle_models import small_model
from click.testing import CliRunner
from engine_models import pixels

from edge_runtime.bench.bare import looped
from edge_runtime.bench.daemon import BenchError, daemon
from edge_runtime.bench.rounds import BenchOrder, bench, percentiles
from edge_runtime.cli_bench import bench_command
from edge_runtime.engines.fake import FakeEngine
from edge_runtime.engines.onnx_engine import OnnxEngine

DEMO = Path(__file__).parents[2] / "edge_runtime" / "demo" / "bundle" / "efficientnet-lite0" / "1"


def test_percentiles_are_those_of_the_values():
    assert percentiles([1.0, 2.0, 3.0, 4.0]) == {"p50": 2.5, "p90": 3.7, "p99": 3.97, "max": 4.0}


def test_a_loop_counts_every_call_of_every_caller():
    engine = FakeEngine()
    tensors = [np.zeros((1, 3, 8, 8), np.float32)]
    figures = looped(lambda number: engine.infer(tensors[0]), callers=2, seconds=0.2, fps=50)
    assert len(figures["call_ms"]) == len(engine.batch_sizes) - 5
    assert 2 <= len(figures["call_ms"]) <= 24
    small, x = OnnxEngine(small_model()), pixels(1)
    figures = looped(lambda number: small.infer(x), callers=1, seconds=0.1, fps=None)
    assert figures["frames_per_s"] > 50
    assert 0 < figures["cpu_ms_per_frame"] < 1000


def test_a_daemon_that_does_not_start_is_an_error_with_its_last_words(tmp_path):
    config = {
        "device": "bench",
        "models": {"m": {"bundle": "/nowhere"}},
        "cameras": {"c": {"path": "/x", "model": "m"}},
    }
    with (
        pytest.raises(BenchError, match=r"ended with code \d+; its log ends: .*nowhere"),
        daemon(config, tmp_path),
    ):
        pass


def test_measures_the_bare_engine_and_a_whole_daemon_in_turn():
    report = bench(
        BenchOrder(DEMO, seconds=1.0, rounds=1, fps=10.0, size=(320, 240)), progress=lambda line: None
    )
    assert report["bundle"] == "efficientnet-lite0/1"
    assert set(report["rounds"][0]) == {"bare", "loop", "daemon", "bare paced", "daemon paced"}
    for part in report["rounds"][0].values():
        assert part["frames_per_s"] > 1
    assert 5 < report["summary"]["daemon paced"]["frames_per_s"] < 12
    ratio = report["ratios"]["frames_per_s"]
    assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
    assert report["pictures"].endswith("320 x 240")


def test_a_folder_without_pictures_is_refused(tmp_path):
    found = CliRunner().invoke(bench_command, [str(DEMO), "--pictures", str(tmp_path)])
    assert "no pictures in it" in str(found.exception)


def test_the_table_names_both_columns():
    from edge_runtime.cli_bench import table

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
        "frames_per_s_over_loop",
        "paced_total_p99_over_infer_p50",
        "paced_cpu_per_frame",
        "memory",
    )
    report = {
        "bundle": "b/1", "runs_on": "x", "budget": "2 cores", "streams": 1, "pictures": "4 golden", "fps": 30.0,
        "summary": dict.fromkeys(("bare", "loop", "daemon", "bare paced", "daemon paced"), part),
        "ratios": dict.fromkeys(names, ratio),
    }  # fmt: skip
    text = table(json.loads(json.dumps(report)))
    assert "bare engine      daemon" in text
    assert "0.90   (0.80 to 1.00)" in text
