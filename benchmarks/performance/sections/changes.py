"""Hot swaps, recalibrations, and a quota of one CPU."""

from collections.abc import Iterable

from benchmarks.performance.sections.words import Parts, capacity, rounds_of, spread, table, unavailable

_SWAP_FIGURES = (
    "accepted", "results", "dropped", "dropped_without_swaps", "call_ms_p50", "call_ms_p99", "worst_over_p50",
    "worst_over_p50_without_swaps", "swap_ms_p50", "growth", "growth_after_10",
)  # fmt: skip


def swap_section(parts: Parts) -> Iterable[str]:
    """The three cases."""
    rounds = rounds_of(parts, "hot swap")
    if not rounds:
        return
    cases = ("live", "flat_out", "memory")
    yield "## Hot swaps"
    yield "Real patched models, read, checked, loaded and warmed while a pipeline runs. `memory`: no pause between."
    rows = (
        (figure, *(spread([one[case].get(figure) for one in rounds]) for case in cases))
        for figure in _SWAP_FIGURES
    )
    yield table(("", *cases), rows)


def recalibration_section(parts: Parts) -> Iterable[str]:
    """Frames a second and p99 alone and during it."""
    rounds = rounds_of(parts, "during recalibration")
    if not rounds:
        return
    yield "## Live inference during a recalibration"
    yield (
        "`paced`: one camera at 15 frames/s. `free core`: one stream flat out, the daemon bound to one CPU, since a "
        "lone stream would use them all. `no free core`: two streams flat out on every CPU. p99 is from capture to "
        "result."
    )
    yield capacity([one["capacity"] for one in rounds])
    figures = ("alone", "during", "alone_p99_ms", "during_p99_ms", "job_s")
    rows = (
        (which, *(spread([one.get(which, {}).get(figure) for one in rounds]) for figure in figures))
        for which in ("paced", "free core", "no free core")
        if any(which in one for one in rounds)
    )
    head = ("frames/s alone", "during it", "p99 alone, ms", "p99 during it, ms", "recalibration, s")
    yield table(("", *head), rows)


def quota_section(parts: Parts) -> Iterable[str]:
    """p99 by thread setting."""
    if "quota" not in parts:
        return
    yield "## Under a quota of one CPU"
    if reason := unavailable(parts, "quota"):
        yield reason
        return
    rounds = parts["quota"]["rounds"]
    yield table(("threads", "p99 capture to outbox at 30 fps, ms"),
                 ((way, spread([one[way] for one in rounds])) for way in rounds[0]))  # fmt: skip
