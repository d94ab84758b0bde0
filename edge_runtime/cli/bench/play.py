"""The streams that play files to a daemon, round and round: cameras of pictures, or sensors of windows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.cli.bench.bare import MODEL
from edge_runtime.inference.specs import PreprocessSpec, SignalSpec

Section = dict[str, dict[str, Any]]
"""``cameras`` or ``sensors`` of a configuration, with what each stream says."""


@dataclass(frozen=True, slots=True)
class Play:
    """One folder as streams, flat out and paced."""

    flat_out: Section
    paced: Section
    fps: float
    """Inputs a second of a paced stream."""
    golden: str
    """What golden inputs are, for people."""


def make_play(spec: PreprocessSpec, folder: Path, fps: float, size: tuple[int, int]) -> Play:
    """The streams that play ``folder``, paced at ``fps`` or, of windows, as near to it as whole samples allow."""
    path = {"path": str(folder), "model": MODEL, "loop": True}
    if not isinstance(spec, SignalSpec):
        golden = f"golden pictures as JPEGs of {size[0]} x {size[1]}"
        return Play({"cameras": path}, {"cameras": {**path, "fps": fps}}, fps, golden)
    # A window lasts as long as the samples to the next one; each file has one, so the hop changes nothing else.
    hop = max(1, round(spec.rate_hz / fps))
    at_hop = spec.model_copy(update={"hop": hop})
    return Play(
        {"sensors": {**path, "pace": "fastest"}},
        {"sensors": {**path, "hop": hop}},
        at_hop.input_rate_hz / at_hop.input_hop,
        f"golden windows of {spec.input_length} x {len(spec.channels)}",
    )
