"""The daemon and the bare engine; from capture to a subscriber; the picture path."""

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.performance.daemon.picture_path import OURS
from benchmarks.performance.sections.words import (
    Parts,
    capacity,
    middle,
    rounds_of,
    spread,
    table,
    unavailable,
)

_FIGURES = ("frames_per_s", "cpu_ms_per_frame", "pss_mib", "call_ms_p50", "call_ms_p99", "decode_ms_p50",
            "queue_ms_p50", "infer_ms_p50", "total_ms_p50", "total_ms_p99")  # fmt: skip
_WAYS = {
    OURS: "the daemon's picture code",
    "opencv": "OpenCV: decode whole, area filter",
    "pillow": "Pillow: decode whole, antialiased bilinear filter",
}


def bench_sections(parts: Parts) -> Iterable[str]:
    """One and two streams."""
    for name in ("one stream", "two streams"):
        if name not in parts:
            continue
        rounds = parts[name]["rounds"]
        yield f"## The daemon and the bare engine: {name}"
        capacities = capacity([one["capacity"] for one in rounds])
        yield f"{rounds[0]['report']['inputs']}. {_concurrency(rounds[0]['report'])} {capacities}"
        rows = (
            (
                part,
                *(
                    middle([one["report"]["summary"][part].get(figure) for one in rounds])
                    for figure in _FIGURES
                ),
            )
            for part in rounds[0]["report"]["summary"]
        )
        yield table(("", *(figure.replace("_", " ") for figure in _FIGURES)), rows)


def _concurrency(report: Mapping[str, Any]) -> str:
    callers, workers = report.get("callers", "?"), report.get("workers", "?")
    return (
        f"`bare` is the engine on prepared tensors, `loop` with picture code. They have a caller a stream ({callers}); "
        f"the daemon gives a lone stream all of its workers ({workers}, decision 11), and `bare all` and `loop all` "
        "have as many callers."
    )


def picture_section(parts: Parts) -> Iterable[str]:
    """Milliseconds a picture of each way."""
    rounds = rounds_of(parts, "picture path")
    if rounds:
        yield "## From a JPEG to the tensor"
        yield "One picture of 1280 x 720 at a time in one thread, the ways in turns."
        rows = (
            (words, spread([one.get(f"{way}_ms") for one in rounds]))
            for way, words in _WAYS.items()
        )  # fmt: skip
        yield table(("", "ms a picture"), rows)


def arrival_section(parts: Parts) -> Iterable[str]:
    """What a client of the broker sees."""
    if "arrival" not in parts:
        return
    yield "## From capture to a subscriber"
    if reason := unavailable(parts, "arrival"):
        yield reason
        return
    yield (
        f"One stream at {parts['arrival']['fps']:g} frames/s from a folder, results through a real mosquitto to a "
        "client on the same box, which compares its clock with `captured_at` (whole milliseconds: up to 1 too long). "
        "The outbox is where the daemon's own `total` ends."
    )
    rounds = parts["arrival"]["rounds"]
    ways = {
        "bare": "bare engine, a call",
        "outbox": "capture to outbox",
        "subscriber": "capture to subscriber",
    }
    rows = (
        (words, *(spread([one.get(f"{way}_{p}_ms") for one in rounds]) for p in ("p50", "p99")))
        for way, words in ways.items()
    )
    yield table(("", "p50, ms", "p99, ms"), rows)
