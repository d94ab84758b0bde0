"""The derivatives of a program, run by ONNX Runtime; see :class:`calibration.targets.base.Gradients`."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.patch import Affine
from calibration.stats.heap import trim_heap
from calibration.targets.base import Aim, Batch, Gradients, NoDerivative, Slope
from calibration.targets.gradient.graph import build
from calibration.targets.gradient.names import GradientNames
from calibration.targets.gradient.program import FloatProgram, TapTensor, merge_clips
from calibration.targets.gradient.session import (
    FAILURES,
    FloatModel,
    FloatSession,
    input_value,
    to_model,
    to_own_layout,
)

_TOO_LARGE = "Failed to allocate memory"
"""In what ONNX Runtime's arena says; it has no class of errors for that."""


class OnnxGradients(Gradients):
    """The derivatives of one program for batches of one size."""

    def __init__(self, program: FloatProgram, aims: Sequence[Aim], x: Batch, threads: int) -> None:
        """Build both passes for batches like ``x``.

        Raises:
            NoDerivative: none of the aims can be reached, or ONNX Runtime refuses the model as float arithmetic.
            MemoryError: it does not fit.
        """
        self._threads, self._program, self.batch = threads, merge_clips(program), len(x)
        self._built_for = aims, x
        try:
            self._graph, model, self.problems = build(self._program, aims, x)
        except FAILURES as err:
            raise _refused(err) from err
        self._both_passes: FloatModel | None = model
        """Until it is opened: it holds weights that the session copies (Lite0: 10 MiB)."""
        trim_heap()  # a third of what building took
        self.aims = self._graph.aims
        self.taps = tuple(tap.name for tap in self._graph.taps)
        self._session: FloatSession | None = None
        """Of both passes, or of the forward pass alone: never both at once in memory."""
        self._is_forward = False

    def run(self, x: Batch) -> dict[str, NDArray[np.float32]]:
        """By a session of the forward pass, which :meth:`step` frees."""
        names = [aim.name for aim in self.aims]
        given = {self._program.input.name: to_own_layout(self._program.input, x)}
        return dict(zip(names, self._call(names, given, is_forward=True), strict=True))

    def step(
        self,
        x: Batch,
        affines: Mapping[str, Affine],
        targets: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, NDArray[np.float32]],
    ) -> tuple[dict[str, float], dict[str, Slope]]:
        """One run of the whole graph."""
        model_input, graph, names = self._program.input, self._graph, self._graph.names
        given: dict[str, NDArray[np.float32]] = {names.raw(model_input.name): to_own_layout(model_input, x)}
        for tap in graph.taps:
            affine, (scale, offset) = affines[tap.name], names.settings(tap)
            given |= {scale: affine.scale, offset: affine.offset}
        for aim in self.aims:
            given |= {
                names.target(aim): np.asarray(targets[aim.name], np.float32),
                names.weight(aim): np.asarray(weights[aim.name], np.float32),
            }
        found = dict(zip(graph.outputs, self._call(graph.outputs, given, is_forward=False), strict=True))
        losses = {aim.name: float(found[names.loss(aim)]) for aim in self.aims}
        return losses, {tap.name: _slope(found, names, tap, affines[tap.name]) for tap in graph.taps}

    def _call(
        self, names: list[str], given: Mapping[str, NDArray[np.float32]], *, is_forward: bool
    ) -> list[NDArray[np.float32]]:
        try:
            if self._session is None or self._is_forward != is_forward:
                self._open(names, is_forward=is_forward)
            assert self._session is not None
            return self._session.run(names, given)
        except FAILURES as err:
            raise _refused(err) from err

    def _open(self, names: list[str], *, is_forward: bool) -> None:
        """In the place of the session that is open."""
        self._session = None
        trim_heap()  # what a session of Lite0 leaves, 60 MiB
        if is_forward:
            part = self._program.leading_to(names)
            model = to_model(part.nodes, part.constants, [input_value(part.input)], names, part.opset)
        else:
            model = self._both_passes or build(self._program, *self._built_for)[1]
            self._both_passes = None
        self._session, self._is_forward = FloatSession(model, self._threads), is_forward
        del model
        trim_heap()  # a third of what opening it took


def _refused(err: Exception) -> NoDerivative | MemoryError:
    """The cause is kept for a debugger: its text speaks of a graph that nobody has seen."""
    if _TOO_LARGE in str(err):
        return MemoryError(f"the derivatives of a model: {type(err).__name__}")
    return NoDerivative(f"a part that ONNX Runtime does not run in float32: {type(err).__name__}")


def _slope(
    found: Mapping[str, NDArray[np.float32]], names: GradientNames, tap: TapTensor, affine: Affine
) -> Slope:
    """By the scale it is the sum of the gradient times ``(corrected - offset) / scale``."""
    along, by_offset = (found[name].astype(np.float64) for name in names.sums(tap))
    return Slope((along - affine.offset * by_offset) / affine.scale, by_offset)
