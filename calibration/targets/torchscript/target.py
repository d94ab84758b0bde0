"""TorchScript files (scripted, traced, frozen; float32) as a calibration target.

The one file of this library that runs TorchScript. Its parts: ``torchscript_module`` loads and saves,
``torchscript_graph`` flattens, ``torchscript_taps`` finds, ``torchscript_observer`` measures, ``torchscript_patch``
writes parameters.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.patch import Patch
from calibration.stats.moments import FrameMoments
from calibration.targets import passes
from calibration.targets.base import (
    Batch,
    ModelFiles,
    Normalisation,
    Observation,
    PatchedModel,
    Runner,
    SkippedLayer,
    TapInfo,
)
from calibration.targets.torchscript import program
from calibration.targets.torchscript.graph import flatten
from calibration.targets.torchscript.input import input_shape
from calibration.targets.torchscript.observer import MEAN, VARIANCE, build_observer
from calibration.targets.torchscript.patch import patch_module
from calibration.targets.torchscript.taps import find_taps

_BATCH_BYTES = 1 << 20
"""Input of one plain pass. torch allocates every activation: on Lite0 8 frames at once take 1.8 times the time a frame
of single ones (they stay in the cache), small pictures go faster together."""


class TorchScriptTarget:
    """One TorchScript file opened for recalibration; see :class:`calibration.targets.base.Target`."""

    def __init__(self, data: bytes, name: str = "model", threads: int = 1) -> None:
        """Load the module in evaluation mode and find its taps.

        Args:
            data: The file's bytes.
            name: For messages.
            threads: CPU threads of every pass; torch counts them per process, so they are set for each pass.

        Raises:
            ModelError: it cannot be recalibrated.
        """
        self._data, self._name, self._threads = data, name, threads
        self._module = program.load(name, data)
        graph = flatten(name, self._module)
        found, self._skipped = find_taps(graph)
        self._taps = tuple(TapInfo(tap.name, tap.channels, tap.kind) for tap in found)
        self._input_shape = input_shape(graph)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the model file."""
        return hashlib.sha256(self._data).hexdigest()

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, C, None, ...) as the first layer wants it; (None, None) when the file does not tell."""
        return self._input_shape or (None, None)

    @property
    def taps(self) -> tuple[TapInfo, ...]:
        """The correctable layer outputs, in graph order."""
        return self._taps

    @property
    def skipped(self) -> tuple[SkippedLayer, ...]:
        """Layers with weights that stay as they are, and why."""
        return self._skipped

    def observe(
        self,
        x: Batch,
        normalise: Normalisation | None = None,
        first_taps: int | None = None,
        frames_of_first: int = 0,
    ) -> Observation:
        """Moments at the taps over ``x``, in one pass; see the port."""
        self._require_samples(x)
        chosen = self._taps[:first_taps]
        if normalise is not None:
            passes.require_baseline_of(chosen, normalise)
        observer = self._observer(first_taps, normalise)
        size = passes.micro_batch(x) if normalise is not None else _frames_at_once(x)

        def run(batches: Iterable[Batch]) -> Iterator[passes.Rows]:
            for batch in program.sparing_memory(batches):
                given = {key: value.numpy() for key, value in observer(batch).items()}
                yield {
                    tap.name: FrameMoments(given[tap.name + MEAN], given[tap.name + VARIANCE])
                    for tap in chosen
                }

        with program.running(self._name, self._threads):
            return passes.observation(run, x, normalise, size, frames_of_first)

    def patched(self, patch: Patch) -> PatchedModel:
        """The module with the corrections in its own parameters, saved in evaluation mode; see the port."""
        module, left_alone = self._corrected(patch)
        if module is self._module:
            return PatchedModel(self._data)
        return PatchedModel(program.save(module), left_alone)

    def runner(self, patch: Patch | None = None) -> Runner:
        """The module with or without a patch, ready to run: ``forward`` and nothing around it, BatchNorms folded.

        Outputs without a name are ``output``, ``output_1``…; a dict's have its keys.
        """
        module = program.folded(self._module if patch is None else self._corrected(patch)[0])

        def run(x: Batch) -> dict[str, NDArray[Any]]:
            self._require_samples(x)
            batches = program.sparing_memory(passes.batches(x, _frames_at_once(x)))
            with program.running(self._name, self._threads):
                parts = [program.named_outputs(module(batch), len(batch)) for batch in batches]
            names = [name for name in parts[0] if all(name in part for part in parts)]
            if not names:
                found, fix = (
                    "no output with one entry per picture",
                    "Wrap it so that forward gives such tensors.",
                )
                raise ModelError(self._name, found, "(N, ...) tensors", fix)
            return {name: np.concatenate([part[name] for part in parts]) for name in names}

        return run

    def probe(self, first_taps: int) -> ModelFiles:
        """A TorchScript file of the first layers: pictures in, a dict of ``<tap>/mean`` and ``<tap>/var`` out."""
        return ModelFiles(program.save(self._observer(first_taps, None, by_frame=True)))

    def inspect(self) -> dict[str, Any]:
        """What the file is and what can be done with it."""
        first = list(self._module.graph.inputs())[1]
        return {
            "format": "torchscript",
            "torch": torch.__version__,
            "sha256": self.sha256,
            "size_bytes": len(self._data),
            "input": {"name": first.debugName().split(".")[0], "shape": list(self.input_shape)},
            "taps": [{"name": t.name, "channels": t.channels, "kind": t.kind} for t in self._taps],
            "channels": sum(t.channels for t in self._taps),
            "skipped": [{"name": layer.name, "reason": layer.reason} for layer in self._skipped],
        }

    def _observer(
        self, first_taps: int | None, normalise: Normalisation | None, *, by_frame: bool = False
    ) -> Any:
        graph = flatten(self._name, self._module)
        taps, _ = find_taps(graph)
        return build_observer(graph, taps[:first_taps], normalise, by_frame=by_frame)

    def _corrected(self, patch: Patch) -> tuple[Any, dict[str, int]]:
        """The module with a patch that was made for it; where that changes nothing, the very module."""
        passes.require_patch_of(patch, self._name, self.sha256, self._taps, self.input_shape[1])
        if not any(affine.touched.any() for affine in patch.taps.values()):
            return self._module, {}
        return self._patched_module(patch)

    def _patched_module(self, patch: Patch) -> tuple[Any, dict[str, int]]:
        """A module of its own with the patch in it: this one stays as it is."""
        module = program.load(self._name, self._data)
        graph = flatten(self._name, module)
        taps, _ = find_taps(graph)
        with torch.no_grad():
            left_alone = patch_module(module, graph, taps, patch.taps)
        return module, left_alone

    def _require_samples(self, x: Batch) -> None:
        passes.require_samples(x, self._input_shape or (None,) * max(x.ndim, 2))


def _frames_at_once(x: Batch) -> int:
    return int(np.clip(_BATCH_BYTES // max(x[0].nbytes, 1), 1, passes.RUN_BATCH))
