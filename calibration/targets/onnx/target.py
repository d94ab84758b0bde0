"""ONNX models (float32, folded or live BatchNormalization, int8 QDQ) as a calibration target.

The one file of this library that runs ONNX Runtime. Its parts: ``onnx_graph`` parses, ``onnx_taps`` finds,
``onnx_observer`` measures, ``onnx_patch`` writes constants.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from calibration.errors import ModelError
from calibration.patch import Patch
from calibration.stats.moments import INPUT_TAP, Moments
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
from calibration.targets.onnx.graph import OnnxGraph, parse, with_free_batch
from calibration.targets.onnx.observer import Observer, build_observer, correction_settings
from calibration.targets.onnx.patch import dead_channels, insert_input_correction, patch_tap
from calibration.targets.onnx.probe import build_probe
from calibration.targets.onnx.taps import find_taps

_ARENA = {"arena_extend_strategy": "kSameAsRequested"}
"""The default doubles and keeps 0.5 GB for 8 frames of Lite0; no arena at all is 30 % slower (page faults)."""

_ORT_ERRORS = tuple(
    getattr(ort_errors, name)
    for name in (
        "EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NotImplemented",
        "RuntimeException",
    )
)  # fmt: skip


class OnnxTarget:
    """One ONNX model opened for recalibration; see :class:`calibration.targets.base.Target`."""

    def __init__(self, data: bytes, name: str = "model", threads: int = 1) -> None:
        """Parse the model and find its taps.

        Args:
            data: The file's bytes.
            name: For messages.
            threads: CPU threads of every pass.

        Raises:
            ModelError: it cannot be recalibrated.
        """
        self._data, self._name, self._threads = data, name, threads
        self._graph = parse(name, data)
        self._onnx_taps, self._skipped = find_taps(self._graph)
        self._last: tuple[int | None, Moments, Observer, ort.InferenceSession] | None = None

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the model file."""
        return hashlib.sha256(self._data).hexdigest()

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(N or None, C, ...) of the one picture input."""
        return self._graph.input_shape

    @property
    def taps(self) -> tuple[TapInfo, ...]:
        """The correctable layer outputs, in graph order."""
        return tuple(TapInfo(tap.name, tap.channels, tap.kind) for tap in self._onnx_taps)

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
        passes.require_samples(x, self.input_shape)
        if normalise is not None:
            passes.require_baseline_of(self.taps[:first_taps], normalise)
        observer, session = self._observing(first_taps, None if normalise is None else normalise.baseline)
        settings = correction_settings(normalise, x.shape[1])
        size = passes.micro_batch(x) if normalise is not None else passes.PLAIN_BATCH
        picture = self._graph.input

        def run(batches: Iterable[Batch]) -> Iterator[passes.Rows]:
            for batch in batches:
                feed = {observer.input_name: picture.fed(batch), **settings}
                yield observer.rows(self._run(session, observer.fetches, feed))

        return passes.observation(run, x, normalise, size, frames_of_first)

    def patched(self, patch: Patch) -> PatchedModel:
        """The model with the corrections in its own constants; see the port."""
        passes.require_patch_of(patch, self._name, self.sha256, self.taps, self.input_shape[1])
        if not any(affine.touched.any() for affine in patch.taps.values()):
            return PatchedModel(self._data)
        graph = parse(self._name, self._data)
        left_alone = {
            tap.name: patch_tap(graph, tap, patch.taps[tap.name])
            for tap in self._onnx_taps
            if tap.name in patch.taps
        }
        if INPUT_TAP in patch.taps:
            insert_input_correction(graph, patch.taps[INPUT_TAP])
        return PatchedModel(graph.model.SerializeToString(), {k: n for k, n in left_alone.items() if n})

    def runner(self, patch: Patch | None = None) -> Runner:
        """The model as deployed, with or without a patch, ready to run."""
        self._last = (
            None  # whoever runs candidates is done measuring, and its activations are the largest memory
        )
        data = self._data if patch is None else self.patched(patch).data
        session = self._session(data)
        names = [output.name for output in session.get_outputs()]

        def run(x: Batch) -> dict[str, NDArray[Any]]:
            passes.require_samples(x, self.input_shape)
            fixed = self._graph.input_shape[0]
            batches = (
                passes.batches(x, passes.RUN_BATCH) if fixed is None else passes.filled_batches(x, fixed)
            )
            picture = self._graph.input
            parts = [self._run(session, names, {picture.name: picture.fed(batch)}) for batch in batches]
            return {
                name: np.concatenate([part[i] for part in parts])[: len(x)] for i, name in enumerate(names)
            }

        return run

    def probe(self, first_taps: int) -> ModelFiles:
        """A small model with the single-frame moments of the first taps as outputs; see ``onnx_probe``."""
        return ModelFiles(build_probe(self._graph, self._onnx_taps, first_taps))

    def inspect(self) -> dict[str, Any]:
        """What the file is and what can be done with it."""
        return {
            "format": "onnx",
            "opset": self._graph.opset,
            "sha256": self.sha256,
            "size_bytes": len(self._data),
            "input": {
                "name": self._graph.input_name,
                "shape": list(self._graph.input_shape),
                "layout": self._graph.input.layout,
                "dtype": self._graph.input.dtype.name,
            },
            "taps": [
                {
                    "name": tap.name,
                    "channels": tap.channels,
                    "kind": tap.kind,
                    "dead_channels": dead_channels(self._graph, tap),
                }
                for tap in self._onnx_taps
            ],
            "channels": sum(t.channels for t in self.taps),
            "skipped": [{"name": layer.name, "reason": layer.reason} for layer in self._skipped],
        }

    @cached_property
    def _free_graph(self) -> OnnxGraph:
        """The graph with a dynamic batch axis, which moments over several frames need; checked to answer alike."""
        fixed = self._graph.input_shape[0]
        if fixed is None:
            return self._graph
        free = with_free_batch(self._graph)
        x = self._graph.input.unlike(2 * fixed)
        expected = list(self.runner()(x).values())
        session = self._session(free.model.SerializeToString())
        try:
            got = session.run(None, {free.input_name: free.input.fed(x)})
        except _ORT_ERRORS as err:
            raise _bound_to_batch(self._name, fixed) from err
        alike = (
            a.shape == b.shape and np.allclose(a, b, rtol=1e-2, atol=1e-2 * float(np.abs(b).max(initial=0)))
            for a, b in zip(got, expected, strict=True)
        )
        if not all(alike):
            raise _bound_to_batch(self._name, fixed)
        return free

    def _observing(self, first_taps: int | None, baseline: Moments | None) -> tuple[Observer, Any]:
        """An observer ready to run; the last one with a baseline is kept, a ladder asks for it with several priors."""
        if baseline is not None and self._last is not None:
            known_taps, known_baseline, observer, session = self._last
            if known_taps == first_taps and known_baseline is baseline:
                return observer, session
        self._last = None
        observer = build_observer(self._free_graph, self._onnx_taps[:first_taps], baseline)
        session = self._session(observer.model)
        observer = replace(observer, model=b"")  # as large as the session, which has read it
        if baseline is not None:
            self._last = (first_taps, baseline, observer, session)
        return observer, session

    def _session(self, data: bytes) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        options.enable_mem_pattern = False
        try:
            return ort.InferenceSession(data, options, providers=[("CPUExecutionProvider", _ARENA)])
        except _ORT_ERRORS as err:
            fix = "Check the model with onnx.checker and run it once in ONNX Runtime."
            raise ModelError(
                self._name, f"ONNX Runtime refuses it ({err})", "a model that loads", fix
            ) from err

    def _run(
        self, session: ort.InferenceSession, names: list[str], feed: dict[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        try:
            return list(session.run(names, feed))
        except _ORT_ERRORS as err:
            fix = "Check that the pictures have the size that the model was exported for."
            raise ModelError(self._name, f"ONNX Runtime failed ({err})", "a model that runs", fix) from err


def _bound_to_batch(name: str, fixed: int) -> ModelError:
    found = f"the batch size {fixed} is built into its layers"
    fix = "Export it with a dynamic batch axis (torch.onnx.export(..., dynamic_axes={'input': {0: 'N'}}))."
    return ModelError(name, found, "a batch axis that can be freed", fix)
