"""One model file opened for recalibration, and the small part that each framework implements for it.

No framework is imported here.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError, ModelError, PatchError
from calibration.patch import Affine, Patch
from calibration.stats.moments import INPUT_TAP, Moments
from calibration.targets import passes
from calibration.targets.base import (
    Aim,
    Batch,
    Gradients,
    ModelFiles,
    NoDerivative,
    Normalisation,
    Observation,
    PatchedModel,
    Runner,
    SkippedLayer,
    TapInfo,
)


class Backend(Protocol):
    """One model file in one framework. ``Any`` stands for a corrected model in the framework's own form."""

    name: str
    """For messages."""
    files: ModelFiles
    input_shape: tuple[int | None, ...] | None
    """(N or None, C, ...) of the one input, channels second; None when the file does not tell."""
    taps: tuple[TapInfo, ...]
    """In graph order."""
    skipped: tuple[SkippedLayer, ...]
    batch_bytes: int | None = None
    """Input to run together where the answer does not depend on it; None runs the usual number of frames."""

    def describe(self) -> dict[str, Any]:
        """Format, versions and ``input`` of the file, for people."""

    def running(self) -> AbstractContextManager[None]:
        """Surrounds all passes of one call."""
        return nullcontext()

    def prepare(self, first_taps: int | None, baseline: Moments | None, /) -> passes.Measure:
        """Measures the first taps; with a baseline it also corrects each one before the next layer sees it.

        Raises:
            ModelError: the framework refuses the graph, or its batch size cannot be changed.
        """

    def correct(self, affines: Mapping[str, Affine]) -> tuple[Any, dict[str, int]]:
        """A corrected copy, and how many channels of each tap had to be left alone."""

    def save(self, corrected: Any) -> ModelFiles:
        """The files of a corrected copy."""

    def load(self, corrected: Any | None) -> passes.Answers:
        """A corrected copy, or the model as it is (None), ready to run."""

    heads: tuple[str, ...] = ()
    """Outputs of the layers behind which no other layer is."""

    def differentiate(self, _aims: Sequence[Aim], _x: Batch, /) -> Gradients:
        """See :meth:`Target.differentiate`."""
        raise NoDerivative("a format that cannot be differentiated")

    def build_probe(self, first_taps: int) -> ModelFiles:
        """See :meth:`Target.probe`."""


