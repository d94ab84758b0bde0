"""CPU and memory of cameras without inference, compared with ffmpeg: ``python -m benchmarks run cameras``.

A real RTSP server (aio-rtsp-toolkit) sends 1080p25 H.264 to capture processes and to Debian's ``ffmpeg``, in turn
within each round. The processor time of the server is not counted.
"""

import argparse
import json
import logging
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import structlog
from numpy.typing import NDArray

from benchmarks.performance.bare_runs import Report
from edge_runtime.sources.base import EndOfStream
from edge_runtime.sources.capture_protocol import VideoOptions
from edge_runtime.sources.demo import DATA
from edge_runtime.sources.video import VideoSource

WIDTH, HEIGHT, FPS, KEY_EVERY = 1920, 1080, 25, 50
CLIP_S = 24
SETTLE_S = 3.0
WANTED_FPS = 5.0
KEY_FPS = FPS / KEY_EVERY
SLOPE = (1, 2, 4, 8)


def write_clip(path: Path) -> None:
    """A still scene with noise and one thing that moves, about 3 Mbit/s, as a camera sends it: no B-frames."""
    rng = np.random.default_rng(0)
    scene, thing = read_picture("street", (WIDTH, HEIGHT)), read_picture("fruits", (320, 320))
    noise = [rng.normal(0, 2, (HEIGHT, WIDTH, 1)) for _ in range(8)]
    scenes = [np.clip(scene + one, 0, 255).astype(np.uint8) for one in noise]
    with av.open(str(path), "w") as file:
        options = {"g": str(KEY_EVERY), "sc_threshold": "0", "bf": "0", "preset": "veryfast"}
        stream = file.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 3_000_000
        for number in range(FPS * CLIP_S):
            picture = scenes[number % len(scenes)].copy()
            left = number * 6 % (WIDTH - 320)
            picture[400:720, left : left + 320] = thing
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        file.mux(stream.encode())


def read_picture(name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One of the demo's, scaled to this width and height; BGR."""
    picture = cv2.imread(str(DATA / "pictures" / f"{name}.jpg"))
    assert picture is not None, "it is in the package"
    return cv2.resize(picture, size).astype(np.uint8)


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
        time.sleep(1.5)
        yield f"rtsp://127.0.0.1:{ports[0]}/clip.mp4", psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


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
    """Of ffmpeg, which makes BGR frames of the same rate."""
    command = ["ffmpeg", "-nostdin", "-v", "error", *options, "-rtsp_transport", "tcp", "-i", url]
    process = subprocess.Popen(
        [*command, "-vf", f"fps={WANTED_FPS:g}", "-pix_fmt", "bgr24", "-f", "rawvideo", "-y", "/dev/null"],
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(SETTLE_S)
        return share_of_core([psutil.Process(process.pid)], look_s)
    finally:
        process.kill()
        process.wait()


def measure_cpu(url: str, look_s: float) -> dict[str, float]:
    """Percent of a core: ours and ffmpeg's."""
    found = {"ffmpeg": ffmpeg_share(url, look_s)}
    for name, options in (
        ("all", VideoOptions(fps=WANTED_FPS)),
        ("keyframes", VideoOptions(fps=KEY_FPS, decode="keyframes")),
    ):
        with readers(url, 1, options):
            found[name] = share_of_core(own_processes(), look_s)
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
    found = {}
    options = VideoOptions(fps=WANTED_FPS, stall_timeout_s=1.0)
    for name in ("alone", "with a dead camera"):
        with ExitStack() as stack:
            if name != "alone":
                dead_url, server = stack.enter_context(rtsp_server(folder))
                stack.enter_context(readers(dead_url, 1, options))
                server.suspend()
            (reader,) = stack.enter_context(readers(url, 1, options))
            reader.ages_ms.clear()
            time.sleep(look_s)
            found[name] = float(np.percentile(reader.ages_ms, 99))
    return found


def measure_slope(url: str, look_s: float) -> dict[str, float]:
    """Percent of a core for so many cameras, key frames only: this many can be decoded on any machine."""
    found = {}
    for count in SLOPE:
        with readers(url, count, VideoOptions(fps=KEY_FPS, decode="keyframes")):
            found[str(count)] = share_of_core(own_processes(), look_s)
    return found


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
        if "dead" in one:
            ratio = one["dead"]["with a dead camera"] / one["dead"]["alone"]
            found.setdefault("p99 with a dead camera over alone", []).append(ratio)
    return found


@contextmanager
def streamed_clip(clip: Path | None = None) -> Iterator[tuple[str, Path]]:
    """The address of the clip, which is made where none is given, and its folder."""
    with tempfile.TemporaryDirectory(prefix="cameras-") as place:
        folder = Path(place)
        if clip is None:
            write_clip(folder / "clip.mp4")
        else:
            shutil.copy(clip, folder / "clip.mp4")
        with rtsp_server(folder) as (url, _):
            yield url, folder


def measure(*, rounds: int, seconds: float) -> Report:
    """The part ``cameras`` of the page: cores of one camera at ``WANTED_FPS``, of key frames only, and of ffmpeg."""
    with streamed_clip() as (url, _):
        found = [measure_cpu(url, seconds) for _ in range(rounds)]
    names = {"daemon_cores": "all", "keyframes_cores": "keyframes", "ffmpeg_cores": "ffmpeg"}
    return {"rounds": [{key: one[name] / 100 for key, name in names.items()} for one in found]}


def main() -> None:
    """Measure and print; a round of one part takes at most a minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--look-s", type=float, default=8.0)
    parser.add_argument("--parts", nargs="+", default=["cpu", "memory", "dead", "slope"])
    parser.add_argument("--clip", type=Path, help="instead of the one that is made")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        sys.exit("ffmpeg is missing: apt-get install ffmpeg")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    rounds = []
    with streamed_clip(given.clip) as (url, folder):
        for _ in range(given.rounds):
            one: dict[str, dict[str, float]] = {}
            if "cpu" in given.parts:
                one["cpu"] = measure_cpu(url, given.look_s)
            if "memory" in given.parts:
                one["memory"] = {"MiB of a further camera": measure_memory(url)}
            if "dead" in given.parts:
                one["dead"] = measure_dead_camera(url, folder, given.look_s)
            if "slope" in given.parts:
                one["slope"] = measure_slope(url, given.look_s)
            rounds.append(one)
    for name, values in ratios(rounds).items():
        print(f"{name}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    if given.json is not None:
        given.json.write_text(json.dumps(rounds, indent=1))
