"""Callers that each send a request as soon as the one before is answered: by perf_analyzer, or with pictures."""

import csv
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np

from benchmarks.performance.peers.http_load import connected, post
from edge_runtime.cli.bench.bare import run_calls

WINDOWS = 3
"""perf_analyzer looks at so many, and says what it saw when they are alike."""
_ANY_SPREAD = 999
"""Percent by which they may differ: a busy machine is told by the figures."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the callers saw."""

    answers_per_s: float
    p50_ms: float
    p99_ms: float


def run_perf_analyzer(
    program: Path,
    transport: Literal["http", "grpc"],
    port: int,
    model: str,
    callers: int,
    seconds: float,
    folder: Path,
) -> Figures:
    """Prepared tensors of zeros, in binary.

    Args:
        program: NVIDIA's perf_analyzer.
        transport: Of the Open Inference Protocol.
        port: On this machine.
        model: Name.
        callers: Requests under way.
        seconds: About how long.
        folder: For its report.

    Raises:
        click.ClickException: it failed; with what it said.
    """
    report = folder / "perf.csv"
    report.unlink(missing_ok=True)
    command = [str(program), "-m", model, "-u", f"127.0.0.1:{port}", "-i", transport, "-f", str(report)]
    command += ["--concurrency-range", str(callers), "--percentile", "99", "--input-data", "zero"]
    command += ["-p", str(round(1000 * seconds / WINDOWS)), "-r", str(WINDOWS), "-s", str(_ANY_SPREAD)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20 * seconds + 60)
    except OSError as err:
        raise click.ClickException(f"{program} cannot be started: {err.strerror}") from err
    if done.returncode or not report.exists():
        raise click.ClickException(f"{program} failed: {(done.stdout + done.stderr).strip()[-600:]}")
    with report.open(newline="") as file:
        (row,) = csv.DictReader(file)
    p50, p99 = (float(row[f"{name} latency"]) / 1000 for name in ("p50", "p99"))
    return Figures(float(row["Inferences/Second"]), p50, p99)


def send_pictures(port: int, pictures: Sequence[bytes], callers: int, seconds: float) -> Figures:
    """Encoded pictures to ``POST /predict``."""
    own = threading.local()

    def step(number: int) -> None:
        if not hasattr(own, "connection"):
            own.connection = connected(port)
        post(own.connection, pictures[number % len(pictures)], "/predict")

    found = run_calls(step, callers, seconds, None)
    p50, p99 = np.percentile(found["call_ms"], [50, 99])
    return Figures(float(found["frames_per_s"]), float(p50), float(p99))
