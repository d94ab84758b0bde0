"""Servers of models, and what a user of cameras may write instead."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.performance.peers import comparison
from benchmarks.performance.peers import own_contenders as own
from benchmarks.performance.pipe.trial import DAEMON, INFERENCE, SCRIPT
from benchmarks.performance.sections.words import Parts, capacity, rounds_of, spread, table, unavailable

_GROUPS: dict[str, tuple[str, ...]] = {
    "The daemon": (own.FOLDER, own.MQTT, own.MQTT_AHEAD, own.HTTP),
    "Peers as documented": tuple(peer.name for peer in comparison.DOCUMENTED),
    "Peers with the daemon's picture code and engine": tuple(peer.name for peer in comparison.SAME_CODE),
    "Without any server": (own.LOOP,),
}
_NOT_COMPARED = (
    "Triton Inference Server is not in the comparison: the package `tritonserver` on PyPI is a source that builds only "
    "inside its container, and the server in `nvidia-pytriton` 0.7 starts but cannot load a model of Python here (its "
    "stub and Python 3.11.7 differ in the multiprocessing module). It has no ONNX back end either."
)
_NO_INFERENCE = (
    "Roboflow's `inference` was not measured in these rounds: it needs an environment of 7 GB "
    "(`--inference-python`)."
)


def peer_section(parts: Parts) -> Iterable[str]:
    """Frames a second, CPU, latency, memory and start of every contender."""
    if "peers" not in parts:
        return
    rounds = parts["peers"]["rounds"]
    yield "## Compared with servers of models"
    yield (
        "The same int8 model and 1280 x 720 JPEG bytes, one thread inside each call. Every peer runs twice: **as "
        "documented**, which decodes the whole picture (OpenCV with the area filter; Pillow is what mosec's own "
        "example takes) and runs a plain ONNX Runtime session; and **with the daemon's picture code and engine**, so "
        "that only the server differs. All peers get raw bytes, also where their documentation sends base64 or "
        "msgpack, and their threads are set: both make them quicker than their examples."
    )
    yield (
        "Equal concurrency: a peer has one HTTP request a stream under way over loopback, one or two. So has the "
        f"daemon in `{own.MQTT}` (pictures and results through a real mosquitto) and in `{own.HTTP}` (the client of "
        f"the peers). `{own.FOLDER}` reads ahead, as it does on a box: it works on two pictures at a time also with "
        f"one stream, so it is compared with two requests. `{own.MQTT_AHEAD}` sends as a camera does, without waiting."
    )
    yield capacity([one["capacity"] for one in rounds])
    head = ("", "frames/s, 1 stream", "2 streams", "CPU a frame, ms (2)", "call p50 / p99, ms (1)", "memory, MiB (2)",
            "first result, s")  # fmt: skip
    rows: list[Sequence[str]] = []
    for group, names in _GROUPS.items():
        rows.append((f"**{group}**", *[""] * (len(head) - 1)))
        rows.extend(_contender(name, rounds) for name in names)
    yield table(head, rows)
    yield _NOT_COMPARED


def _contender(name: str, rounds: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    def of(streams: str, figure: str) -> str:
        return spread([one["contenders"].get(name, {}).get(streams, {}).get(figure) for one in rounds])

    latency = f"{of('1', 'call_ms_p50')} / {of('1', 'call_ms_p99')}"
    return (
        name, of("1", "frames_per_s"), of("2", "frames_per_s"), of("2", "cpu_ms_per_frame"),
        latency, of("2", "pss_mib"), of("1", "first_result_s"),
    )  # fmt: skip


def pipe_section(parts: Parts) -> Iterable[str]:
    """H.264 cameras on the daemon, on an ffmpeg pipe and on Roboflow's package."""
    if "camera pipe" not in parts:
        return
    yield "## Compared with what a camera's user may write"
    if reason := unavailable(parts, "camera pipe"):
        yield reason
        return
    rounds = rounds_of(parts, "camera pipe")
    yield (
        f"1080p25 H.264 cameras over HTTP, {parts['camera pipe']['fps']:g} frames/s of each answered and published to "
        "a mosquitto. The script: an `ffmpeg` a camera with `fps`, `scale` and `crop`, raw frames through a pipe, one "
        "ONNX Runtime session with one thread for all, paho; no time limits, no reconnects, no queue on disk, no drift "
        "monitor, all of which the daemon has on. Processor time and memory of the whole tree of processes."
    )
    counts = sorted(rounds[0], key=int)
    head = (
        "",
        *(
            f"{what}, {n} camera{'s' * (n != '1')}"
            for what in ("frames/s", "cores", "memory, MiB")
            for n in counts
        ),
        "first result, s",
    )
    names = [name for name in (DAEMON, SCRIPT, INFERENCE) if name in rounds[0][counts[0]]]
    yield table(head, (_pipe_row(name, rounds, counts) for name in names))
    if INFERENCE not in names:
        yield _NO_INFERENCE
    else:
        yield (
            f"{INFERENCE} opens the model from a folder, without its hub, with its class for ResNets, and keeps its "
            "own threads; its environment has 7 GB."
        )


def _pipe_row(name: str, rounds: Sequence[Mapping[str, Any]], counts: Sequence[str]) -> tuple[str, ...]:
    def of(count: str, figure: str) -> str:
        return spread([one[count].get(name, {}).get(figure) for one in rounds])

    figures = (of(count, figure) for figure in ("frames_per_s", "cores", "pss_mib") for count in counts)
    return (name, *figures, of(counts[0], "first_result_s"))
