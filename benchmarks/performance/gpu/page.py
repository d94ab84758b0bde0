"""The page ``docs/results/gpu.md`` out of the figures, or out of none. Pure text."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WAY = (
    "EfficientNet-Lite0, 224 x 224, by the runtime's own engines (`devices: [CUDA]`). Pictures go in as arrays of the "
    "host, and answers come back as such, as in the daemon. There is one caller. The contenders take turns, each in a "
    "separate process. Shown are the median over the rounds and the range."
)
UNMEASURED = (
    "**Not measured: no GPU was there.** `python -m benchmarks run gpu` measures it on a machine with an NVIDIA GPU "
    "and writes this page; its limits are set for less than ten minutes, which was not tried. Without a GPU it says "
    "so and ends with exit code 69. `--device cpu` rehearses it there; such figures say nothing about a GPU and are "
    "not published."
)
REHEARSAL = "**A rehearsal on the CPU: these figures say nothing about a GPU.**"
COLUMNS = {
    "frames/s": "frames_per_s", "p50, ms": "call_ms_p50", "p99, ms": "call_ms_p99", "first call, ms": "first_ms",
    "CPU a frame, ms": "cpu_ms_per_frame", "GPU memory, MiB": "gpu_mib", "host memory, MiB": "pss_mib",
}  # fmt: skip


def page(found: Mapping[str, Any] | None) -> str:
    """Everything; None is the page while nothing was measured."""
    if found is None:
        return _join("# On a GPU", UNMEASURED, WAY)
    return _join(
        "# On a GPU",
        REHEARSAL if found["device"] == "cpu" else "",
        _table(("", ""), found["facts"].items()),
        WAY,
        "## Speed and memory",
        "A call has as many pictures as the batch; the first call of a size comes before the measured ones. GPU memory "
        "is what the whole process holds there after that size, the sizes before it included.",
        _table(("", "batch", *COLUMNS), _speed(found["rounds"])),
        _unavailable(found["rounds"][0]),
        "## The same models on the CPU of that machine, one picture a call",
        _table(("", "frames/s", "p50, ms", "p99, ms"), _on_the_cpu(found["cpu"])),
        "## Parity with the same file on the CPU, in float32 or as it is quantized",
        "The demo's photographs and their mirror images, at the size of batch that agrees least. *Top-1* is the share "
        "of pictures with the same first class. Differences are of logits; their root mean square tells the scale.",
        _table(
            ("", "top-1", "worst difference", "mean difference", "RMS of logits"), _parity(found["parity"])
        ),
    )


def _speed(rounds: Sequence[Mapping[str, Any]]) -> Iterable[Sequence[str]]:
    for name in rounds[0]:
        measured = [one[name]["batches"] for one in rounds if "batches" in one[name]]
        for of_a_size in zip(*measured, strict=True):
            figures = (_spread([row[figure] for row in of_a_size]) for figure in COLUMNS.values())
            yield name, str(of_a_size[0]["batch"]), *figures


def _unavailable(first: Mapping[str, Any]) -> str:
    return "\n".join(
        f"- {name}: not measured: {one['unavailable']}" for name, one in first.items() if "unavailable" in one
    )


def _on_the_cpu(figures: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    for name, one in figures.items():
        for row in one.get("batches", ()):
            yield name, *(_spread([row[figure]]) for figure in ("frames_per_s", "call_ms_p50", "call_ms_p99"))


def _parity(found: Mapping[str, Mapping[int, Mapping[str, float]]]) -> Iterable[Sequence[str]]:
    for name, by_size in found.items():
        every = by_size.values()
        largest = (f"{max(one[key] for one in every):.2g}" for key in ("worst", "mean", "rms"))
        yield name, f"{min(one['top1'] for one in every):.1%}", *largest


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    middle = f"{statistics.median(known):.3g}"
    return middle if len(known) == 1 else f"{middle} ({min(known):.3g} to {max(known):.3g})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def _join(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
