"""Models of signals with several inputs: which channels of a window each of them takes."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge_runtime.inference.specs.base import StrictModel, TensorName

MOST_INPUTS = 16
SignalLayout = Literal["nct", "ntc", "nf"]


def shape_in(layout: SignalLayout, channels: int, length: int) -> tuple[int, ...]:
    """Shape of an input of so many channels and samples, without the batch axis."""
    return {"nct": (channels, length), "ntc": (length, channels), "nf": (channels,)}[layout]


def find_layout(
    sizes: Sequence[int | None], channels: int, own: SignalLayout
) -> tuple[SignalLayout, int | None, int | None] | None:
    """The layout in which ``sizes`` have so many channels, ``own`` before another; or the likeliest one.

    Args:
        sizes: Of the axes of an input without that of the batch; None: any.
        channels: How many there should be.
        own: The layout that is declared.

    Returns:
        The layout, and the numbers of channels and samples that ``sizes`` have in it; None: no layout has as many axes.
    """
    if len(sizes) not in (1, 2):
        return None
    if len(sizes) == 1:
        return "nf", sizes[0], None
    found: dict[SignalLayout, tuple[int | None, int | None]] = {
        "nct": (sizes[0], sizes[1]),
        "ntc": (sizes[1], sizes[0]),
    }
    layout = min(found, key=lambda name: (found[name][0] not in (None, channels), name != own))
    return layout, *found[layout]


class SignalInput(StrictModel):
    """One of several inputs of a model."""

    name: TensorName
    """As the model calls it; of TorchScript the name of an argument of ``forward``."""
    channels: Annotated[tuple[str, ...], Field(min_length=1, max_length=1024)]
    """Names of the channels that it takes, in its order."""
    layout: SignalLayout = "nct"
    """Its axes: nct (windows, channels, samples), ntc (windows, samples, channels), nf (windows, channels)."""
    reduce: Literal["last", "mean"] | None = None
    """Of nf: which number a channel of many samples becomes: that of the last one (so does null), or the mean."""

    @model_validator(mode="after")
    def _check_reduce(self) -> Self:
        if self.layout != "nf" and self.reduce is not None:
            raise ValueError(f"reduce is for layout nf: with {self.layout} an input takes every sample")
        return self


def find_flaw(inputs: Sequence[SignalInput], channels: Sequence[str]) -> str | None:
    """Why these inputs do not share out the ``channels`` of a window; None: each channel is in exactly one of them."""
    if len(inputs) == 1:
        return "inputs names one; leave inputs out, and order channels and layout as the model has them"
    names = Counter(one.name for one in inputs)
    if repeated := [name for name, times in names.items() if times > 1]:
        return f"inputs: {', '.join(repeated)} comes twice; each input of the model is named once"
    taken = Counter(name for one in inputs for name in one.channels)
    if unknown := [name for name in taken if name not in channels]:
        return f"inputs: no channel {', '.join(unknown)}; add it to channels, or correct the name"
    if repeated := [name for name, times in taken.items() if times > 1]:
        return f"inputs: channel {', '.join(repeated)} is in two of them; each channel is in one"
    if left := [name for name in channels if name not in taken]:
        return f"inputs: channel {', '.join(left)} is in none of them; name it in one, or take it out of channels"
    return None
