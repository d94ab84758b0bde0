"""Requests while a camera runs: ``python -m benchmarks run http-perf --perf-analyzer PROGRAM``.

NVIDIA's perf_analyzer sends prepared tensors over HTTP and gRPC; callers of our own send pictures of 1280 x 720 as
JPEG, which it cannot. PROGRAM is in the wheels of ``tritonclient`` for Linux up to 2.45, a zip file, below
``data/bin``; it needs ``libb64`` (Debian: ``libb64-0d``) and ``libcudart.so.12`` (the package
``nvidia-cuda-runtime-cu12``), also where there is no GPU; ``LD_LIBRARY_PATH`` says where they are.
"""

import json
import os
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from benchmarks.performance.bare_runs import BUNDLE, pictures_in
from benchmarks.performance.requests.callers import Figures, run_perf_analyzer, send_pictures
from edge_runtime.cli.bench.daemon import run_daemon

MODEL, CAMERA = "parts", "belt"
CALLERS = (1, 4, 12)


@dataclass(frozen=True, slots=True)
class Camera:
    """The camera's frames meanwhile."""

    results_per_s: float
    dropped: int


@dataclass(frozen=True, slots=True)
class Look:
    """One way of asking, by so many callers."""

    way: str
    callers: int
    camera: Camera
    requests: Figures | None


Way = Callable[[int], Figures | None]


def measure(program: Path, fps: float, seconds: float, callers: tuple[int, ...]) -> Iterator[Look]:
    """One daemon; each way with each number of callers."""
    http_port, grpc_port = _find_free_ports()
    config = {
        "device": "bench",
        "models": {MODEL: {"bundle": str(BUNDLE), "threads": 1, "recalibrate": False}},
        "cameras": {CAMERA: {"path": "demo:conveyor", "model": MODEL, "fps": fps}},
        # perf_analyzer gives up at the first refusal
        "http": {"port": http_port, "grpc_port": grpc_port, "predict": {"queue": max(callers)}},
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="http-perf-")))
        pictures = [path.read_bytes() for path in pictures_in(folder / "pictures")]
        stack.enter_context(run_daemon(config, folder / "box"))
        yield _look(http_port, "none", 0, lambda _: time.sleep(seconds))
        ways: dict[str, Way] = {
            "JPEG, POST /predict": lambda count: send_pictures(http_port, pictures, count, seconds),
            "tensor, Open Inference Protocol over HTTP": lambda count: run_perf_analyzer(
                program, "http", http_port, MODEL, count, seconds, folder
            ),
            "tensor, Open Inference Protocol over gRPC": lambda count: run_perf_analyzer(
                program, "grpc", grpc_port, MODEL, count, seconds, folder
            ),
        }
        for name, ask in ways.items():
            for count in callers:
                yield _look(http_port, name, count, ask)


def _look(port: int, way: str, callers: int, ask: Way) -> Look:
    (results, dropped), began_s = _read_camera(port), time.monotonic()
    figures = ask(callers)
    (results_after, dropped_after), took_s = _read_camera(port), time.monotonic() - began_s
    camera = Camera((results_after - results) / took_s, dropped_after - dropped)
    return Look(way, callers, camera, figures)


def _read_camera(port: int) -> tuple[int, int]:
    """Results until now, and frames without one: those that the camera, the queue or their age cost."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=60) as answer:
        status = json.load(answer)
    model, camera = status["models"][MODEL], status["cameras"][CAMERA]
    dropped = camera["dropped"] + model["dropped_oldest"] + model["dropped_stale"]
    return model["streams"][CAMERA]["results"], dropped


def _find_free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return int(one.getsockname()[1]), int(other.getsockname()[1])


def row(look: Look) -> str:
    """Of the table in docs/http.md."""
    asked = look.requests
    cells = ["", "", ""]
    if asked is not None:
        cells = [f"{asked.answers_per_s:.0f}", f"{asked.p50_ms:.0f} ms", f"{asked.p99_ms:.0f} ms"]
    shown = [
        look.way,
        str(look.callers),
        *cells,
        f"{look.camera.results_per_s:.1f}",
        str(look.camera.dropped),
    ]
    return f"| {' | '.join(shown)} |"


@click.command()
@click.option(
    "--perf-analyzer",
    "program",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="NVIDIA's program.",
)
@click.option("--fps", type=click.FloatRange(1, 240), default=10.0, show_default=True, help="Of the camera.")
@click.option("--seconds", type=click.FloatRange(1), default=12.0, show_default=True, help="Of each look.")
@click.option("--callers", type=click.IntRange(1, 256), multiple=True, default=CALLERS, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(program: Path, fps: float, seconds: float, callers: tuple[int, ...], as_json: bool) -> None:
    """Measure requests while a camera runs."""
    looks, load = list[Look](), os.getloadavg()[0]
    for look in measure(program.absolute(), fps, seconds, callers):
        looks.append(look)
        print(row(look), file=sys.stderr)
    if as_json:
        click.echo(json.dumps([asdict(look) for look in looks], indent=2))
        return
    click.echo(
        "| requests | callers | answers/s | median | p99 | results/s of the camera | its frames dropped |"
    )
    click.echo("|---|---|---|---|---|---|---|")
    click.echo("\n".join(map(row, looks)))
    click.echo(f"\n{os.cpu_count()} CPUs; load average {load:.1f} before, {os.getloadavg()[0]:.1f} after")
