"""The page ``docs/results/performance.md`` out of the stored parts. Pure text."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.performance.bare_runs import WEAK_CAPACITY
from benchmarks.performance.goals import Parts, verdicts
from benchmarks.performance.peers import comparison

CONTENDERS = (
    comparison.FOLDER, comparison.FOLDER_1, comparison.MQTT, *(peer.name for peer in comparison.PEERS),
    comparison.LOOP, comparison.BENCHMARK_APP,
)  # fmt: skip
SWAP_FIGURES = (
    "accepted", "results", "dropped", "dropped_without_swaps", "call_ms_p50", "call_ms_p99", "worst_over_p50",
    "worst_over_p50_without_swaps", "swap_ms_p50", "growth", "growth_after_10",
)  # fmt: skip

INTRODUCTION = (
    "Written by `make bench`; a part that is missing was not measured on this machine. Every ratio is of two figures "
    "of one round, in which the contenders took turns; shown are the median over the rounds and the range."
)


def page(parts: Parts, facts: Mapping[str, str]) -> str:
    """Everything; ``facts`` are machine and versions, in words."""
    sections = [
        "# Performance",
        INTRODUCTION,
        _table(("", ""), facts.items()),
        "## Goals",
        _goals(parts),
        _misses(parts),
        *_bench_sections(parts),
        *_arrival_section(parts),
        *_peer_section(parts),
        *_swap_section(parts),
        *_recalibration_section(parts),
        *_quota_section(parts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _goals(parts: Parts) -> str:
    words = {True: "met", False: "**missed**", None: ""}
    rows = ((one.goal.what, one.goal.asked, one.measured, words[one.is_met]) for one in verdicts(parts))
    return _table(("", "goal", "measured", ""), rows)


def _misses(parts: Parts) -> str:
    lines = [f"- {one.goal.what}: {one.why}." for one in verdicts(parts) if one.is_met is False and one.why]
    return "Where the time of the missed ones goes:\n\n" + "\n".join(lines) if lines else ""


def _bench_sections(parts: Parts) -> Iterable[str]:
    for name in ("one stream", "two streams"):
        if name not in parts:
            continue
        rounds = parts[name]["rounds"]
        yield f"## The daemon and the bare engine: {name}"
        capacities = _capacity([one["capacity"] for one in rounds])
        yield f"{rounds[0]['report']['pictures']}. {_concurrency(rounds[0]['report'])} {capacities}"
        parts_of = list(rounds[0]["report"]["summary"])
        figures = ("frames_per_s", "cpu_ms_per_frame", "pss_mib", "call_ms_p50", "call_ms_p99", "decode_ms_p50",
                   "queue_ms_p50", "infer_ms_p50", "total_ms_p50", "total_ms_p99")  # fmt: skip
        rows = (
            (
                part,
                *(
                    _middle([one["report"]["summary"][part].get(figure) for one in rounds])
                    for figure in figures
                ),
            )
            for part in parts_of
        )
        yield _table(("", *(figure.replace("_", " ") for figure in figures)), rows)


def _concurrency(report: Mapping[str, Any]) -> str:
    callers, workers = report.get("callers", "?"), report.get("workers", "?")
    return (
        f"`bare` and `loop` have a caller a stream ({callers}); the daemon gives a lone stream all of its workers "
        f"({workers}, decision 11), and `bare all` and `loop all` have as many callers."
    )


def _arrival_section(parts: Parts) -> Iterable[str]:
    if "arrival" not in parts:
        return
    yield "## From capture to a subscriber"
    if "unavailable" in parts["arrival"]:
        yield f"Not measured: {parts['arrival']['unavailable']}."
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
        (words, *(_spread([one.get(f"{way}_{p}_ms") for one in rounds]) for p in ("p50", "p99")))
        for way, words in ways.items()
    )
    yield _table(("", "p50, ms", "p99, ms"), rows)


def _peer_section(parts: Parts) -> Iterable[str]:
    if "peers" not in parts:
        return
    rounds = parts["peers"]["rounds"]
    yield "## Compared with servers of models"
    yield (
        "The same int8 model, picture code, engine settings and 1280 x 720 JPEG bytes. Peers answer a closed loop of "
        "one HTTP request a stream over loopback; the daemon reads the same bytes from a folder, or takes them as MQTT "
        "messages through a real mosquitto, four under way a stream as a camera would have them, and gives its results "
        "back the same way. A peer with one stream has one picture under way, with two streams two; the daemon has "
        "several of one stream already: it waits for no result before it takes the next picture. So one stream is "
        "compared with both. `benchmark_app` has neither picture code nor server: it is an upper bound of its engine."
    )
    yield _capacity([min(one["capacity"], one["capacity_after"]) for one in rounds])
    head = ("", "frames/s, 1 stream", "2 streams", "CPU a frame, ms (2)", "call p50 / p99, ms (1)", "memory, MiB (2)",
            "first result, s")  # fmt: skip
    yield _table(head, (_contender(name, rounds) for name in CONTENDERS))


def _contender(name: str, rounds: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    def of(streams: str, figure: str) -> str:
        return _spread([one["contenders"].get(name, {}).get(streams, {}).get(figure) for one in rounds])

    latency = f"{of('1', 'call_ms_p50')} / {of('1', 'call_ms_p99')}"
    return (
        name, of("1", "frames_per_s"), of("2", "frames_per_s"), of("2", "cpu_ms_per_frame"),
        latency, of("2", "pss_mib"), of("1", "first_result_s"),
    )  # fmt: skip


def _swap_section(parts: Parts) -> Iterable[str]:
    if "hot swap" not in parts:
        return
    cases = ("live", "flat_out", "memory")
    yield "## Hot swaps"
    yield "Real patched models, read, checked, loaded and warmed while a pipeline runs. `memory`: no pause between."
    rows = (
        (figure, *(f"{parts['hot swap'][case][figure]:.4g}" for case in cases)) for figure in SWAP_FIGURES
    )
    yield _table(("", *cases), rows)


def _recalibration_section(parts: Parts) -> Iterable[str]:
    if "during recalibration" not in parts:
        return
    rounds = parts["during recalibration"]["rounds"]
    yield "## Live inference during a recalibration"
    yield (
        "`paced`: one camera at 15 frames/s. `free core`: one stream flat out, the daemon bound to one CPU, since a "
        "lone stream would use them all. `no free core`: two streams flat out on every CPU. p99 is from capture to "
        "result."
    )
    yield _capacity([one["capacity"] for one in rounds])
    figures = ("alone", "during", "alone_p99_ms", "during_p99_ms", "job_s")
    rows = (
        (which, *(_spread([one[which].get(figure) for one in rounds]) for figure in figures))
        for which in ("paced", "free core", "no free core")
        if which in rounds[0]
    )
    head = ("frames/s alone", "during it", "p99 alone, ms", "p99 during it, ms", "recalibration, s")
    yield _table(("", *head), rows)


def _quota_section(parts: Parts) -> Iterable[str]:
    if "quota" not in parts:
        return
    yield "## Under a quota of one CPU"
    if "unavailable" in parts["quota"]:
        yield f"Not measured: {parts['quota']['unavailable']}."
        return
    rounds = parts["quota"]["rounds"]
    yield _table(("threads", "p99 capture to outbox at 30 fps, ms"),
                 ((way, _spread([one[way] for one in rounds])) for way in rounds[0]))  # fmt: skip


def _capacity(values: Sequence[float]) -> str:
    weak = [str(number + 1) for number, value in enumerate(values) if value < WEAK_CAPACITY]
    mark = f" **Below {WEAK_CAPACITY} in round {', '.join(weak)}: no two whole cores then.**" if weak else ""
    listed = ", ".join(f"{value:.2f}" for value in values)
    return f"Two bare callers gave {listed} times the frames of one, round by round.{mark}"


def _middle(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.1f}" if known else ""


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "not measured"
    middle = f"{statistics.median(known):.3g}"
    return middle if len(known) == 1 else f"{middle} ({min(known):.3g} to {max(known):.3g})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
