"""The port every inference engine implements. Concrete engines are named only in ``factory``."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.system.model_formats import Precision, Runtime, RuntimeChoice

Outputs = dict[str, NDArray[Any]]
"""Raw model outputs by name; the first axis of each is the batch."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of a model input or output; None is a dynamic dimension."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How a model is to run; every engine takes the part it knows."""

    runtime: RuntimeChoice = "auto"
    devices: tuple[str, ...] = ("CPU",)
    """Best first; the first one that is there is used, those behind it are the fall-backs."""
    precision: Precision = "f32"
    pin_threads: bool = False
    """Bind the engine's threads to the plan's CPUs; OpenVINO cannot do that."""
    cache_dir: Path | None = None
    """Where compiled models may be kept; None compiles at each start."""
    max_batch: int | None = None
    """Most pictures a call will bring; None is not known. An engine may prepare for 1; more are then run one by one."""


@dataclass(frozen=True, slots=True)
class EngineLibrary:
    """What runs a model."""

    name: Runtime
    """The library."""
    version: str
    """Of the library."""
    devices: tuple[str, ...]
    """That it could have used on this box when the model was opened, in its own words."""


class Engine(Protocol):
    """A loaded model."""

    @property
    def input(self) -> TensorSpec:
        """What :meth:`infer` takes: the one input, or the windows that hold all inputs of a model with several."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """All outputs in model order."""

    @property
    def library(self) -> EngineLibrary:
        """The library, and what it found on this box."""

    @property
    def runs_on(self) -> str:
        """The real runtime and device, for people: ``onnxruntime 1.32 CPU, intra 1, inter 1, no spinning``."""

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run one batch (N, ...) in the model's layout.

        Callable from several threads at once. A model whose batch axis is fixed to 1 is run sample by sample.

        Raises:
            EngineError: the runtime failed; the message holds its words.
        """

    def warm_up(self) -> None:
        """Run once on zeros so that the first real frame is not slower than the rest."""

    def close(self) -> None:
        """Free the model; idempotent."""


@contextmanager
def close_on_error(engine: Engine) -> Iterator[None]:
    """Free the engine when something inside fails."""
    with ExitStack() as on_error:
        on_error.callback(engine.close)
        yield
        on_error.pop_all()
