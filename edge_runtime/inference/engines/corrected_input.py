"""A patched model that gives its input again: its answer is told from the input as it comes, not as it is corrected.

A patch may correct the input inside of the model, so that the model builds the corrected input again. How far it is off
has to be measured from that one. The engine around it moves the answer by as much as the input was moved: then answer
minus input is the same for all who compare the two, in every format.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.patch import Affine
from edge_runtime.inference.engines.base import Engine, EngineLibrary, Outputs, TensorSpec


@dataclass(frozen=True, slots=True)
class CorrectedInputEngine:
    """An engine whose model corrects its input by ``on_input``; ``output`` is its input again (None: the only one)."""

    engine: Engine
    on_input: Affine
    channel_axis: int
    """Of a sample, without the batch axis."""
    output: str | None

    @property
    def input(self) -> TensorSpec:
        """That of the model."""
        return self.engine.input

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Those of the model."""
        return self.engine.outputs

    @property
    def library(self) -> EngineLibrary:
        """That of the model."""
        return self.engine.library

    @property
    def runs_on(self) -> str:
        """Where the model runs."""
        return self.engine.runs_on

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """The outputs; an output of another shape than ``batch`` is none that gives the input again, and stays.

        Raises:
            EngineError: the runtime failed.
        """
        outputs = self.engine.infer(batch)
        name = next(iter(outputs)) if self.output is None and len(outputs) == 1 else self.output
        if name is None or name not in outputs or outputs[name].shape != batch.shape:
            return outputs
        return {**outputs, name: outputs[name] + self._find_move(batch)}

    def warm_up(self) -> None:
        """Run once on zeros."""
        self.engine.warm_up()

    def close(self) -> None:
        """Free the model."""
        self.engine.close()

    def _find_move(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        """From the corrected batch to the one that came."""
        axis = self.channel_axis + 1
        corrected = self.on_input.apply(np.moveaxis(batch, axis, 1))
        return batch - np.moveaxis(corrected, 1, axis)
