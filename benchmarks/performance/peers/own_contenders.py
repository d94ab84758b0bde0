"""What peers are compared with: the daemon's three ways in, and its code in a plain loop."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.performance.bare_runs import Report, bare
from benchmarks.performance.peers import mqtt_load
from benchmarks.performance.peers.http_load import PeerServer, free_port, started
from edge_runtime.cli.bench.bare import MODEL
from edge_runtime.cli.bench.daemon import find_installed_environment, run_daemon

FOLDER, MQTT_AHEAD = "daemon, folder", "daemon, MQTT, 4 under way"
MQTT, HTTP = "daemon, MQTT", "daemon, POST /predict"
LOOP = "engine and picture code in a loop"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What every contender of a round gets."""

    bundle: Path
    pictures: Sequence[Path]
    """JPEGs in a folder of their own."""
    seconds: float
    """Length of one look."""
    folder: Path
    """For files of the contenders; empty."""

    @property
    def raw(self) -> list[bytes]:
        """The pictures as bytes."""
        return [path.read_bytes() for path in self.pictures]


def from_folder(order: Measurement, streams: int) -> Report:
    """Pictures of a folder, which are read ahead: a lone stream keeps both workers busy."""
    camera = {"path": str(order.pictures[0].parent), "model": MODEL, "loop": True}
    config = {**daemon_config(order.bundle), "cameras": {f"camera-{n}": camera for n in range(streams)}}
    with run_daemon(config, order.folder / f"folder-{streams}") as running:
        found = running.look(order.seconds)
        found["call_ms"] = [one["total"] for one in found.pop("timings_ms")]
        return summed({**found, "first_result_s": running.first_result_s})


def over_mqtt(order: Measurement, streams: int, window: int) -> Report:
    """Pictures and results through a real mosquitto, ``window`` of each stream under way."""
    place = order.folder / f"mqtt-{streams}-{window}"
    place.mkdir()
    config = daemon_config(order.bundle)
    return summed(mqtt_load.measure(config, order.raw, streams, order.seconds, place, window))


def over_http(order: Measurement, streams: int) -> Report:
    """``POST /predict``: the client and the protocol of the peers. Its only camera is a folder that stays empty."""
    place, port = order.folder / f"http-{streams}", free_port()
    (place / "empty").mkdir(parents=True)
    config = {**daemon_config(order.bundle, port), "state_dir": str(place / "state")}
    config["cameras"] = {"camera": {"path": str(place / "empty"), "model": MODEL, "watch": True}}
    (place / "box.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "edge_runtime", "run", str(place / "box.yaml")]
    log, raw = place / "daemon.log", order.raw
    with started(command, find_installed_environment(), log) as process:
        server = PeerServer(process, port, raw[0], log, "/predict")
        found = server.load(raw, streams, order.seconds)
        return summed({**found, "first_result_s": server.first_result_s})


def loop(order: Measurement, streams: int) -> Report:
    """No server: as many threads as streams."""
    return summed(bare(order.bundle, order.pictures, order.seconds, callers=streams, prepares=True))


def daemon_config(bundle: Path, port: int | None = None) -> Report:
    """Without cameras: one model, and every frame wanted however old."""
    return {
        "device": "bench",
        "models": {MODEL: {"bundle": str(bundle.resolve()), "max_age_ms": None}},
        "http": {"port": port or free_port()},
        "log": {"level": "error"},
    }


def summed(figures: Report) -> Report:
    """With percentiles of the calls instead of every call."""
    plain = {name: value for name, value in figures.items() if name not in ("call_ms", "runs_on")}
    p50, p99 = np.percentile(figures["call_ms"] or [np.nan], (50, 99))
    return {**plain, "call_ms_p50": float(p50), "call_ms_p99": float(p99)}
