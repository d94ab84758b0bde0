"""What the daemon's speed was meant to be, and what the measurements say: pure functions of the stored parts.

A part is what ``performance`` stored of one bench: its name, then figures by round. A goal whose part was not
measured is shown as not measured.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.performance.peers import comparison

Parts = Mapping[str, Any]
Values = list[float]


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the first table."""

    what: str
    asked: str
    limit: float
    is_least: bool
    """Whether the limit is the least that will do; else the most."""
    values: Callable[[Parts], Values]
    """A value a round; KeyError or StatisticsError where nothing was measured."""
    why: Callable[[Parts], str] = lambda _: ""
    """Shown when the goal is missed: where the time goes, in figures."""
    form: str = "{:.2f}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal beside its measurement."""

    goal: Goal
    measured: str
    is_met: bool | None
    """None: not measured."""
    why: str


def verdicts(parts: Parts) -> list[Verdict]:
    """Every goal."""
    return [_verdict(goal, parts) for goal in GOALS]


def _verdict(goal: Goal, parts: Parts) -> Verdict:
    try:
        values = goal.values(parts)
        middle = statistics.median(values)
    except (
        KeyError,
        IndexError,
        ValueError,
    ):  # a part that was not run, or could not be; StatisticsError is one
        return Verdict(goal, "not measured", None, "")
    is_met = middle >= goal.limit if goal.is_least else middle <= goal.limit
    spread = (
        f" ({goal.form.format(min(values))} to {goal.form.format(max(values))})" if len(values) > 1 else ""
    )
    return Verdict(goal, goal.form.format(middle) + spread, is_met, "" if is_met else goal.why(parts))


def of_bench(part: str, ratio: str) -> Callable[[Parts], Values]:
    """One of the ratios of ``edge-runtime bench``."""
    return lambda parts: [one["report"]["ratios"][ratio]["median"] for one in parts[part]["rounds"]]


def best_peer(one: Mapping[str, Any], streams: str, figure: str, choose: Callable[[Values], float]) -> float:
    """The best figure that any peer had in this round."""
    found = (one["contenders"].get(peer.name, {}).get(streams, {}).get(figure) for peer in comparison.PEERS)
    return choose([value for value in found if value is not None])


def over_peers(
    contender: str,
    streams: str,
    figure: str,
    choose: Callable[[Values], float],
    requests: str | None = None,
) -> Callable[[Parts], Values]:
    """The daemon's figure over the best peer's, each within one round; a peer has a request a stream under way.

    ``requests``: compare with the peers' figure for that many, because the daemon has more of a stream under way.
    """

    def values(parts: Parts) -> Values:
        return [
            one["contenders"][contender][streams][figure]
            / best_peer(one, requests or streams, figure, choose)
            for one in parts["peers"]["rounds"]
        ]

    return values


def memory_over_fastest(parts: Parts) -> Values:
    """Memory of the daemon over that of the peer that was fastest with two streams, in each round."""
    found = []
    for one in parts["peers"]["rounds"]:
        answered = [one["contenders"].get(peer.name, {}).get("2", {}) for peer in comparison.PEERS]
        fastest = max((a for a in answered if "frames_per_s" in a), key=lambda a: float(a["frames_per_s"]))
        found.append(one["contenders"][comparison.FOLDER]["2"]["pss_mib"] / fastest["pss_mib"])
    return found


def _bench_profile(part: str) -> Callable[[Parts], str]:
    def why(parts: Parts) -> str:
        rounds = parts[part]["rounds"]

        def middle(of: str, name: str) -> float:
            return statistics.median(float(one["report"]["summary"][of][name]) for one in rounds)

        bound = middle("loop", "frames_per_s") / middle("bare", "frames_per_s")
        cpu = " / ".join(f"{middle(of, 'cpu_ms_per_frame'):.1f}" for of in ("bare", "loop", "daemon"))
        capacities = ", ".join(f"{one['capacity']:.2f}" for one in rounds)
        return (
            f"engine with picture code in one loop reaches {bound:.2f} of the bare engine; CPU a frame bare / loop / "
            f"daemon {cpu} ms; two bare callers gave {capacities} times one caller's frames"
        )

    return why


