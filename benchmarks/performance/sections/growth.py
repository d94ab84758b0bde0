"""How the cost grows with cameras and models, and a dead camera among live ones."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.performance.scaling.many import FPS
from benchmarks.performance.scaling.points import line_of, points_of
from benchmarks.performance.sections.words import Parts, rounds_of, spread, table

_FIGURES = {
    "frames_per_s": "frames/s",
    "cores": "cores",
    "pss_mib": "memory, MiB",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
}
_KINDS = {"many cameras": "cameras", "many models": "models, each with a camera"}


def growth_section(parts: Parts, plots: Mapping[str, Path]) -> Iterable[str]:
    """Curves with their slopes."""
    found = [name for name in _KINDS if rounds_of(parts, name)]
    if not found:
        return
    yield "## More cameras, more models"
    yield (
        f"One daemon; every camera is a folder of 1280 x 720 JPEGs at {FPS:g} frames/s (5 % more or less, so that "
        "their frames meet in every way). Latency is from capture to result. The lines go through the medians."
    )
    for name in found:
        if name in plots:
            yield f"![CPU, memory and latency by the number of {name.split()[1]}]({plots[name].name})"
        yield _slopes(parts, name)
        yield _curve(parts, name)


def _slopes(parts: Parts, name: str) -> str:
    rounds = rounds_of(parts, name)
    if len(rounds[0]) < 3:
        return ""
    cpu, memory = line_of(rounds, "cores"), line_of(rounds, "pss_mib")
    noun = "camera" if name == "many cameras" else "model with its camera"
    return (
        f"Each {noun} costs {100 * cpu.slope:.2f} % of a core and {memory.slope:.1f} MiB; no point is further from the "
        f"line than {cpu.deviation:.1%} (CPU) and {memory.deviation:.1%} (memory)."
    )


def _curve(parts: Parts, name: str) -> str:
    rounds = rounds_of(parts, name)
    columns = {figure: points_of(rounds, figure) for figure in _FIGURES}
    rows = (
        (str(count), *(spread(columns[figure][count]) for figure in _FIGURES))
        for count in columns["cores"]
    )  # fmt: skip
    return table((_KINDS[name], *_FIGURES.values()), rows)


def dead_camera_section(parts: Parts) -> Iterable[str]:
    """The live cameras' figures without and with it."""
    rounds = rounds_of(parts, "dead camera")
    if not rounds:
        return
    yield "## A dead camera among live ones"
    yield (
        f"{parts['dead camera']['live']} live cameras as above; the dead one accepts each RTSP connection and never "
        "answers. Figures are those of the live ones; processor time and memory are of the whole daemon."
    )
    rows = (
        (f"{case} it", *(spread([one[case].get(figure) for one in rounds]) for figure in _FIGURES))
        for case in ("without", "with")
    )
    yield table(("", *_FIGURES.values()), rows)
