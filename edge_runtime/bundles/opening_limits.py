"""How much a model may take when it is opened for the first time. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_MIB = 1 << 20
_MEMORY_MIB = {"onnxruntime": 768, "openvino": 1024, "torch": 1536}
"""For the runtime itself and a small model. Measured, EfficientNet-Lite0: 0.3, 0.5 and 0.7 GiB."""
_COPIES_OF_MODEL = 10
"""Weights in memory at once while a graph is optimised: the file, the parsed form, folded, packed, and room."""
_COPIES_OF_INPUT = 200
"""Activations of the largest layers, in sizes of the input tensor (a first layer of 64 channels at full size is 21),
for several layers and up to four pictures at once."""
_STEP_S = {"onnxruntime": 24.0, "openvino": 30.0, "torch": 40.0}
"""Measured, EfficientNet-Lite0 (18 MB): 0.5, 1.1 and 2.5 s. A small board takes five times as long, a busy box
several times that."""
_S_PER_MIB, _MOST_STEP_S = 1.0, 160.0


@dataclass(frozen=True, slots=True)
class OpeningLimits:
    """Of one opening."""

    memory_bytes: int
    """Of heap."""
    step_s: float
    """For opening and warming up, and for each golden input."""
    steps: int
    """So many of them may follow each other."""

    @property
    def in_all_s(self) -> float:
        """For everything."""
        return self.step_s * self.steps

    def __str__(self) -> str:
        return f"{self.memory_bytes // _MIB} MiB, and {self.step_s:g} s for opening and for each golden input"


def choose_limits(
    runtime: str,
    model_bytes: int,
    tensor_shape: Sequence[int],
    pictures: int,
    box_bytes: int,
    memory_mib: int | None = None,
) -> OpeningLimits:
    """More for large models and pictures, but not more than half of the box's memory (``box_bytes``).

    A runtime gets what it needs for a small model in any case, also on a box of which that is more than half.

    ``memory_mib`` is instead of what follows from the sizes.
    """
    least = _MEMORY_MIB[runtime] * _MIB
    wanted = least + _COPIES_OF_MODEL * model_bytes + _COPIES_OF_INPUT * 4 * math.prod(tensor_shape)
    memory_bytes = min(wanted, max(least, box_bytes // 2)) if memory_mib is None else memory_mib * _MIB
    step_s = min(_MOST_STEP_S, _STEP_S[runtime] + round(_S_PER_MIB * model_bytes / _MIB))
    return OpeningLimits(memory_bytes, step_s, steps=2 + pictures)
