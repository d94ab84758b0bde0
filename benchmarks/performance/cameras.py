"""CPU and memory of cameras without inference, compared with ffmpeg: ``python -m benchmarks run cameras``.

A real RTSP server (aio-rtsp-toolkit) sends 1080p25 H.264 to capture processes and to Debian's ``ffmpeg``, in turn
within each round. The processor time of the server is not counted.
"""

import json
import logging
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import numpy as np
import psutil
import structlog

from benchmarks.performance.bare_runs import Report
from benchmarks.performance.video_clip import FPS, KEY_EVERY, write_clip
from edge_runtime.sources.base import EndOfStream
from edge_runtime.sources.capture_protocol import VideoOptions
from edge_runtime.sources.video import VideoSource

CLIP_S = 24.0
SETTLE_S = 3.0
WANTED_FPS = 5.0
KEY_FPS = FPS / KEY_EVERY
SLOPE = (1, 2, 4, 8)


@contextmanager
def rtsp_server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address of the clip, and the server."""
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ports.append(str(taken.getsockname()[1]))
    command = [sys.executable, "-m", "server_demo", "-d", str(folder), "-H", "127.0.0.1", "-p", ports[0]]
    process = subprocess.Popen(
        [*command, "-cp", ports[1]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(int(ports[0]))
        yield f"rtsp://127.0.0.1:{ports[0]}/clip.mp4", psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the RTSP server does not answer")


class Reader:
    """Reads one camera in a thread and notes the age of each frame."""

    def __init__(self, url: str, options: VideoOptions) -> None:
        self._source, self.ages_ms = VideoSource("camera", url, options), list[float]()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            while True:
                frame = self._source.read(0.5)
                if frame is not None:
                    self.ages_ms.append((time.monotonic() - frame.captured_at_s) * 1e3)
        except EndOfStream:
            return

    def close(self) -> None:
        """End it."""
        self._source.close()
        self._thread.join()


@contextmanager
def readers(url: str, count: int, options: VideoOptions) -> Iterator[list[Reader]]:
    """So many cameras, after they have settled."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            opened.append(Reader(url, options))
            stack.callback(opened[-1].close)
        time.sleep(SETTLE_S + 0.3 * count)
        yield opened


def own_processes() -> list[psutil.Process]:
    """This process and its capture processes."""
    own = psutil.Process()
    return [own, *(p for p in own.children() if "edge_runtime.sources.capture_process" in p.cmdline())]


def share_of_core(processes: Sequence[psutil.Process], look_s: float) -> float:
    """Of a core, in percent."""

    def used_s() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    before_s, began_s = used_s(), time.monotonic()
    time.sleep(look_s)
    return 100 * (used_s() - before_s) / (time.monotonic() - began_s)


def pss_mib() -> float:
    """Of this process and its capture processes: shared pages count once."""
    return float(sum(process.memory_full_info().pss for process in own_processes()) / 2**20)


def ffmpeg_share(url: str, look_s: float, *options: str) -> float:
    """Of ffmpeg, which makes BGR frames of the same rate.

    Raises:
        RuntimeError: it made too few.
    """
    command = ["ffmpeg", "-nostdin", "-v", "error", *options, "-rtsp_transport", "tcp", "-i", url]
    command += ["-vf", f"fps={WANTED_FPS:g}", "-pix_fmt", "bgr24", "-f", "rawvideo", "-y", "/dev/null"]
    with tempfile.NamedTemporaryFile() as progress:
        process = subprocess.Popen([*command, "-progress", progress.name], stderr=subprocess.DEVNULL)
        try:
            time.sleep(SETTLE_S)
            found = share_of_core([psutil.Process(process.pid)], look_s)
            numbers = re.findall(rb"^frame=\s*(\d+)", Path(progress.name).read_bytes(), re.MULTILINE)
            _require(int(numbers[-1]) if numbers else 0, WANTED_FPS * look_s, "ffmpeg")
            return found
        finally:
            process.kill()
            process.wait()


def _require(frames: int, expected: float, whose: str) -> None:
    """A process without frames looks cheap."""
    if frames < 0.8 * expected - 2:
        raise RuntimeError(f"{whose} gave {frames} frames where about {expected:.0f} were expected")


def _share_of_readers(url: str, count: int, options: VideoOptions, look_s: float) -> float:
    """Of so many cameras, which must have given their frames."""
    with readers(url, count, options) as opened:
        for one in opened:
            one.ages_ms.clear()
        found = share_of_core(own_processes(), look_s)
        for one in opened:
            _require(len(one.ages_ms), (options.fps or FPS) * look_s, "a camera")
        return found


def measure_cpu(url: str, look_s: float) -> dict[str, float]:
    """Percent of a core: ours and ffmpeg's."""
    found = {"ffmpeg": ffmpeg_share(url, look_s)}
    for name, options in (
        ("all", VideoOptions(fps=WANTED_FPS)),
        ("keyframes", VideoOptions(fps=KEY_FPS, decode="keyframes")),
    ):
        found[name] = _share_of_readers(url, 1, options, look_s)
    found["ffmpeg keyframes"] = ffmpeg_share(url, look_s, "-skip_frame", "nokey")
    return found


