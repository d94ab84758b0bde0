"""The bench of one bundle: rounds in which the bare engine and the daemon take turns, and what came out of them.

Turns, because the speed of a box changes while it runs (heat, neighbours): only figures of one round are compared, and
ratios are given with their spread over the rounds. Each measurement runs in a separate process.
"""

import json
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.bundles.sandbox_check import check_in_sandbox
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.bench.bare import MODEL
from edge_runtime.cli.bench.daemon import BenchError, run_daemon
from edge_runtime.cli.bench.inputs import write_inputs
from edge_runtime.cli.bench.play import Play, Section, make_play
from edge_runtime.config import Config, EngineConfig, ModelConfig
from edge_runtime.deployment.open_bundle import choose_model, count_streams, make_engine_settings
from edge_runtime.deployment.versions import find_bundle
from edge_runtime.inference.engines.factory import place_threads
from edge_runtime.inference.engines.threads import Preference, ThreadPlan, choose_threads, cpu_budget

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BenchOrder:
    """What to measure."""

    bundle: Path
    inputs: Path | None = None
    """A folder of pictures or windows; None is the bundle's golden ones."""
    size: tuple[int, int] = (1280, 720)
    """Of golden pictures, which become JPEGs."""
    streams: int = 1
    fps: float = 30.0
    """Of each stream in the paced part; of windows the nearest that whole samples from one to the next give."""
    seconds: float = 5.0
    """Of each measurement."""
    rounds: int = 3
    threads: int | Preference = "auto"
    """As in the configuration; a number is threads inside a call."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """As in the configuration, for bare engine and daemon alike."""


def make_order(config: Config, source: Path, model: str | None, bundle: Path | None) -> BenchOrder:
    """A model (None: the only one) as the configuration runs it, by itself, with as many streams as it has.

    ``source`` is the file of the configuration, for messages; another bundle may be run that way.

    Raises:
        ConfigError: no such model.
        BundleError: there is no such bundle.
    """
    name = choose_model(config, source, model)
    one = config.models[name]
    path = find_bundle(config.bundle_root(name), one.version) if bundle is None else bundle
    return BenchOrder(
        path, streams=max(1, count_streams(config)[name]), threads=one.threads, engine=one.engine
    )


def bench(order: BenchOrder, tell: Callable[[str, int], None]) -> Report:
    """Measure and compare.

    ``tell`` hears of each measurement before it begins: which one, and how many there are in all.

    Returns:
        ``rounds`` with each round's figures, ``summary`` with medians, ``ratios`` with median and range.

    Raises:
        BundleError: the bundle or the inputs cannot be used.
        BenchError: the daemon does not run with it.
    """
    bundle = load_bundle(order.bundle)
    settings = make_engine_settings(ModelConfig(bundle="bundle", engine=order.engine))
    # as the daemon chooses when it has this model only
    chosen = choose_threads(cpu_budget(), order.streams, order.threads)
    plan = place_threads(chosen, bundle.manifest.format, settings)
    check_in_sandbox(bundle, settings=settings, memory_mib=order.engine.opening_mib)
    with tempfile.TemporaryDirectory(prefix="edge-runtime-bench-") as name:
        folder = Path(name)
        (folder / "inputs").mkdir()
        inputs = write_inputs(bundle, order.inputs, order.size, folder / "inputs")
        play = make_play(bundle.manifest.preprocess, inputs[0].parent, order.fps, order.size)
        rounds = []
        for number in range(order.rounds):
            begun = partial(_tell, tell, order, plan, number)
            rounds.append(_round(order, plan, play, inputs, folder / f"round-{number}", begun))
    return {
        "bundle": bundle.id,
        "streams": order.streams,
        "callers": _callers(order, plan),
        "workers": plan.workers,
        "intra": plan.intra,
        "fps": play.fps,
        "inputs": f"{len(inputs)} {play.golden if order.inputs is None else f'of {order.inputs}'}",
        "runs_on": rounds[0]["bare"]["runs_on"],
        "budget": cpu_budget().source,
        "rounds": [{part: _summed(figures) for part, figures in one.items()} for one in rounds],
        "summary": {part: _summarise([_headline(one[part]) for one in rounds]) for part in rounds[0]},
        "ratios": _ratios(rounds),
    }


def _callers(order: BenchOrder, plan: ThreadPlan) -> int:
    """Of the bare engine: one a stream. The daemon lets a lone stream use all of its workers."""
    return min(plan.workers, order.streams)


def _tell(
    tell: Callable[[str, int], None], order: BenchOrder, plan: ThreadPlan, number: int, part: str
) -> None:
    parts = 5 if _callers(order, plan) == plan.workers else 7
    tell(f"round {number + 1} of {order.rounds}, {part}", parts * order.rounds)


def _round(
    order: BenchOrder,
    plan: ThreadPlan,
    play: Play,
    inputs: Sequence[Path],
    folder: Path,
    begun: Callable[[str], None],
) -> dict[str, Report]:
    """Bare and daemon, flat out and paced, one after the other.

    ``bare`` and ``loop`` have a caller a stream; ``bare all`` and ``loop all`` as many as the daemon has workers.
    """
    flat, paced = _config(order, play.flat_out), _config(order, play.paced)
    callers = _callers(order, plan)

    def run(config: Report, name: str, callers: int, **options: Any) -> Report:
        begun(name.replace("-", " "))
        return _bare(order, plan, inputs, config, folder / name, callers, **options)

    found = {
        "bare": run(flat, "bare", callers),
        "loop": run(flat, "loop", callers, prepares=True),
    }
    if callers == plan.workers:
        found |= {"bare all": found["bare"], "loop all": found["loop"]}
    else:
        found["bare all"] = run(flat, "bare-all", plan.workers)
        found["loop all"] = run(flat, "loop-all", plan.workers, prepares=True)
    begun("daemon")
    with run_daemon(flat, folder / "flat") as running:
        found["daemon"] = {**running.look(order.seconds), "first_result_s": running.first_result_s}
    found["bare paced"] = run(paced, "bare-paced", callers, fps=play.fps)
    begun("daemon paced")
    with run_daemon(paced, folder / "paced") as running:
        found["daemon paced"] = running.look(order.seconds)
    return found


def _config(order: BenchOrder, streams: Section) -> dict[str, Any]:
    model = {
        "bundle": str(order.bundle.resolve()),
        "engine": order.engine.model_dump(mode="json"),
        "threads": order.threads,
        "max_age_ms": None,
    }
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    return {
        "device": "bench",
        "models": {MODEL: model},
        **{
            kind: {f"stream-{number}": one for number in range(order.streams)}
            for kind, one in streams.items()
        },
        "http": {"port": port},
        "log": {"level": "error"},
    }


def _bare(
    order: BenchOrder,
    plan: ThreadPlan,
    inputs: Sequence[Path],
    config: dict[str, Any],
    folder: Path,
    callers: int,
    *,
    fps: float | None = None,
    prepares: bool = False,
) -> Report:
    folder.mkdir(parents=True)
    (folder / "box.yaml").write_text(json.dumps({**config, "state_dir": str(folder)}))
    orders = {
        "config": str(folder / "box.yaml"), "inputs": [str(path) for path in inputs], "intra": plan.intra,
        "callers": callers, "cpus": plan.cpus, "seconds": order.seconds, "fps": fps, "prepares": prepares,
    }  # fmt: skip
    (folder / "order.json").write_text(json.dumps(orders))
    command = [sys.executable, "-m", "edge_runtime.cli.bench.bare", str(folder / "order.json")]
    done = subprocess.run(command, capture_output=True, check=False, timeout=order.seconds + 120)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise BenchError(f"the bare engine failed: {words[-1][:500] if words else done.returncode}")
    found: Report = json.loads(done.stdout)
    return found


def _summed(figures: Report) -> Report:
    """One measurement with percentiles instead of its raw lists."""
    if "call_ms" in figures:
        return {**figures, "call_ms": percentiles(figures["call_ms"])}
    rows = figures["timings_ms"]
    timings = {name: percentiles([row[name] for row in rows]) for name in rows[0]}
    return {**figures, "timings_ms": timings}


def _headline(figures: Report) -> dict[str, float]:
    """One measurement in a few numbers."""
    names = ("frames_per_s", "cpu_ms_per_frame", "pss_mib", "first_result_s")
    found = {name: float(figures[name]) for name in names if name in figures}
    if "call_ms" in figures:
        found |= {f"call_ms_p{p}": float(np.percentile(figures["call_ms"], p)) for p in (50, 99)}
    else:
        steps = ("decode", "prepare", "queue", "infer", "total")
        timings = {step: [one[step] for one in figures["timings_ms"]] for step in steps}
        found |= {f"{step}_ms_p50": float(np.percentile(timings[step], 50)) for step in steps}
        found["total_ms_p99"] = float(np.percentile(timings["total"], 99))
    return found


def _summarise(
    rows: Sequence[dict[str, float]], of: Callable[[list[float]], float] = statistics.median
) -> dict[str, float]:
    return {name: round(of([row[name] for row in rows]), 3) for name in rows[0]}


def _ratios(rounds: Sequence[dict[str, Report]]) -> Report:
    """Daemon over bare engine, each within one round: median and range."""
    every = [_round_ratios(one) for one in rounds]
    median, low, high = (_summarise(every, of) for of in (statistics.median, min, max))
    return {name: {"median": median[name], "low": low[name], "high": high[name]} for name in median}


def _round_ratios(one: dict[str, Report]) -> dict[str, float]:
    parts = {part: _headline(figures) for part, figures in one.items()}
    whole, paced, bare_paced = parts["daemon"], parts["daemon paced"], parts["bare paced"]
    names = {"": "bare", "_over_bare_all": "bare all", "_over_loop": "loop", "_over_loop_all": "loop all"}
    rates = {
        f"frames_per_s{name}": whole["frames_per_s"] / parts[part]["frames_per_s"]
        for name, part in names.items()
    }
    return rates | {
        "paced_total_p99_over_infer_p50": paced["total_ms_p99"] / bare_paced["call_ms_p50"],
        "paced_cpu_per_frame": paced["cpu_ms_per_frame"] / bare_paced["cpu_ms_per_frame"],
        "memory": whole["pss_mib"] / parts["bare"]["pss_mib"],
    }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and the largest."""
    found = np.percentile(values, (50, 90, 99, 100))
    return {name: round(float(v), 3) for name, v in zip(("p50", "p90", "p99", "max"), found, strict=True)}
