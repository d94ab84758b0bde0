"""From starting the daemon to its first result, and its memory: ``benchmarks run startup``.

Starts real daemons as processes, on one model and one camera (the conveyor), without torch, each twice on one state
directory: ``new_model_s`` is the start that sees the model for the first time, and opens it in a process without rights
before it does so itself; ``first_result_s`` is every later one. Prints every run's figures and their median; resident
memory is that of the daemon's process after ``--seconds`` of work.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from edge_runtime.cli.bench.daemon import find_installed_environment


def one_run(folder: Path, seconds: float) -> dict[str, float]:
    """Start, wait for the first result, measure memory, stop."""
    config = folder / "box.yaml"
    results = folder / "state" / "results.jsonl"
    results.unlink(missing_ok=True)
    config.write_text(
        json.dumps(
            {
                "device": "bench",
                "state_dir": str(folder / "state"),
                "models": {"photos": {"bundle": "demo:efficientnet-lite0"}},
                "cameras": {"belt": {"path": "demo:conveyor", "model": "photos", "fps": 15}},
                "http": {"port": 18499},
                "log": {"level": "error"},
            }
        )
    )
    began = time.perf_counter()
    daemon = subprocess.Popen(
        [sys.executable, "-m", "edge_runtime", "run", str(config)], env=find_installed_environment()
    )
    try:
        while not (results.exists() and results.stat().st_size):
            if daemon.poll() is not None:
                raise SystemExit(f"the daemon ended with code {daemon.returncode}")
            time.sleep(0.002)
        first_s = time.perf_counter() - began
        time.sleep(seconds)
        memory = psutil.Process(daemon.pid).memory_full_info()
    finally:
        daemon.terminate()
        daemon.wait(20)
    return {"first_result_s": first_s, "rss_mib": memory.rss / 2**20, "pss_mib": memory.pss / 2**20}


def one_round(seconds: float = 0.0) -> dict[str, float]:
    """Two starts on one state directory."""
    with tempfile.TemporaryDirectory() as folder:
        new_model_s = one_run(Path(folder), 0.0)["first_result_s"]
        return {"new_model_s": new_model_s, **one_run(Path(folder), seconds)}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks run startup", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    runs = []
    for number in range(asked.runs + 1):
        figures = one_round(asked.seconds)
        if number:  # the first one warms the file cache
            runs.append(figures)
            if not asked.json:
                print("  ".join(f"{name} {value:.2f}" for name, value in figures.items()))
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    if asked.json:
        print(json.dumps({"runs": runs, "median": medians}))
    else:
        print("median  " + "  ".join(f"{name} {value:.2f}" for name, value in medians.items()))
