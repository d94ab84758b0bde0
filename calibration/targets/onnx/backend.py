"""ONNX models (float32, folded or live BatchNormalization, int8 QDQ): the part of a target that runs ONNX Runtime."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from calibration.errors import ModelError
from calibration.patch import Affine
from calibration.stats.moments import INPUT_TAP, Moments
from calibration.targets import passes
from calibration.targets.base import Aim, Batch, Gradients, ModelFiles, Normalisation, TapInfo
from calibration.targets.gradient.gradients import OnnxGradients
from calibration.targets.gradient.parts import find_part, in_parts
from calibration.targets.int8_arithmetic import does_this_cpu_cut
from calibration.targets.onnx.channels import locate_channels
from calibration.targets.onnx.float_program import find_heads, to_float_program
from calibration.targets.onnx.folding import fold_parameters
from calibration.targets.onnx.graph import OnnxGraph, free_batch_axis, inline_functions, parse
from calibration.targets.onnx.int8_weights import EXACT_SUMS, needs_exact_sums
from calibration.targets.onnx.observer import (
    build_observer,
    build_probe,
    measure_unit,
    name_moments,
    name_settings,
)
from calibration.targets.onnx.patch import count_dead_channels, insert_input_correction, patch_tap
from calibration.targets.onnx.taps import find_taps
from calibration.targets.safe_form.decide import safe_onnx
from calibration.targets.target import Backend

_ARENA = {"arena_extend_strategy": "kSameAsRequested"}
"""The default doubles and keeps 0.5 GB for 8 frames of Lite0; no arena at all is 30 % slower (page faults)."""

Arrays = list[NDArray[Any]]

_ORT_ERRORS = tuple(
    getattr(ort_errors, name)
    for name in (
        "EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NotImplemented",
        "RuntimeException",
    )
)  # fmt: skip


class OnnxBackend(Backend):
    """One ONNX model; see :class:`calibration.targets.target.Backend`."""

    def __init__(self, files: ModelFiles, name: str = "model", threads: int = 1) -> None:
        """Parse the file, with ``threads`` for every pass; ModelError: it cannot be recalibrated."""
        self.files, self.name, self._threads = files, name, threads
        safe = safe_onnx(files.data, name)
        self._data = safe.data
        self._plain = inline_functions(name, safe.data) if safe.functions else safe.data
        """The same with its functions and its computed parameters resolved: what is measured and patched."""
        self._graph = parse(name, self._plain)
        if fold_parameters(self._graph.model):
            self._plain = self._graph.model.SerializeToString()
            self._graph = parse(name, self._plain)
        self._graph.input = locate_channels(self._graph, files.layout)
        self._taps, self.skipped = find_taps(self._graph)
        self.taps = tuple(TapInfo(tap.name, tap.channels, tap.kind) for tap in self._taps)
        self.input_shape: tuple[int | None, ...] | None = self._graph.input.shape
        self.heads = find_heads(self._graph)

    def describe(self) -> dict[str, Any]:
        """Format, opset and input; taps with how many of their channels are dead."""
        taps = [
            {**asdict(info), "dead_channels": count_dead_channels(self._graph, tap)}
            for info, tap in zip(self.taps, self._taps, strict=True)
        ]
        model_input = self._graph.input.describe()
        return {"format": "onnx", "opset": self._graph.opset, "input": model_input, "taps": taps}

    def prepare(self, first_taps: int | None, baseline: Moments | None) -> passes.Measure:
        """One session; prior and input correction are given when it runs."""
        found, model_input = self._taps[:first_taps], self._graph.input
        session = self._open_session(build_observer(self._free_graph, found, baseline))
        taps, names = self.taps[:first_taps], name_moments(self._free_graph, found)
        inputs = name_settings(self._free_graph)

        def measuring(normalise: Normalisation | None) -> passes.Pass:
            given = None if normalise is None else normalise.settings(model_input.shape[1] or 0)
            settings = dict(zip(inputs, given, strict=True)) if given else {}

            def run(batch: Batch) -> passes.Rows:
                fetched = self._run(
                    session, names, {model_input.name: model_input.convert(batch), **settings}
                )
                return passes.read_rows(taps, fetched, baseline, measure_unit, are_squares=True)

            return run

        return measuring

    def correct(self, affines: Mapping[str, Affine]) -> tuple[bytes, dict[str, int]]:
        """The file with the corrections in its constants."""
        graph = parse(self.name, self._plain, self._graph.input.channel_axis)
        taps = [tap for tap in self._taps if tap.name in affines]
        left_alone = {tap.name: patch_tap(graph, tap, affines[tap.name]) for tap in taps}
        if INPUT_TAP in affines:
            insert_input_correction(graph, affines[INPUT_TAP])
        return graph.model.SerializeToString(), left_alone

    def save(self, corrected: bytes) -> ModelFiles:
        """They are one file."""
        return ModelFiles(corrected)

    def load(self, corrected: bytes | None) -> passes.Answers:
        """One session of the deployed kernels."""
        session = self._open_session(self._data if corrected is None else corrected)
        names, model_input = [output.name for output in session.get_outputs()], self._graph.input

        def run(batch: Batch) -> dict[str, NDArray[Any]]:
            outputs = self._run(session, names, {model_input.name: model_input.convert(batch)})
            return dict(zip(names, outputs, strict=True))

        return run

    def differentiate(self, aims: Sequence[Aim], x: Batch) -> Gradients:
        """The dequantized graph and its backward pass in one session; in parts where its batch size can be freed."""
        is_large = find_part(x) < len(x)
        graph = self._free_graph if is_large and self._is_free else self._graph
        program = to_float_program(graph, self._taps)
        if not is_large or not self._is_free:
            return OnnxGradients(program, aims, x, self._threads)
        return in_parts(lambda part: OnnxGradients(program, aims, part, self._threads), x)

    def build_probe(self, first_taps: int) -> ModelFiles:
        """A small model with the single-frame moments of the first taps as outputs."""
        return ModelFiles(build_probe(self._graph, self._taps, first_taps))

    @cached_property
    def _is_free(self) -> bool:
        """Whether it takes any number of frames, or can be made to."""
        try:
            return self._free_graph is not None
        except ModelError:
            return False

    @cached_property
    def _free_graph(self) -> OnnxGraph:
        """The graph with a dynamic batch axis, which moments over several frames need; checked to answer alike."""
        fixed = self._graph.input.shape[0]
        if fixed is None:
            return self._graph
        free = free_batch_axis(self._graph)
        x = self._graph.input.make_noise(2 * fixed)
        expected = passes.run_all(self.load(None), x, fixed, is_fixed=True)
        session = self._open_session(free.model.SerializeToString())
        try:
            got = session.run(list(expected), {free.input.name: free.input.convert(x)})
        except _ORT_ERRORS as err:
            raise _bound_to_batch(self.name, fixed) from err
        alike = (
            a.shape == b.shape and np.allclose(a, b, rtol=1e-2, atol=1e-2 * float(np.abs(b).max(initial=0)))
            for a, b in zip(got, expected.values(), strict=True)
        )
        if not expected or not all(alike):
            raise _bound_to_batch(self.name, fixed)
        return free

    def _open_session(self, data: bytes) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.log_severity_level = 4
        options.enable_mem_pattern = False
        if does_this_cpu_cut() and needs_exact_sums(data):
            options.add_session_config_entry(*EXACT_SUMS)
        try:
            return ort.InferenceSession(data, options, providers=[("CPUExecutionProvider", _ARENA)])
        except _ORT_ERRORS as err:
            found = f"ONNX Runtime refuses it ({err})"
            fix = "Check the model with onnx.checker and run it once in ONNX Runtime."
            raise ModelError(self.name, found, "a model that loads", fix) from err

    def _run(self, session: ort.InferenceSession, names: list[str], feed: dict[str, NDArray[Any]]) -> Arrays:
        try:
            return list(session.run(names, feed))
        except _ORT_ERRORS as err:
            fix = "Check that the samples have the size that the model was exported for."
            raise ModelError(self.name, f"ONNX Runtime failed ({err})", "a model that runs", fix) from err


def _bound_to_batch(name: str, fixed: int) -> ModelError:
    found = f"the batch size {fixed} is built into its layers"
    fix = "Export it with a dynamic batch axis (torch.onnx.export(..., dynamic_axes={'input': {0: 'N'}}))."
    return ModelError(name, found, "a batch axis that can be freed", fix)
