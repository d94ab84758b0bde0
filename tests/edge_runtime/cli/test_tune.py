"""Tuning: what is compared, how it is timed, and when a setting is changed for it."""

import fcntl
import itertools
import os
import threading
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.main import main
from edge_runtime.cli.tune.engine_choices import (
    EngineChoice,
    list_engine_choices,
    make_bundle_task,
    make_config_task,
    thread_counts,
)
from edge_runtime.cli.tune.session import decide, find_quartiles, tune
from edge_runtime.cli.tune.timing import Round, TimedEngine
from edge_runtime.config import load_config
from edge_runtime.errors import EngineError
from edge_runtime.inference.engines.base import EngineSettings
from edge_runtime.inference.engines.threads import ThreadPlan, choose_threads
from edge_runtime.system.cpu_budget import CpuBudget
from edge_runtime.system.cpu_topology import Core, CpuTopology
from tests.support.fake_engine import FakeEngine
from tests.support.paths import DEMO

pytestmark = pytest.mark.integration

BUNDLE = DEMO / "bundle" / "efficientnet-lite0" / "1"


def budget(big: int, little: int = 0, quota: float | None = None) -> CpuBudget:
    cores = tuple(Core((at,), is_little=at >= big) for at in range(big + little))
    total = float(big + little)
    return CpuBudget(min(quota or total, total), big + little, quota, "test", CpuTopology(cores))


def compared(box: CpuBudget, streams: int = 1, current: int | str = "auto", **settings: object) -> tuple:
    plan_of = partial(choose_threads, box, streams)
    return list_engine_choices("onnx", current, EngineSettings(**settings), plan_of, box)


def rounds(*costs: float) -> list[Round]:
    return [Round(cost, 1e3 / cost, cost) for cost in costs]


def test_the_setting_in_use_comes_first_and_plans_that_are_the_same_come_once() -> None:
    found = compared(budget(4))
    assert (found[0].runtime, found[0].threads) == ("onnxruntime", "auto")
    plans = [(one.runtime, one.plan.intra, one.plan.workers) for one in found]
    assert len(set(plans)) == len(plans)
    assert {one.runtime for one in found} == {"onnxruntime", "openvino"}
    assert {(one.plan.intra, one.plan.workers) for one in found} == {(4, 1), (1, 4), (2, 2)}


def test_a_number_in_use_keeps_its_name() -> None:
    assert str(compared(budget(2), current=2)[0]) == "onnxruntime, threads: 2 (2 x 1)"


def test_another_runtime_does_not_get_the_devices_of_the_one_in_use() -> None:
    found = {
        one.runtime: one.settings for one in compared(budget(2), devices=("CUDA", "CPU"), pin_threads=True)
    }
    assert found["onnxruntime"].devices == ("CUDA", "CPU")
    assert (found["openvino"].devices, found["openvino"].pin_threads) == (("CPU",), True)


def test_candidates_are_bound_only_where_their_runtime_lets_them() -> None:
    found = {one.runtime: one.plan.cpus for one in compared(budget(2), pin_threads=True)}
    assert found["onnxruntime"]
    assert found["openvino"] == ()


@pytest.mark.parametrize(
    ("box", "counts"),
    [
        (budget(1), (1,)),
        (budget(6), (1, 2, 4, 6)),
        (budget(4, 4), (1, 2, 4, 8)),
        (budget(8, quota=2.5), (1, 2)),
    ],
)
def test_numbers_of_threads_that_may_pay(box: CpuBudget, counts: tuple[int, ...]) -> None:
    assert thread_counts(box) == counts


def test_a_clear_gain_changes_the_setting_and_says_how_sure_it_is() -> None:
    chosen, why = decide(["a", "b"], [rounds(*[10.0, 10.4] * 4), rounds(*[7.0, 7.2] * 4)], "latency")
    assert chosen == 1
    assert "30% less" in why
    assert "8 of 8" in why


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (rounds(*[4.0, 12.0] * 4), "overlap"),
        (rounds(*[9.7] * 8), "not worth"),
        (rounds(*[10.1] * 8), "nothing measured is faster"),
    ],
)
def test_the_setting_in_use_is_kept_when_in_doubt(other: list[Round], words: str) -> None:
    chosen, why = decide(["a", "b"], [rounds(*[10.0] * 8), other], "throughput")
    assert chosen == 0
    assert words in why


def test_few_rounds_decide_nothing() -> None:
    chosen, why = decide(["a", "b"], [rounds(*[10.0] * 4), rounds(*[2.0] * 4)], "latency")
    assert chosen == 0
    assert "4 rounds" in why


def test_spread_is_the_middle_half() -> None:
    assert find_quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == [2.0, 3.0, 4.0]
    assert find_quartiles([7.0]) == [7.0, 7.0, 7.0]


