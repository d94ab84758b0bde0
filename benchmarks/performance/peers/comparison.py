"""The daemon compared with mosec, LitServe, MLServer and OpenVINO's benchmark_app, in turns: ``benchmarks run peers``.

The same int8 model, picture code, engine settings and JPEG bytes for all; they differ in what is around. One and
two streams, closed loop over loopback; every contender is a tree of processes, started and ended in each round.
Peers live in an environment of their own (``--peers-python``; extra ``bench-peers``).
"""

import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.performance.bare_runs import BUNDLE, Report, bare, capacity, pictures_in
from benchmarks.performance.peers import mqtt_load
from benchmarks.performance.peers.http_load import Peer, PeerFailed, serving
from edge_runtime.cli.bench.bare import MODEL
from edge_runtime.cli.bench.daemon import run_daemon

STREAMS = (1, 2)
PEERS = (
    Peer("mosec, 2 workers", "mosec_server", workers=2, intra=1),
    Peer("mosec, 1 worker of 2 threads", "mosec_server", workers=1, intra=2),
    Peer("LitServe, 2 workers", "litserve_server", workers=2, intra=1),
    Peer("MLServer, 2 threads", "mlserver_server", workers=2, intra=1),
)
FOLDER, FOLDER_1, MQTT = "daemon, folder", "daemon, folder, threads: 1", "daemon, MQTT"
LOOP, BENCHMARK_APP = "engine and picture code in a loop", "benchmark_app (engine alone)"


def one_round(python: Path, seconds: float, number: int, bundle: Path = BUNDLE) -> Report:
    """Every contender once: its figures by number of streams, and what the box could give at the time.

    Each round begins with another contender: a box that becomes faster or slower meanwhile favours none.
    """
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        folder = Path(name)
        pictures = pictures_in(folder / "pictures", bundle)
        found: Report = {"capacity": capacity(bundle, pictures), "contenders": {}}
        contenders = _contenders(python, seconds, bundle, pictures, folder)
        first = number * len(contenders) // 3 % len(contenders)
        for contender, measure in contenders[first:] + contenders[:first]:
            figures = measure()
            found["contenders"].setdefault(contender, {}).update(figures)
            print(f"  {contender}: {line(figures)}", file=sys.stderr)
        found["capacity_after"] = capacity(bundle, pictures)
    return found


def _contenders(
    python: Path, seconds: float, bundle: Path, pictures: Sequence[Path], folder: Path
) -> list[tuple[str, Callable[[], Report]]]:
    """What to measure, by name; daemon and peers alternate."""
    raw = [path.read_bytes() for path in pictures]

    def loop(streams: int) -> Report:
        return {str(streams): _summed(bare(bundle, pictures, seconds, callers=streams, prepares=True))}

    def from_folder(streams: int, threads: int | None) -> Report:
        place = folder / f"folder-{streams}-{threads}"
        return {str(streams): _summed(_from_folder(bundle, pictures, streams, seconds, place, threads))}

    def over_mqtt(streams: int) -> Report:
        place = folder / f"mqtt-{streams}"
        place.mkdir()
        found = mqtt_load.measure(_config(bundle, None), raw, streams, seconds, place)
        return {str(streams): _summed(found)}

    def app(streams: int) -> Report:
        found = _benchmark_app(bundle, streams, seconds, folder)
        return {str(streams): {"error": "not installed"} if found is None else {"frames_per_s": found}}

    own: list[tuple[str, Callable[[], Report]]] = [
        (FOLDER, lambda: from_folder(1, None) | from_folder(2, None)),
        (MQTT, lambda: over_mqtt(1) | over_mqtt(2)),
        (FOLDER_1, lambda: from_folder(1, 1)),
        (LOOP, lambda: loop(1) | loop(2)),
    ]
    others: list[tuple[str, Callable[[], Report]]] = [
        (peer.name, partial(_peer, peer, python, bundle, pictures, seconds, folder)) for peer in PEERS
    ]
    turns = [one for pair in zip(own, others, strict=True) for one in pair]
    return [*turns, (BENCHMARK_APP, lambda: app(1) | app(2))]


def _peer(
    peer: Peer, python: Path, bundle: Path, pictures: Sequence[Path], seconds: float, folder: Path
) -> Report:
    raw = [path.read_bytes() for path in pictures]
    try:
        with serving(peer, python, bundle, raw[0], folder) as server:
            found = {str(streams): _summed(server.load(raw, streams, seconds)) for streams in STREAMS}
            found["1"]["first_result_s"] = server.first_result_s
            return found
    except PeerFailed as err:
        return {str(streams): {"error": str(err)} for streams in STREAMS}


def _from_folder(
    bundle: Path, pictures: Sequence[Path], streams: int, seconds: float, place: Path, threads: int | None
) -> Report:
    camera = {"path": str(pictures[0].parent), "model": MODEL, "loop": True}
    config = {**_config(bundle, threads), "cameras": {f"camera-{n}": camera for n in range(streams)}}
    with run_daemon(config, place) as running:
        found = running.look(seconds)
        found["call_ms"] = [one["total"] for one in found.pop("timings_ms")]
        return {**found, "first_result_s": running.first_result_s}


def _config(bundle: Path, threads: int | None) -> Report:
    model: dict[str, Any] = {"bundle": str(bundle.resolve()), "max_age_ms": None}
    if threads is not None:
        model["threads"] = threads
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    return {"device": "bench", "models": {MODEL: model}, "http": {"port": port}, "log": {"level": "error"}}


def _benchmark_app(bundle: Path, streams: int, seconds: float, folder: Path) -> float | None:
    """Frames a second of OpenVINO's own bench on prepared noise: no picture code, no server."""
    program = Path(sys.executable).with_name("benchmark_app")
    if not program.exists():
        return None
    command = [str(program), "-m", str(bundle / "model.onnx"), "-d", "CPU", "-hint", "none", "-api", "async"]
    command += ["-nstreams", str(streams), "-nireq", str(streams), "-nthreads", str(streams)]
    command += ["-t", str(max(1, round(seconds))), "-shape", "[1,3,224,224]", "-infer_precision", "f32"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=seconds + 60, check=False
    )
    throughput = re.search(r"Throughput:\s+([0-9.]+) FPS", done.stdout)
    return None if throughput is None else float(throughput[1])


def _summed(figures: Report) -> Report:
    plain = {name: value for name, value in figures.items() if name not in ("call_ms", "runs_on")}
    p50, p99 = np.percentile(figures["call_ms"] or [np.nan], (50, 99))
    return {**plain, "call_ms_p50": float(p50), "call_ms_p99": float(p99)}


def line(figures: Report) -> str:
    """Frames a second by number of streams, for a person who waits."""
    return "  ".join(f"{n}: {one.get('frames_per_s', float('nan')):.1f}" for n, one in figures.items())