def measure_memory(url: str) -> float:
    """MiB of each further camera."""
    sizes = []
    for count in (1, 3):
        with readers(url, count, VideoOptions(fps=WANTED_FPS)):
            time.sleep(2)
            sizes.append(pss_mib())
    return (sizes[1] - sizes[0]) / 2


def measure_dead_camera(url: str, folder: Path, look_s: float) -> dict[str, float]:
    """99th percentile of the age of another camera's frames, ms: alone, and with a camera whose server hangs."""
    options = VideoOptions(fps=WANTED_FPS, stall_timeout_s=1.0)
    alone = _p99_age_ms(url, options, look_s)
    with rtsp_server(folder) as (dead_url, server), readers(dead_url, 1, options):
        server.suspend()
        return {"alone": alone, "with a dead camera": _p99_age_ms(url, options, look_s)}


def _p99_age_ms(url: str, options: VideoOptions, look_s: float) -> float:
    with readers(url, 1, options) as (reader,):
        reader.ages_ms.clear()
        time.sleep(look_s)
        _require(len(reader.ages_ms), WANTED_FPS * look_s, "the camera")
        return float(np.percentile(reader.ages_ms, 99))


def measure_slope(url: str, look_s: float) -> dict[str, float]:
    """Percent of a core for so many cameras, key frames only: this many can be decoded on any machine."""
    options = VideoOptions(fps=KEY_FPS, decode="keyframes")
    return {str(count): _share_of_readers(url, count, options, look_s) for count in SLOPE}


def ratios(rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, list[float]]:
    """The figures that are compared, by round."""
    found: dict[str, list[float]] = {}
    for one in rounds:
        for part, figures in one.items():
            for name, value in figures.items():
                found.setdefault(f"{part}: {name}", []).append(value)
        if "cpu" in one:
            base = one["cpu"]["ffmpeg"]
            found.setdefault("cpu over ffmpeg", []).append(one["cpu"]["all"] / base)
            found.setdefault("cpu of key frames over ffmpeg", []).append(one["cpu"]["keyframes"] / base)
            ratio = one["cpu"]["keyframes"] / one["cpu"]["ffmpeg keyframes"]
            found.setdefault("cpu of key frames over ffmpeg's key frames", []).append(ratio)
        if "dead" in one:
            ratio = one["dead"]["with a dead camera"] / one["dead"]["alone"]
            found.setdefault("p99 with a dead camera over alone", []).append(ratio)
    return found


@contextmanager
def streamed_clip(clip: Path | None = None) -> Iterator[tuple[str, Path]]:
    """The address of the clip, which is made where none is given, and its folder."""
    if shutil.which("ffmpeg") is None:
        raise click.ClickException("ffmpeg is missing: apt-get install ffmpeg")
    with tempfile.TemporaryDirectory(prefix="cameras-") as place:
        folder = Path(place)
        if clip is None:
            write_clip(folder / "clip.mp4", CLIP_S)
        else:
            shutil.copy(clip, folder / "clip.mp4")
        with rtsp_server(folder) as (url, _):
            yield url, folder


def measure(*, rounds: int, seconds: float) -> Report:
    """The part ``cameras`` of the page: cores of one camera at ``WANTED_FPS``, of key frames only, and of ffmpeg."""
    if shutil.which("ffmpeg") is None:
        return {"unavailable": "ffmpeg was not found; install the Debian package ffmpeg"}
    with streamed_clip() as (url, _):
        found = [measure_cpu(url, seconds) for _ in range(rounds)]
    names = {
        "daemon_cores": "all",
        "keyframes_cores": "keyframes",
        "ffmpeg_cores": "ffmpeg",
        "ffmpeg_keyframes_cores": "ffmpeg keyframes",
    }
    return {"rounds": [{key: one[name] / 100 for key, name in names.items()} for one in found]}


PARTS = ("cpu", "memory", "dead", "slope")


def _measure_round(
    parts: Sequence[str], url: str, folder: Path, look_s: float
) -> dict[str, dict[str, float]]:
    measures: dict[str, Callable[[], dict[str, float]]] = {
        "cpu": lambda: measure_cpu(url, look_s),
        "memory": lambda: {"MiB of a further camera": measure_memory(url)},
        "dead": lambda: measure_dead_camera(url, folder, look_s),
        "slope": lambda: measure_slope(url, look_s),
    }
    return {part: measures[part]() for part in PARTS if part in parts}


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--look-s", type=click.FloatRange(0, min_open=True), default=8.0, show_default=True)
@click.option("--parts", type=click.Choice(PARTS), multiple=True, default=PARTS, show_default=True)
@click.option("--clip", type=click.Path(exists=True, path_type=Path), help="Instead of the one that is made.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Keeps the figures of each round.")
def main(rounds: int, look_s: float, parts: Sequence[str], clip: Path | None, json_file: Path | None) -> None:
    """Measure and print; a round of one part takes at most a minute."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with streamed_clip(clip) as (url, folder):
        found = [_measure_round(parts, url, folder, look_s) for _ in range(rounds)]
    for name, values in ratios(found).items():
        click.echo(f"{name}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1))