def _paced_profile(parts: Parts) -> str:
    rounds = parts["one stream"]["rounds"]

    def middle(name: str) -> float:
        return statistics.median(float(one["report"]["summary"]["daemon paced"][name]) for one in rounds)

    steps = ", ".join(
        f"{step} {middle(f'{step}_ms_p50'):.1f}" for step in ("decode", "prepare", "queue", "infer")
    )
    bare = [one["report"]["summary"]["bare paced"] for one in rounds]
    p50, p99 = (statistics.median(one[f"call_ms_{p}"] for one in bare) for p in ("p50", "p99"))
    return f"p50 of the steps, ms: {steps}; the bare engine's own p99 is {p99 / p50:.2f} times its p50"


def _arrivals(parts: Parts) -> Values:
    return [one["subscriber_p99_ms"] / one["bare_p50_ms"] for one in parts["arrival"]["rounds"]]


def _arrival_profile(parts: Parts) -> str:
    rounds = parts["arrival"]["rounds"]

    def middle(name: str) -> float:
        return statistics.median(float(one[name]) for one in rounds)

    ways = ", ".join(
        f"to the {way} {middle(f'{way}_p50_ms'):.1f} / {middle(f'{way}_p99_ms'):.1f}"
        for way in ("outbox", "subscriber")
    )
    return f"p50 / p99 from capture, ms: {ways}; the bare engine's p50 is {middle('bare_p50_ms'):.1f}"


def _cpu_profile(parts: Parts) -> str:
    rounds = parts["quiet"]["rounds"]
    names = {"bare_cpu_ms": "engine", "loop_cpu_ms": "with picture code", "daemon_cpu_ms": "daemon"}
    names["daemon_cpu_ms_without_recalibration"] = "daemon without drift monitor and reservoir"
    return "CPU a frame, ms: " + ", ".join(
        f"{words} {statistics.median(one[name] for one in rounds):.1f}" for name, words in names.items()
    )


def _peer_profile(parts: Parts) -> str:
    rounds = parts["peers"]["rounds"]
    loops = [one["contenders"][comparison.LOOP] for one in rounds]
    words = ", ".join(
        f"{statistics.median(one[n]['frames_per_s'] for one in loops):.0f} with {n}" for n in ("1", "2")
    )
    return f"frames/s of engine and picture code in a loop, without any server: {words} caller(s)"


def _swap_profile(parts: Parts) -> str:
    found = parts["hot swap"]["live"]
    worst, dropped = found["worst_over_p50_without_swaps"], found["dropped_without_swaps"]
    return f"without swaps the worst call was {worst:.1f} times the p50 of its time, and {dropped} frames were dropped"


def _swap_memory_profile(parts: Parts) -> str:
    found = parts["hot swap"]["memory"]["pss_mib"]
    return "MiB after so many swaps: " + ", ".join(f"{n}: {mib:.0f}" for n, mib in found)


def _by_hand(parts: Parts) -> Values:
    return [one["auto"] / min(one["1 by hand"], one["2 by hand"]) for one in parts["quota"]["rounds"]]


def _accuracy_loss(parts: Parts) -> Values:
    rows = parts["int8"]["measured"]
    return [100 * (row["float_accuracy"] - row["accuracy"]) for row in rows if row.get("float_accuracy")]


def _beside(which: str) -> Callable[[Parts], Values]:
    return lambda parts: [1 - one[which]["ratio"] for one in parts["beside"]["rounds"]]


def _rounds(part: str, over: str, under: str) -> Callable[[Parts], Values]:
    return lambda parts: [one[over] / one[under] for one in parts[part]["rounds"]]


def _swap(case: str, figure: str) -> Callable[[Parts], Values]:
    return lambda parts: [float(parts["hot swap"][case][figure])]