class Meeting(FakeEngine):
    """Counts the calls under way."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.under_way, self.most = threading.Lock(), 0, 0

    def infer(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        threading.Event().wait(0.002)
        with self.lock:
            self.under_way -= 1
            return super().infer(batch)


@pytest.mark.parametrize(("workers", "streams", "at_once"), [(2, 3, 2), (3, 1, 3), (1, 2, 1)])
def test_calls_run_as_in_the_daemon(workers: int, streams: int, at_once: int) -> None:
    engine, sample = Meeting(), np.zeros((3, 8, 8), np.float32)
    with TimedEngine(engine, ThreadPlan(1, workers, ""), EngineSettings(), [sample], streams) as timed:
        found = timed.round(0.08)
    assert engine.most == at_once
    assert engine.is_closed
    waits = (1 + (streams + workers - 1) // workers) / 2 if workers < streams else 1.0
    assert found.answer_ms >= 2.0 * min(waits, 4 / 3)
    assert found.frames_per_s <= 500 * at_once


def test_callers_are_bound_when_that_is_configured() -> None:
    cpu, seen = max(os.sched_getaffinity(0)), set()

    class Where(FakeEngine):
        def infer(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
            seen.add(frozenset(os.sched_getaffinity(0)))
            return super().infer(batch)

    sample, plan = np.zeros((3, 8, 8), np.float32), ThreadPlan(1, 1, "", (cpu,))
    with TimedEngine(Where(), plan, EngineSettings(pin_threads=True), [sample], 1) as timed:
        timed.round(0.01)
    assert seen == {frozenset({cpu})}


def test_a_candidate_that_does_not_run_is_out_and_says_why() -> None:
    here = budget(2)
    good, *_ = compared(here)
    bad = EngineChoice("openvino", 1, good.plan, EngineSettings(runtime="openvino", devices=("NPU",)))
    ticks = itertools.count()
    tuned = tune(load_bundle(BUNDLE), [good, bad], 1, "latency", 4.0, clock=lambda: float(next(ticks)))
    assert tuned.chosen == good
    assert "NPU" in (tuned.tried[1].problem or "")
    assert tuned.tried[0].is_finalist


def test_the_setting_in_use_must_run() -> None:
    good, *_ = compared(budget(2))
    bad = EngineChoice("openvino", 1, good.plan, EngineSettings(runtime="openvino", devices=("NPU",)))
    with pytest.raises(EngineError, match="NPU"):
        tune(load_bundle(BUNDLE), [bad, good], 1, "latency", 12.0)


def test_what_there_is_no_time_for_is_named() -> None:
    first, second, *_ = compared(budget(2))
    ticks = itertools.count(step=100)
    tuned = tune(load_bundle(BUNDLE), [first, second], 1, "latency", 5.0, clock=lambda: float(next(ticks)))
    assert tuned.tried[1].problem == "not measured: no time left"
    assert len(tuned.tried[0].rounds) == 1


def config(folder: Path, threads: int) -> Path:
    path = folder / "box.yaml"
    path.write_text(
        "device: box   # ours\n"
        f"state_dir: {folder}/state\n"
        f"models:\n  m: {{bundle: demo:efficientnet-lite0, threads: {threads}}}\n"
        "cameras:\n  belt: {path: demo:conveyor, model: m}\n"
    )
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_writes_what_it_found_into_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(tmp_path, 16)  # far too many threads: something else must be better
    code, out, err = run(capsys, "tune", BUNDLE, "--config", path, "--write", "--json", "--time-limit", 5)
    assert (code, err) == (0, "")
    found = orjson.loads(out)
    assert (found["model"], found["streams"], found["for"]) == ("m", 1, "latency")
    assert {one["runtime"] for one in found["candidates"]} == {"onnxruntime", "openvino"}
    assert all(one["rounds"] or one["problem"] for one in found["candidates"])
    model = load_config(path, {}).models["m"]
    assert model.threads == found["chosen"]["threads"]
    assert found["is_written"] == found["is_change"] == bool(found["edits"])
    assert path.read_text().startswith("device: box   # ours\n")


def test_a_bundle_alone_is_measured_as_a_daemon_would_run_it(tmp_path: Path) -> None:
    alone = make_bundle_task(BUNDLE, 1, budget(2))
    path = config(tmp_path, 1)
    path.write_text(path.read_text().replace(", threads: 1", ""))
    configured = make_config_task(load_config(path, {}), path, None, None, 1, budget(2))
    assert [one.settings for one in alone.compared] == [one.settings for one in configured.compared]
    assert [one.threads for one in alone.compared] == [one.threads for one in configured.compared]
    assert alone.compared[0].settings.max_batch == 1


def test_a_bundle_alone_is_measured_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "tune", BUNDLE, "--streams", 2, "--for", "throughput", "--time-limit", 5)
    assert code == 0
    assert "2 stream(s), for throughput" in out
    assert "in use" in out
    assert out.splitlines()[-1].startswith(("no change: ", "best: ", "  engine.runtime: ", "  threads: "))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give a BUNDLE"),
        ((BUNDLE, "--write"), "with --config"),
        ((BUNDLE, "--model", "m"), "with --config"),
        ((BUNDLE, "--time-limit", "1"), "time-limit"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], words: str
) -> None:
    code, _, err = run(capsys, "tune", *arguments)
    assert code == 64
    assert words in err


def test_a_model_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "tune", "--config", config(tmp_path, 1), "--model", "x")
    assert code == 78
    assert "--model" in err


@pytest.mark.parametrize("holder", [0, 4711])
def test_a_box_whose_daemon_runs_is_not_measured_and_no_lock_of_it_is_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, holder: int
) -> None:
    path = config(tmp_path, 1)
    state = load_config(path, {}).state_dir
    state.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(
        "edge_runtime.system.state_lock.find_holder", lambda folder: holder if folder == state else None
    )
    monkeypatch.delattr(fcntl, "flock")  # held for a moment, it would refuse a daemon that starts then
    code, _, err = run(capsys, "tune", "--config", path)
    assert code == 74
    assert str(state) in err
