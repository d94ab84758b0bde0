"""The figures of the performance goals: pure functions of the stored parts.

A part is what ``measure_all`` stored of one benchmark: its name, then figures by round. A goal whose part was not
measured is shown as not measured.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.goals import Goal, goals_of
from benchmarks.performance.peers import comparison

Parts = Mapping[str, Any]
Values = list[float]


@dataclass(frozen=True, slots=True)
class Measure:
    """How the figure of a goal is computed."""

    values: Callable[[Parts], Values]
    """A value a round; KeyError or StatisticsError where nothing was measured."""
    why: Callable[[Parts], str] = lambda _: ""
    """Shown when the goal is missed: where the time goes, in figures."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and its measurement."""

    goal: Goal
    measured: str
    is_met: bool | None
    """None: not measured."""
    why: str


def verdicts(parts: Parts) -> list[Verdict]:
    """Every goal."""
    return [_verdict(goal, parts) for goal in goals_of("performance")]


def _verdict(goal: Goal, parts: Parts) -> Verdict:
    measure = MEASURES[goal.key]
    try:
        values = measure.values(parts)
        middle = statistics.median(values)
    except (
        KeyError,
        IndexError,
        ValueError,
    ):  # not run, or not possible here; StatisticsError is a ValueError
        return Verdict(goal, "not measured", None, "")
    is_met = goal.is_met(middle)
    lowest, highest = goal.form.format(min(values)), goal.form.format(max(values))
    spread = f" ({lowest} to {highest})" if len(values) > 1 else ""
    return Verdict(goal, goal.form.format(middle) + spread, is_met, "" if is_met else measure.why(parts))


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


def _loss_during_recalibration(which: str) -> Callable[[Parts], Values]:
    return lambda parts: [1 - one[which]["ratio"] for one in parts["during recalibration"]["rounds"]]


def _rounds(part: str, over: str, under: str) -> Callable[[Parts], Values]:
    return lambda parts: [one[over] / one[under] for one in parts[part]["rounds"]]


def _swap(case: str, figure: str) -> Callable[[Parts], Values]:
    return lambda parts: [float(parts["hot swap"][case][figure])]


MEASURES: Mapping[str, Measure] = {
    "one_stream": Measure(of_bench("one stream", "frames_per_s"), _bench_profile("one stream")),
    "one_stream_all_callers": Measure(
        of_bench("one stream", "frames_per_s_over_bare_all"), _bench_profile("one stream")
    ),
    "two_streams": Measure(of_bench("two streams", "frames_per_s"), _bench_profile("two streams")),
    "arrival_at_subscriber": Measure(_arrivals, _arrival_profile),
    "arrival_at_outbox": Measure(of_bench("one stream", "paced_total_p99_over_infer_p50"), _paced_profile),
    "one_folder_over_peer_1": Measure(over_peers(comparison.FOLDER, "1", "frames_per_s", max), _peer_profile),
    "one_folder_over_peer_2": Measure(
        over_peers(comparison.FOLDER, "1", "frames_per_s", max, "2"), _peer_profile
    ),
    "one_mqtt_over_peer_1": Measure(over_peers(comparison.MQTT, "1", "frames_per_s", max), _peer_profile),
    "one_mqtt_over_peer_2": Measure(
        over_peers(comparison.MQTT, "1", "frames_per_s", max, "2"), _peer_profile
    ),
    "two_folder_over_peer": Measure(over_peers(comparison.FOLDER, "2", "frames_per_s", max), _peer_profile),
    "two_mqtt_over_peer": Measure(over_peers(comparison.MQTT, "2", "frames_per_s", max), _peer_profile),
    "memory_over_fastest_peer": Measure(memory_over_fastest),
    "memory_over_smallest_peer": Measure(over_peers(comparison.FOLDER, "2", "pss_mib", min)),
    "start_over_quickest_peer": Measure(over_peers(comparison.FOLDER, "1", "first_result_s", min)),
    "cpu_a_frame": Measure(_rounds("quiet", "daemon_cpu_ms", "bare_cpu_ms"), _cpu_profile),
    "idle_share": Measure(lambda parts: [one["idle_share"] for one in parts["quiet"]["rounds"]]),
    "swap_drops_live": Measure(_swap("live", "dropped"), _swap_profile),
    "swap_drops_flat_out": Measure(_swap("flat_out", "dropped")),
    "swap_worst_call": Measure(_swap("live", "worst_over_p50"), _swap_profile),
    "swap_memory": Measure(_swap("memory", "growth"), _swap_memory_profile),
    "recalibration_free_core": Measure(_loss_during_recalibration("free core")),
    "recalibration_no_free_core": Measure(_loss_during_recalibration("no free core")),
    "quota_threads": Measure(_by_hand),
    "int8_speed": Measure(_rounds("int8", "float_ms", "int8_ms")),
    "int8_accuracy": Measure(_accuracy_loss),
}
"""By the keys of ``goals.yaml``."""
