"""TorchScript files (scripted, traced, frozen; float32): the part of a target that runs torch."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch

from calibration.patch import Affine
from calibration.stats.moments import FrameMoments, Moments
from calibration.targets import passes
from calibration.targets.base import MEAN, VARIANCE, Aim, Batch, ModelFiles, Normalisation, TapInfo
from calibration.targets.model_input import name_layout
from calibration.targets.target import Backend
from calibration.targets.torchscript import program
from calibration.targets.torchscript.channels import locate_channels
from calibration.targets.torchscript.gradient_graph import build_corrected
from calibration.targets.torchscript.gradients import TorchGradients
from calibration.targets.torchscript.graph import flatten
from calibration.targets.torchscript.heap import HeapTrimmer
from calibration.targets.torchscript.observer import build_observer
from calibration.targets.torchscript.patch import patch_module
from calibration.targets.torchscript.taps import find_taps, name_heads


class TorchScriptBackend(Backend):
    """One TorchScript file; see :class:`calibration.targets.target.Backend`."""

    batch_bytes = 1 << 20
    """torch allocates every activation: on Lite0 8 frames at once take 1.8 times the time a frame of single ones (they
    stay in the cache), small samples go faster together."""

    def __init__(self, files: ModelFiles, name: str = "model", threads: int = 1) -> None:
        """Load the module in evaluation mode; ModelError: it cannot be recalibrated.

        torch counts ``threads`` per process, so they are set for each pass.
        """
        self.files, self.name, self._threads = files, name, threads
        self._module = program.load(name, files.data)
        graph = flatten(name, self._module)
        found, self.skipped = find_taps(graph)
        self.taps = tuple(TapInfo(tap.name, tap.channels, tap.kind) for tap in found)
        self.heads = tuple(name_heads(graph, found))
        found_input = locate_channels(graph, files.layout)
        self.input_shape, self._channel_axis = found_input.shape, found_input.channel_axis
        self._heap = HeapTrimmer()

    def describe(self) -> dict[str, Any]:
        """Format, version of torch and input."""
        name = list(self._module.graph.inputs())[1].debugName().split(".")[0]
        facts: dict[str, Any] = {"name": name, "shape": list(self.input_shape or (None, None))}
        if self.input_shape:
            facts["layout"] = name_layout(len(self.input_shape), self._channel_axis)
        return {"format": "torchscript", "torch": torch.__version__, "input": facts}

    def running(self) -> AbstractContextManager[None]:
        """No gradients, the threads of this target."""
        return program.running(self.name, self._threads)

    def prepare(self, first_taps: int | None, _baseline: Moments | None) -> passes.Measure:
        """One graph per normalisation: prior and input correction are written into it."""
        return partial(self._build_passes, first_taps)

    def correct(self, affines: Mapping[str, Affine]) -> tuple[Any, dict[str, int]]:
        """Another module with the corrections in its parameters; this one stays as it is."""
        module = program.load(self.name, self.files.data)
        graph = flatten(self.name, module)
        with torch.no_grad():
            return module, patch_module(module, graph, find_taps(graph)[0], affines, self._channel_axis)

    def save(self, corrected: Any) -> ModelFiles:
        """One file, in evaluation mode."""
        return ModelFiles(program.save(corrected))

    def load(self, corrected: Any | None) -> passes.Answers:
        """``forward`` and nothing around it, BatchNorms folded.

        Outputs without a name are ``output``, ``output_1``…; a dict's have its keys.
        """
        module = program.fold(self._module if corrected is None else corrected)
        return lambda batch: program.name_outputs(self._run(module, batch), len(batch))

    def differentiate(self, aims: Sequence[Aim], x: Batch) -> TorchGradients:
        """By autograd, BatchNorms in evaluation mode."""
        self._heap.trim()  # measuring takes three times as much as a step does
        graph = flatten(self.name, self._module)
        corrected = build_corrected(graph, find_taps(graph)[0], x.shape[1], self._channel_axis)
        most_frames = self.batch_bytes // max(int(x[0].nbytes), 1)
        return TorchGradients(corrected, aims, x, self.name, self._threads, most_frames, self._channel_axis)

    def build_probe(self, first_taps: int) -> ModelFiles:
        """A TorchScript file of the first layers: samples in, a dict of ``<tap>/mean`` and ``<tap>/var`` out."""
        return self.save(self._build_observer(first_taps, None, by_frame=True))

    def _build_passes(self, first_taps: int | None, normalise: Normalisation | None) -> passes.Pass:
        observe = self._build_observer(first_taps, normalise)
        names = [tap.name for tap in self.taps[:first_taps]]

        def run(batch: Batch) -> passes.Rows:
            given = {key: value.numpy() for key, value in self._run(observe, batch).items()}
            return {name: FrameMoments(given[name + MEAN], given[name + VARIANCE]) for name in names}

        return run

    def _run(self, function: Any, batch: Batch) -> Any:
        own = np.ascontiguousarray(np.moveaxis(batch, 1, self._channel_axis))
        answer = function(torch.from_numpy(own if own.flags.writeable else own.copy()))
        self._heap.count(batch)
        return answer

    def _build_observer(
        self, first_taps: int | None, normalise: Normalisation | None, *, by_frame: bool = False
    ) -> Any:
        graph = flatten(self.name, self._module)
        taps, _ = find_taps(graph)
        axis = self._channel_axis
        return build_observer(graph, taps[:first_taps], normalise, channel_axis=axis, by_frame=by_frame)
