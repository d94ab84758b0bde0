"""Where the time goes, in figures: a sentence behind each goal that is missed."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.performance.peers import own_contenders as own
from benchmarks.performance.pipe.trial import DAEMON, SCRIPT
from benchmarks.performance.ratios import Parts
from benchmarks.performance.scaling.points import line_of, medians_of
from benchmarks.performance.sections.words import median_of


def bench(part: str) -> Callable[[Parts], str]:
    """CPU a frame of engine, loop and daemon."""

    def why(parts: Parts) -> str:
        rounds = parts[part]["rounds"]

        def middle(of: str, name: str) -> float:
            return median_of(rounds, "report", "summary", of, name)

        cpu = " / ".join(f"{middle(of, 'cpu_ms_per_frame'):.1f}" for of in ("bare", "loop", "daemon"))
        capacities = ", ".join(f"{one['capacity']:.2f}" for one in rounds)
        return (
            f"{part}: CPU a frame of the engine / with picture code in a loop / daemon {cpu} ms; two bare callers gave "
            f"{capacities} times one caller's frames"
        )

    return why


def pictures(parts: Parts) -> str:
    """Milliseconds a picture."""
    ours, theirs, pillow = (
        median_of(parts["picture path"]["rounds"], f"{name}_ms") for name in ("daemon", "opencv", "pillow")
    )
    return f"ms a picture: daemon {ours:.2f}, OpenCV {theirs:.2f}, Pillow {pillow:.2f}"


def arrival(parts: Parts) -> str:
    """On the way to the subscriber."""
    rounds = parts["arrival"]["rounds"]

    def middle(name: str) -> float:
        return median_of(rounds, name)

    ways = ", ".join(
        f"to the {way} {middle(f'{way}_p50_ms'):.1f} / {middle(f'{way}_p99_ms'):.1f}"
        for way in ("outbox", "subscriber")
    )
    return f"p50 / p99 from capture, ms: {ways}; the bare engine's p50 is {middle('bare_p50_ms'):.1f}"


def cpu(parts: Parts) -> str:
    """At 10 frames/s."""
    names = {"bare_cpu_ms": "engine", "loop_cpu_ms": "with picture code", "daemon_cpu_ms": "daemon"}
    names["daemon_cpu_ms_without_recalibration"] = "daemon without drift monitor and reservoir"
    rounds = parts["quiet"]["rounds"]
    return "CPU a frame at 10 fps, ms: " + ", ".join(
        f"{words} {median_of(rounds, name):.1f}" for name, words in names.items()
    )


def peers(parts: Parts) -> str:
    """Without any server, and CPU a frame with one."""
    rounds = parts["peers"]["rounds"]

    def middle(name: str, streams: str, figure: str) -> float:
        return median_of(rounds, "contenders", name, streams, figure)

    loops = ", ".join(f"{middle(own.LOOP, n, 'frames_per_s'):.0f} with {n}" for n in ("1", "2"))
    ways = ", ".join(
        f"{name} {middle(name, '2', 'cpu_ms_per_frame'):.1f}"
        for name in (own.LOOP, own.FOLDER, own.MQTT, own.HTTP)
    )
    return (
        f"frames/s of engine and picture code in a loop, without any server: {loops} caller(s); CPU a frame with two, "
        f"ms: {ways}"
    )


def memory(parts: Parts) -> str:
    """Of the engine alone."""
    rounds = parts["peers"]["rounds"]
    loop, ours = (median_of(rounds, "contenders", name, "2", "pss_mib") for name in (own.LOOP, own.FOLDER))
    return f"engine and picture code alone have {loop:.0f} MiB, the daemon {ours:.0f}"


def pipe(parts: Parts) -> str:
    """Processor time and memory of both."""
    rounds = parts["camera pipe"]["rounds"]

    def both(figure: str, form: str) -> str:
        found = (
            f"{n}: " + " / ".join(form.format(median_of(rounds, n, w, figure)) for w in (DAEMON, SCRIPT))
            for n in sorted(rounds[0], key=int)
        )
        return "; ".join(found)

    return f"daemon / script by cameras: cores {both('cores', '{:.2f}')}, MiB {both('pss_mib', '{:.0f}')}"


def start(parts: Parts) -> str:
    """With a known and a new model."""
    rounds = parts["start"]["rounds"]
    known, new = (median_of(rounds, name) for name in ("first_result_s", "new_model_s"))
    return f"start with a known model {known:.2f} s, with one that is tried in a sandbox first {new:.2f} s"


def swaps(parts: Parts) -> str:
    """The same load without swaps."""
    rounds = parts["hot swap"]["rounds"]

    def middle(name: str) -> float:
        return median_of(rounds, "live", name)

    worst, dropped = middle("worst_over_p50_without_swaps"), middle("dropped_without_swaps")
    return (
        f"without swaps the worst call was {worst:.1f} times its p50, and {dropped:.0f} frames were dropped"
    )


def swap_memory(parts: Parts) -> str:
    """By number of swaps."""
    found: list[tuple[int, float]] = parts["hot swap"]["rounds"][-1]["memory"]["pss_mib"]
    return "MiB after so many swaps: " + ", ".join(f"{n}: {mib:.0f}" for n, mib in found)


def recalibration(parts: Parts) -> str:
    """Frames/s and seconds of both cases."""
    found = []
    for which in ("free core", "no free core"):
        rounds: list[Mapping[str, Any]] = [
            one[which] for one in parts["during recalibration"]["rounds"] if which in one
        ]
        if rounds:
            alone, during, job_s = (median_of(rounds, name) for name in ("alone", "during", "job_s"))
            found.append(f"{which} {alone:.0f} alone, {during:.0f} during {job_s:.0f} s")
    return "frames/s during a recalibration: " + "; ".join(found)


def curve(parts: Parts) -> str:
    """Each point and the line."""
    rounds = parts["many cameras"]["rounds"]
    line = line_of(rounds, "cores")
    points = ", ".join(
        f"{count}: {cores:.3f} ({cores / line.at(count) - 1:+.1%})"
        for count, cores in medians_of(rounds, "cores").items()
    )
    return f"cores by cameras, and the distance from the line: {points}"


def dead(parts: Parts) -> str:
    """p50 and p99 of both."""
    rounds = parts["dead camera"]["rounds"]
    ways = ", ".join(
        f"{case} " + " / ".join(f"{median_of(rounds, case, f):.1f}" for f in ("p50_ms", "p99_ms"))
        for case in ("without", "with")
    )
    return f"p50 / p99 of the live cameras, ms: {ways}"
