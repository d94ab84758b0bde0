"""OpenVINO IR (float32, compressed float16, int8 from QDQ ONNX or from NNCF) as a calibration target.

The one file of this library that runs OpenVINO. Its parts: ``openvino_graph`` reads, ``openvino_taps`` finds,
``openvino_observer`` measures, ``openvino_patch`` writes constants.

Samples come as float32 (N, C, ...) like everywhere in this library; a model that takes channels last or uint8 gets
them transposed and rounded here.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

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
from calibration.targets.openvino.graph import IrGraph, files_of, parse
from calibration.targets.openvino.observer import Observer, build_observer, correction_settings
from calibration.targets.openvino.patch import insert_input_correction, patch_tap
from calibration.targets.openvino.probe import build_probe
from calibration.targets.openvino.taps import find_taps, taps_in

_ALIKE = 0.1
"""Measured per output over all taps, noise pictures: at worst 0.043 (Lite0 by NNCF) and 0.026 (SSDLite by NNCF), where
int8 rounding differs; frames mixed with each other are 0.2 to 0.3 off in the median tap, 0.7 to 1 in the worst."""


class OpenVinoTarget:
    """One OpenVINO IR opened for recalibration; see :class:`calibration.targets.base.Target`."""

    def __init__(self, xml: bytes, weights: bytes, name: str = "model", threads: int = 1) -> None:
        """Read the model and find its taps.

        Args:
            xml: Bytes of the .xml file.
            weights: Bytes of the .bin file.
            name: For messages.
            threads: CPU threads of every pass.

        Raises:
            ModelError: it cannot be recalibrated.
        """
        self._files, self._name, self._threads = ModelFiles(xml, weights), name, threads
        self._graph = parse(name, xml, weights)
        self._ir_taps, self._skipped = find_taps(self._graph)
        self._taps = tuple(TapInfo(tap.name, tap.channels, tap.kind) for tap in self._ir_taps)
        self._last: tuple[int | None, Moments, Observer, Any] | None = None

    @cached_property
    def sha256(self) -> str:
        """Hex digest over both files: that of the .xml followed by the .bin."""
        return self._files.sha256

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(N or None, C, ...) of the one picture input, channels second whatever the model's layout."""
        return self._graph.input.shape

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
        passes.require_samples(x, self.input_shape)
        if normalise is not None:
            passes.require_baseline_of(self._taps[:first_taps], normalise)
        self._require_free_batch()
        observer, request = self._observing(first_taps, None if normalise is None else normalise.baseline)
        size = passes.micro_batch(x) if normalise is not None else passes.PLAIN_BATCH
        settings = correction_settings(normalise, x.shape[1])

        def run(batches: Iterable[Batch]) -> Iterator[passes.Rows]:
            for batch in batches:
                yield observer.rows(self._run(request, batch, settings))

        return passes.observation(run, x, normalise, size, frames_of_first)

    def patched(self, patch: Patch) -> PatchedModel:
        """The model with the corrections in its own constants; see the port."""
        passes.require_patch_of(patch, self._name, self.sha256, self._taps, self.input_shape[1])
        if not any(affine.touched.any() for affine in patch.taps.values()):
            return PatchedModel(self._files.data, weights=self._files.weights)
        graph, left_alone = self._with(patch)
        xml, weights = files_of(graph.model)
        return PatchedModel(xml, left_alone, weights)

    def runner(self, patch: Patch | None = None) -> Runner:
        """The model as deployed, with or without a patch, ready to run."""
        self._last = (
            None  # whoever runs candidates is done measuring, and its activations are the largest memory
        )
        if patch is None:
            graph = self._copy()
        else:
            passes.require_patch_of(patch, self._name, self.sha256, self._taps, self.input_shape[1])
            graph = self._with(patch)[0]
        names = [_output_name(output) for output in graph.model.outputs]
        request = self._compiled(graph.model).create_infer_request()
        fixed = self.input_shape[0]

        def run(x: Batch) -> dict[str, NDArray[Any]]:
            passes.require_samples(x, self.input_shape)
            batches: Iterable[Batch] = (
                passes.batches(x, passes.RUN_BATCH) if fixed is None else passes.filled_batches(x, fixed)
            )
            parts = [self._run(request, batch) for batch in batches]
            return {name: np.concatenate([p[i] for p in parts])[: len(x)] for i, name in enumerate(names)}

        return run

    def probe(self, first_taps: int) -> ModelFiles:
        """A small IR with the single-frame moments of the first taps as outputs; see ``openvino_probe``."""
        return build_probe(self._copy(), first_taps)

    def inspect(self) -> dict[str, Any]:
        """What the files are and what can be done with them."""
        picture = self._graph.input
        return {
            "format": "openvino",
            "sha256": self.sha256,
            "size_bytes": len(self._files.data) + len(self._files.weights or b""),
            "input": {
                "name": picture.name,
                "shape": list(picture.shape),
                "layout": picture.layout,
                "dtype": picture.dtype.name,
            },
            "taps": [{"name": t.name, "channels": t.channels, "kind": t.kind} for t in self.taps],
            "channels": sum(t.channels for t in self.taps),
            "skipped": [{"name": layer.name, "reason": layer.reason} for layer in self._skipped],
        }

    def _copy(self) -> IrGraph:
        return IrGraph(self._name, self._graph.model.clone(), self._graph.input)

    def _with(self, patch: Patch) -> tuple[IrGraph, dict[str, int]]:
        """A copy with the patch in it, and how many channels of which taps were left alone."""
        graph = self._copy()
        counts = {
            tap.name: patch_tap(graph, tap, patch.taps[tap.name])
            for tap in taps_in(graph, self._ir_taps, self._graph)
            if tap.name in patch.taps
        }
        if INPUT_TAP in patch.taps:
            insert_input_correction(graph, patch.taps[INPUT_TAP])
        return graph, {name: count for name, count in counts.items() if count}

    def _observer(self, first_taps: int | None, baseline: Moments | None) -> Observer:
        graph = self._copy()
        taps = taps_in(graph, self._ir_taps, self._graph)[:first_taps]
        return build_observer(graph, taps, baseline)

    def _observing(self, first_taps: int | None, baseline: Moments | None) -> tuple[Observer, Any]:
        """An observer ready to run; the last one with a baseline is kept, a ladder asks for it with several priors."""
        if baseline is not None and self._last is not None:
            known_taps, known_baseline, observer, request = self._last
            if known_taps == first_taps and known_baseline is baseline:
                return observer, request
        observer = self._observer(first_taps, baseline)
        request = self._compiled(_with_free_batch(observer.model)).create_infer_request()
        if baseline is not None:
            self._last = (first_taps, baseline, observer, request)
        return observer, request

    def _require_free_batch(self) -> None:
        """Make sure, once, that a model of a fixed batch size answers alike with another one."""
        if self.input_shape[0] is not None and not self._answers_alike:
            found = f"the batch size {self.input_shape[0]} is built into its layers"
            fix = "Convert it with a dynamic batch axis (openvino.convert_model(..., input=[-1, 3, H, W]))."
            raise ModelError(self._name, found, "a batch axis that can be freed", fix)

    @cached_property
    def _answers_alike(self) -> bool:
        """Whether the frame moments of two batches in one are those of two batches in a row."""
        fixed = self.input_shape[0] or 1
        x = self._graph.input.unlike(2 * fixed)
        as_is = self._compiled(self._observer(None, None).model).create_infer_request()
        parts = [self._run(as_is, x[i : i + fixed]) for i in range(0, len(x), fixed)]
        try:
            free = self._compiled(_with_free_batch(self._observer(None, None).model)).create_infer_request()
            got = self._run(free, x)
            expected = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
            if any(len(a) != len(b) for a, b in zip(got, expected, strict=True)):
                # Rows that are tokens are other ones in every pass; there the answers must speak.
                answering = self._compiled(_with_free_batch(self._copy().model)).create_infer_request()
                got, expected = self._run(answering, x), list(self.runner()(x).values())
        except (ModelError, RuntimeError):
            return False
        return all(_is_alike(a, b) for a, b in zip(got, expected, strict=True))

    def _compiled(self, model: Any) -> Any:
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 on some CPUs: logits differ by 0.6
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # a pinned thread would fight with the live one for its core
        }
        try:
            return ov.Core().compile_model(model, "CPU", options)
        except RuntimeError as err:
            found = f"OpenVINO refuses it ({err})"
            raise ModelError(self._name, found, "a model that compiles", "Run it once in OpenVINO.") from err

    def _run(
        self, request: Any, batch: Batch, settings: Sequence[NDArray[np.float32]] = ()
    ) -> list[NDArray[Any]]:
        """All outputs of one batch, as copies: OpenVINO would write the next ones over them."""
        try:
            request.infer([self._graph.input.fed(batch), *settings])
        except RuntimeError as err:
            fix = "Check that the pictures have the size that the model was converted for."
            raise ModelError(self._name, f"OpenVINO failed ({err})", "a model that runs", fix) from err
        outputs = request.model_outputs
        return [np.array(request.get_tensor(output).data) for output in outputs]


def _is_alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Equal but for the rounding of int8 layers, which other kernels do otherwise."""
    if one.shape != other.shape:
        return False
    return float(np.linalg.norm(one - other)) <= _ALIKE * float(np.linalg.norm(other)) + 1e-6


def _with_free_batch(model: Any) -> Any:
    """The same model with a dynamic batch axis, in place."""
    partial = model.input(0).get_partial_shape()
    model.reshape({0: ov.PartialShape([-1, *list(partial)[1:]])})
    return model


def _output_name(output: Any) -> str:
    """What the output is called in the file; of several names the one of its Result node, else the shortest."""
    names = sorted(output.get_names(), key=lambda name: (len(name), name))
    result = str(output.get_node().get_friendly_name())
    return result if result in names or not names else str(names[0])