GOALS: Sequence[Goal] = (
    Goal("frames/s, 1 stream on every worker, over the bare engine with one caller", ">= 0.95", 0.95, True,
         of_bench("one stream", "frames_per_s"), _bench_profile("one stream")),
    Goal("the same over the bare engine with as many callers as the daemon has workers", "(>= 0.95)", 0.95, True,
         of_bench("one stream", "frames_per_s_over_bare_all"), _bench_profile("one stream")),
    Goal("frames/s, 2 streams, over the bare engine with two callers", ">= 0.80", 0.80, True,
         of_bench("two streams", "frames_per_s"), _bench_profile("two streams")),
    Goal("p99 capture to an MQTT subscriber over engine p50, 30 fps", "<= 1.6", 1.6, False,
         _arrivals, _arrival_profile),
    Goal("p99 capture to outbox over engine p50, 30 fps", "(<= 1.6)", 1.6, False,
         of_bench("one stream", "paced_total_p99_over_infer_p50"), _paced_profile),
    Goal("frames/s, 1 stream from a folder, several pictures under way, over the best peer with 1 request", ">= 1.3",
         1.3, True, over_peers(comparison.FOLDER, "1", "frames_per_s", max), _peer_profile),
    Goal("the same over the best peer with 2 requests under way", "(>= 1.1)", 1.1, True,
         over_peers(comparison.FOLDER, "1", "frames_per_s", max, "2"), _peer_profile),
    Goal("frames/s, 1 stream over MQTT, 4 pictures under way, over the best peer with 1 request", ">= 1.3",
         1.3, True, over_peers(comparison.MQTT, "1", "frames_per_s", max), _peer_profile),
    Goal("the same over MQTT over the best peer with 2 requests under way", "(>= 1.1)", 1.1, True,
         over_peers(comparison.MQTT, "1", "frames_per_s", max, "2"), _peer_profile),
    Goal("frames/s, 2 streams from a folder, over the best peer with 2 requests", ">= 1.1", 1.1, True,
         over_peers(comparison.FOLDER, "2", "frames_per_s", max), _peer_profile),
    Goal("frames/s, 2 streams over MQTT, 4 pictures each under way, over the best peer with 2 requests", ">= 1.1",
         1.1, True, over_peers(comparison.MQTT, "2", "frames_per_s", max), _peer_profile),
    Goal("memory over the fastest peer, 2 streams", "<= 0.5", 0.5, False, memory_over_fastest),
    Goal("memory over the smallest peer, 2 streams", "(<= 0.5)", 0.5, False,
         over_peers(comparison.FOLDER, "2", "pss_mib", min)),
    Goal("start to first result over the quickest peer", "<= 0.5", 0.5, False,
         over_peers(comparison.FOLDER, "1", "first_result_s", min)),
    Goal("CPU a frame at 10 fps over the bare engine", "<= 1.2", 1.2, False,
         _rounds("quiet", "daemon_cpu_ms", "bare_cpu_ms"), _cpu_profile),
    Goal("idle share of a core: a watched folder, no capture process, no MQTT client", "<= 1 %", 0.01, False,
         lambda parts: [one["idle_share"] for one in parts["quiet"]["rounds"]], form="{:.1%}"),
    Goal("30 hot swaps at 30 fps: frames dropped", "0", 0, False, _swap("live", "dropped"),
         _swap_profile, "{:.0f}"),
    Goal("30 hot swaps flat out: frames dropped", "0", 0, False, _swap("flat_out", "dropped"), form="{:.0f}"),
    Goal("30 hot swaps at 30 fps: worst call over p50", "<= 2", 2, False,
         _swap("live", "worst_over_p50"), _swap_profile),
    Goal("200 hot swaps: memory", "+<= 5 %", 0.05, False, _swap("memory", "growth"), _swap_memory_profile, "{:+.1%}"),
    Goal("frames/s lost beside a recalibration, a core free", "<= 5 %", 0.05, False,
         _beside("free core"), form="{:.1%}"),
    Goal("the same, no core free", "<= 15 %", 0.15, False, _beside("no free core"), form="{:.1%}"),
    Goal("quota of one CPU: p99, threads auto over the best by hand", "not worse (10 % is noise)", 1.1, False,
         _by_hand),
    Goal("int8 over float speed (CPU time), ONNX Runtime", ">= 1.3", 1.3, True, _rounds("int8", "float_ms", "int8_ms")),
    Goal("int8 under float accuracy, points", "<= 1", 1.0, False, _accuracy_loss),
)  # fmt: skip
