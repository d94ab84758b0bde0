"""The figures of the performance goals: pure functions of the stored parts, each with a value a round."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.performance.peers import comparison
from benchmarks.performance.peers import own_contenders as own
from benchmarks.performance.peers.http_load import Peer
from benchmarks.performance.pipe.trial import DAEMON, SCRIPT
from benchmarks.performance.scaling.points import deviation_of

Parts = Mapping[str, Any]
Values = list[float]
Read = Callable[[Parts], Values]
"""KeyError, IndexError or ValueError where nothing was measured."""


def of_bench(part: str, ratio: str) -> Read:
    """One of the ratios of ``edge-runtime bench``."""
    return lambda parts: [one["report"]["ratios"][ratio]["median"] for one in parts[part]["rounds"]]


def best_peer(
    one: Mapping[str, Any],
    peers: Sequence[Peer],
    streams: str,
    figure: str,
    choose: Callable[[Values], float],
) -> float:
    """The best figure that any of these peers had in this round."""
    found = (one["contenders"].get(peer.name, {}).get(streams, {}).get(figure) for peer in peers)
    return choose([value for value in found if value is not None])


def over_peers(
    contender: str,
    streams: str,
    figure: str,
    choose: Callable[[Values], float],
    *,
    peers: Sequence[Peer] = comparison.PEERS,
    requests: str | None = None,
) -> Read:
    """The daemon's figure over the best peer's, each within one round.

    ``requests`` is how many the peer has under way; default: one a stream.
    """

    def values(parts: Parts) -> Values:
        return [
            one["contenders"][contender][streams][figure]
            / best_peer(one, peers, requests or streams, figure, choose)
            for one in parts["peers"]["rounds"]
        ]

    return values


def frames_over(contender: str, streams: str, peers: Sequence[Peer], requests: str | None = None) -> Read:
    """Frames a second over those of the best of these peers."""
    return over_peers(contender, streams, "frames_per_s", max, peers=peers, requests=requests)


def memory_over_fastest(parts: Parts) -> Values:
    """Memory over that of the peer that, as documented, was fastest with two streams, in each round."""
    found = []
    for one in parts["peers"]["rounds"]:
        answered = [one["contenders"].get(peer.name, {}).get("2", {}) for peer in comparison.DOCUMENTED]
        fastest = max((a for a in answered if "frames_per_s" in a), key=lambda a: float(a["frames_per_s"]))
        found.append(one["contenders"][own.FOLDER]["2"]["pss_mib"] / fastest["pss_mib"])
    return found


def arrivals(parts: Parts) -> Values:
    """p99 at a subscriber over the engine's p50."""
    return [one["subscriber_p99_ms"] / one["bare_p50_ms"] for one in parts["arrival"]["rounds"]]


def over_by_hand(parts: Parts) -> Values:
    """p99 with automatic threads over the best number by hand."""
    return [one["auto"] / min(one["1 by hand"], one["2 by hand"]) for one in parts["quota"]["rounds"]]


def accuracy_loss(parts: Parts) -> Values:
    """Points that int8 is under float."""
    rows = parts["int8"]["measured"]
    return [100 * (row["float_accuracy"] - row["accuracy"]) for row in rows if row.get("float_accuracy")]


def loss_during_recalibration(which: str) -> Read:
    """Share of frames/s."""
    return lambda parts: [
        1 - one[which]["ratio"] for one in parts["during recalibration"]["rounds"] if which in one
    ]


def of_rounds(part: str, over: str, under: str) -> Read:
    """One figure over another of the same round."""
    return lambda parts: [one[over] / one[under] for one in parts[part]["rounds"]]


def single(part: str, figure: str) -> Read:
    """A figure of each round as it is."""
    return lambda parts: [float(one[figure]) for one in parts[part]["rounds"]]


def swap(case: str, figure: str) -> Read:
    """A figure of one of the cases of hot swaps."""
    return lambda parts: [float(one[case][figure]) for one in parts["hot swap"]["rounds"]]


def pipe_cpu(parts: Parts) -> Values:
    """Cores of the daemon over those of the script, with the most cameras."""
    rounds = parts["camera pipe"]["rounds"]
    most = max(rounds[0], key=int)
    return [one[most][DAEMON]["cores"] / one[most][SCRIPT]["cores"] for one in rounds]


def camera_memory(parts: Parts) -> Values:
    """MiB of each further H.264 camera."""
    found = []
    for one in parts["camera pipe"]["rounds"]:
        few, many = min(one, key=int), max(one, key=int)
        grown = one[many][DAEMON]["pss_mib"] - one[few][DAEMON]["pss_mib"]
        found.append(grown / (int(many) - int(few)))
    return found


def cpu_deviation(parts: Parts) -> Values:
    """The largest distance from a straight line of the medians over the rounds: one value."""
    return [deviation_of(parts["many cameras"]["rounds"], "cores")]


def with_dead_camera(parts: Parts) -> Values:
    """p99 of the live cameras with a dead one over that without."""
    return [one["with"]["p99_ms"] / one["without"]["p99_ms"] for one in parts["dead camera"]["rounds"]]
