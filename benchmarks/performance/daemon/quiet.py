"""What the daemon costs when there is little to do: CPU a frame at 10 frames/s, and the share of a core when idle.

``benchmarks run quiet``. The bare engine with one thread is called at the same pace, in turns. CPU seconds
are much less sensitive to neighbours than the clock is.
"""

import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.performance.bare_runs import BUNDLE, Report, bare, pictures_in
from edge_runtime.cli.bench.bare import MODEL
from edge_runtime.cli.bench.daemon import run_daemon

FPS = 10.0


def measure(*, rounds: int, seconds: float, bundle: Path = BUNDLE) -> Report:
    """CPU milliseconds a frame of engine, engine with picture code, and daemon; then an idle watched folder."""
    found = []
    with tempfile.TemporaryDirectory(prefix="quiet-") as name:
        folder = Path(name)
        pictures = pictures_in(folder / "pictures", bundle)
        for number in range(rounds):
            engine = bare(bundle, pictures, seconds, fps=FPS)["cpu_ms_per_frame"]
            loop = bare(bundle, pictures, seconds, fps=FPS, prepares=True)["cpu_ms_per_frame"]
            whole = _at_pace(bundle, pictures, seconds, folder / f"paced-{number}")
            idle = _idle(bundle, pictures, seconds, folder / f"idle-{number}")
            found.append({"bare_cpu_ms": engine, "loop_cpu_ms": loop, **whole, "idle_share": idle})
    return {"fps": FPS, "rounds": found}


def daemon_config(bundle: Path, camera: dict[str, Any], threads: int | None = 1) -> dict[str, Any]:
    """One camera, its model with so many threads in a call; None leaves that to the daemon."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    model: dict[str, Any] = {"bundle": str(bundle.resolve())}
    if threads is not None:
        model["threads"] = threads
    return {
        "device": "bench",
        "models": {MODEL: model},
        "cameras": {"camera": {"model": MODEL, **camera}},
        "http": {"port": port},
        "log": {"level": "error"},
    }


def _at_pace(bundle: Path, pictures: Sequence[Path], seconds: float, place: Path) -> Report:
    """The daemon with everything on, drift monitor and reservoir too, and with recalibration switched off."""
    camera = {"path": str(pictures[0].parent), "loop": True, "fps": FPS}
    config = daemon_config(bundle, camera)
    with run_daemon(config, place) as running:
        whole = running.look(seconds)["cpu_ms_per_frame"]
    config["models"][MODEL]["recalibrate"] = False
    with run_daemon(config, place.with_suffix(".plain")) as running:
        plain = running.look(seconds)["cpu_ms_per_frame"]
    return {"daemon_cpu_ms": whole, "daemon_cpu_ms_without_recalibration": plain}


def _idle(bundle: Path, pictures: Sequence[Path], seconds: float, place: Path) -> float:
    watched = place.with_suffix(".watched")
    watched.mkdir()
    shutil.copy(pictures[0], watched)
    with run_daemon(daemon_config(bundle, {"path": str(watched), "watch": True}), place) as running:
        return running.idle_share(max(5.0, seconds))