class Target:
    """One model file in one framework, opened for recalibration."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._last: tuple[int | None, Moments, passes.Measure] | None = None

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the model file; of an IR that of the .xml followed by the .bin."""
        return self._backend.files.sha256

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(N or None, C, ...) of the one input, channels second; (None, None) when the file does not tell."""
        return self._backend.input_shape or (None, None)

    @property
    def taps(self) -> tuple[TapInfo, ...]:
        """The layer outputs that can be corrected, in the order the data passes them; without ``input``."""
        return self._backend.taps

    @property
    def skipped(self) -> tuple[SkippedLayer, ...]:
        """Layers with weights that stay as they are, and why."""
        return self._backend.skipped

    def observe(
        self,
        x: Batch,
        normalise: Normalisation | None = None,
        first_taps: int | None = None,
        frames_of_first: int = 0,
    ) -> Observation:
        """Moments at the taps over ``x`` (N, C, ...), in micro-batches (memory does not grow with N).

        With ``normalise`` every tap is set to the baseline's moments inside the graph before the next layer
        sees it, so that one pass gives what layer-by-layer recalibration would.

        Args:
            x: Prepared samples, finite.
            normalise: None measures the model as it is.
            first_taps: Measure (and normalise) only the first so many taps; None is all.
            frames_of_first: Also keep single-frame moments of so many taps, ``input`` being the first; without
                ``normalise`` only.

        Raises:
            ModelError: the framework failed on the graph.
            TapMismatch: the baseline is of another model.
        """
        self._require_samples(x)
        if normalise is None:
            size = self._frames_at_once(x, passes.PLAIN_BATCH)
        else:
            size = passes.choose_micro_batch(x)
            passes.require_baseline_of(self.taps[:first_taps], normalise.baseline)
        run = self._observer(first_taps, None if normalise is None else normalise.baseline)(normalise)
        with self._backend.running():
            return passes.observe_in_batches(run, x, normalise, size, frames_of_first)

    def patched(self, patch: Patch) -> PatchedModel:
        """The model with the corrections in its own constants; channels at identity stay bit for bit.

        Raises:
            PatchError: the patch is for another model.
        """
        corrected, left_alone = self._apply(patch)
        files = self._backend.files if corrected is None else self._backend.save(corrected)
        return PatchedModel(files.data, left_alone, files.weights, self._backend.files.layout)

    def runner(self, patch: Patch | None = None) -> Runner:
        """The model as deployed (same quantized arithmetic), with or without a patch, ready to run."""
        self._last = None  # after measuring, the observer's activations are the largest memory
        answers = self._backend.load(None if patch is None else self._apply(patch)[0])

        def run(x: Batch) -> dict[str, NDArray[Any]]:
            self._require_samples(x)
            fixed = self.input_shape[0]
            size = fixed or self._frames_at_once(x, passes.RUN_BATCH)
            with self._backend.running():
                outputs = passes.run_all(answers, x, size, is_fixed=fixed is not None)
            if not outputs:
                found, fix = "no output with one entry per sample", "Wrap it so that it gives such tensors."
                raise ModelError(self._backend.name, found, "(N, ...) tensors", fix)
            return outputs

        return run

    @property
    def heads(self) -> tuple[str, ...]:
        """Outputs of the layers behind which no other layer is: what the answers are computed from."""
        return self._backend.heads

    def differentiate(self, aims: Sequence[Aim], x: Batch) -> Gradients:
        """The derivatives of the aims by the corrections of the taps, for batches like ``x`` (N, C, ...).

        Raises:
            NoDerivative: none of the aims can be reached; the text names the operators.
            ModelError: the framework failed on the derivatives.
        """
        self._last = None
        self._require_samples(x)
        return self._backend.differentiate(aims, x)

    def probe(self, first_taps: int) -> ModelFiles:
        """A small model of the same framework: outputs ``<tap>/mean`` and ``<tap>/var`` of the first taps per frame."""
        return self._backend.build_probe(first_taps)

    def inspect(self) -> dict[str, Any]:
        """Format, input, taps and skipped layers of the file, for people and ``--json``."""
        files = self._backend.files
        return {
            "sha256": self.sha256,
            "size_bytes": len(files.data) + len(files.weights or b""),
            "taps": [asdict(tap) for tap in self.taps],
            "channels": sum(tap.channels for tap in self.taps),
            "skipped": [asdict(layer) for layer in self.skipped],
        } | self._backend.describe()

    def _observer(self, first_taps: int | None, baseline: Moments | None) -> passes.Measure:
        """The last one with a baseline is kept: a search asks for it with several priors."""
        if baseline is None:
            self._last = None
            return self._backend.prepare(first_taps, None)
        if self._last is not None and self._last[0] == first_taps and self._last[1] is baseline:
            return self._last[2]
        self._last = None  # never two at once in memory
        observer = self._backend.prepare(first_taps, baseline)
        self._last = (first_taps, baseline, observer)
        return observer

    def _apply(self, patch: Patch) -> tuple[Any | None, dict[str, int]]:
        """A corrected copy, and the channels left alone; None where the patch changes nothing."""
        self._require_own(patch)
        if not any(affine.touched.any() for affine in patch.taps.values()):
            return None, {}
        corrected, left_alone = self._backend.correct(patch.taps)
        return corrected, {tap: count for tap, count in left_alone.items() if count}

    def _frames_at_once(self, x: Batch, usual: int) -> int:
        most_bytes = self._backend.batch_bytes
        if most_bytes is None:
            return usual
        return min(max(most_bytes // max(int(x[0].nbytes), 1), 1), passes.RUN_BATCH)

    def _require_samples(self, x: Batch) -> None:
        """Raise DataError unless ``x`` is float32 (N, C, ...), N >= 1, as the model takes it."""
        wanted = self._backend.input_shape or (None,) * max(x.ndim, 2)
        pairs = zip(wanted[1:], x.shape[1:], strict=False)
        fits = x.ndim == len(wanted) and all(size in (None, given) for size, given in pairs)
        if x.dtype != np.float32 or not fits or not len(x):
            shape = ", ".join("any" if n is None else str(n) for n in wanted[1:])
            fix = "Prepare the samples exactly as for this model."
            raise DataError("samples", f"{x.dtype} {x.shape}", f"float32 (N, {shape}), N >= 1", fix)

    def _require_own(self, patch: Patch) -> None:
        """Raise PatchError unless ``patch`` was made for this model and names its taps."""
        subject = f"patch {patch.id}"
        if patch.model_sha256 != self.sha256:
            found, own = f"made for the model {patch.model_sha256[:12]}…", f"{self.sha256[:12]}…"
            fix = "Apply it to the model it was made for, or recalibrate this one."
            raise PatchError(subject, found, f"{own} ({self._backend.name})", fix)
        known = {tap.name: tap.channels for tap in self.taps} | {INPUT_TAP: self.input_shape[1]}
        sizes = {tap: affine.scale.size for tap, affine in patch.taps.items()}
        wrong = [tap for tap, size in sizes.items() if known.get(tap, -1) not in (None, size)]
        if wrong:
            found = f"taps that this model does not have: {', '.join(wrong[:5])}"
            raise PatchError(subject, found, "taps of the model", "Recalibrate again.")
