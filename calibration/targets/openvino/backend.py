"""OpenVINO IR (float32, compressed float16, int8 from QDQ ONNX or NNCF): the part of a target that runs OpenVINO."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.patch import Affine
from calibration.stats.moments import INPUT_TAP, Moments
from calibration.targets import passes
from calibration.targets.base import Aim, Batch, Gradients, ModelFiles, Normalisation, TapInfo
from calibration.targets.gradient.gradients import OnnxGradients
from calibration.targets.gradient.parts import find_part, in_parts
from calibration.targets.int8_arithmetic import does_this_cpu_cut
from calibration.targets.openvino.channels import locate_channels
from calibration.targets.openvino.float_program import find_heads, to_float_program
from calibration.targets.openvino.graph import IrGraph, parse, serialize
from calibration.targets.openvino.int8_weights import IN_FLOAT, needs_float
from calibration.targets.openvino.observer import build_observer, build_probe, measure_unit
from calibration.targets.openvino.patch import insert_input_correction, patch_tap
from calibration.targets.openvino.taps import find_taps, map_taps
from calibration.targets.safe_form.decide import make_safe
from calibration.targets.target import Backend

_ALIKE = 0.1
"""Measured per output over all taps, noise samples: at worst 0.043 (Lite0 by NNCF) and 0.026 (SSDLite by NNCF), where
int8 rounding differs; frames mixed with each other are 0.2 to 0.3 off in the median tap, 0.7 to 1 in the worst."""


class OpenVinoBackend(Backend):
    """One OpenVINO IR; see :class:`calibration.targets.target.Backend`."""

    def __init__(self, files: ModelFiles, name: str = "model", threads: int = 1) -> None:
        """Read both files, with ``threads`` for every pass; ModelError: it cannot be recalibrated."""
        self.files, self.name, self._threads = files, name, threads
        self._graph = parse(name, make_safe(files, name, "openvino").files)
        self._graph.input = locate_channels(self._graph, files.layout)
        self._taps, self.skipped = find_taps(self._graph)
        self.taps = tuple(TapInfo(tap.name, tap.channels, tap.kind) for tap in self._taps)
        self.input_shape: tuple[int | None, ...] | None = self._graph.input.shape
        self._outputs = [_output_name(output) for output in self._graph.model.outputs]
        self.heads = find_heads(self._graph, self._taps, self._outputs)

    def describe(self) -> dict[str, Any]:
        """Format and input."""
        return {"format": "openvino", "input": self._graph.input.describe()}

    def prepare(self, first_taps: int | None, baseline: Moments | None) -> passes.Measure:
        """One compilation; prior and input correction are given when it runs."""
        self._require_free_batch()
        taps = self.taps[:first_taps]
        request = self._compile(_free_batch_axis(self._build_observer(first_taps, baseline)))

        def measuring(normalise: Normalisation | None) -> passes.Pass:
            settings = [] if normalise is None else normalise.settings(self._graph.input.shape[1] or 0)

            return lambda batch: passes.read_rows(
                taps, self._run(request, batch, settings), baseline, measure_unit
            )

        return measuring

    def correct(self, affines: Mapping[str, Affine]) -> tuple[IrGraph, dict[str, int]]:
        """A copy of the graph with the corrections in its constants."""
        graph = self._copy()
        taps = [tap for tap in map_taps(graph, self._taps, self._graph) if tap.name in affines]
        left_alone = {tap.name: patch_tap(graph, tap, affines[tap.name]) for tap in taps}
        if INPUT_TAP in affines:
            insert_input_correction(graph, affines[INPUT_TAP])
        return graph, left_alone

    def save(self, corrected: IrGraph) -> ModelFiles:
        """The .xml and the .bin."""
        return ModelFiles(*serialize(corrected.model))

    def load(self, corrected: IrGraph | None) -> passes.Answers:
        """One compilation of the deployed kernels."""
        model = (self._copy() if corrected is None else corrected).model
        request, names = self._compile(model), self._outputs
        return lambda batch: dict(zip(names, self._run(request, batch), strict=True))

    def differentiate(self, aims: Sequence[Aim], x: Batch) -> Gradients:
        """A float copy in ONNX's operators and its backward pass, run by ONNX Runtime; in parts where that is alike."""
        is_free = self._graph.input.shape[0] is None or find_part(x) == len(x) or self._answers_alike
        build = partial(self._differentiate, aims)
        return in_parts(build, x) if is_free else build(x)

    def _differentiate(self, aims: Sequence[Aim], x: Batch) -> OnnxGradients:
        graph = self._copy()
        taps = map_taps(graph, self._taps, self._graph)
        try:
            program = to_float_program(graph, taps, self._outputs, x)
        except RuntimeError as err:
            found = f"OpenVINO refuses batches of {len(x)} ({err})"
            fix = "Convert it with a dynamic batch axis (openvino.convert_model(..., input=[-1, C, ...]))."
            raise ModelError(self.name, found, "a batch axis that can be set", fix) from err
        return OnnxGradients(program, aims, x, self._threads)

    def build_probe(self, first_taps: int) -> ModelFiles:
        """A small IR with the single-frame moments of the first taps as outputs."""
        return build_probe(self._copy(), first_taps)

    def _copy(self) -> IrGraph:
        return IrGraph(self.name, self._graph.model.clone(), self._graph.input)

    def _build_observer(self, first_taps: int | None, baseline: Moments | None) -> Any:
        graph = self._copy()
        taps = map_taps(graph, self._taps, self._graph)[:first_taps]
        return build_observer(graph, taps, baseline)

    def _require_free_batch(self) -> None:
        """Raise ModelError unless a model of a fixed batch size answers alike with another one; checked once."""
        if self._graph.input.shape[0] is not None and not self._answers_alike:
            found = f"the batch size {self._graph.input.shape[0]} is built into its layers"
            fix = "Convert it with a dynamic batch axis (openvino.convert_model(..., input=[-1, C, ...]))."
            raise ModelError(self.name, found, "a batch axis that can be freed", fix)

    @cached_property
    def _answers_alike(self) -> bool:
        """Whether the frame moments of two batches in one are those of two batches in a row."""
        fixed = self._graph.input.shape[0] or 1
        x = self._graph.input.make_noise(2 * fixed)
        as_is = self._compile(self._build_observer(None, None))
        parts = [self._run(as_is, x[i : i + fixed]) for i in range(0, len(x), fixed)]
        try:
            got = self._run(self._compile(_free_batch_axis(self._build_observer(None, None))), x)
            expected = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
            if any(len(a) != len(b) for a, b in zip(got, expected, strict=True)):
                # Rows of tokens differ from pass to pass: compare the outputs instead.
                answering = self._compile(_free_batch_axis(self._copy().model))
                whole = passes.run_all(self.load(None), x, fixed, is_fixed=True)
                found = dict(zip(self._outputs, self._run(answering, x), strict=True))
                got, expected = [found[name] for name in whole], list(whole.values())
        except (ModelError, RuntimeError):
            return False
        return bool(got) and all(_is_alike(a, b) for a, b in zip(got, expected, strict=True))

    def _compile(self, model: Any) -> Any:
        """A request for inferences."""
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 on some CPUs: logits differ by 0.6
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # a pinned thread would fight with the live one for its core
        }
        if does_this_cpu_cut() and needs_float(model):
            options |= IN_FLOAT
        try:
            return ov.Core().compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as err:
            found = f"OpenVINO refuses it ({err})"
            raise ModelError(self.name, found, "a model that compiles", "Run it once in OpenVINO.") from err

    def _run(self, request: Any, batch: Batch, settings: Iterable[Any] = ()) -> list[NDArray[Any]]:
        """All outputs of one batch, as copies: OpenVINO would write the next ones over them."""
        try:
            request.infer([self._graph.input.convert(batch), *settings])
        except RuntimeError as err:
            fix = "Check that the samples have the size that the model was converted for."
            raise ModelError(self.name, f"OpenVINO failed ({err})", "a model that runs", fix) from err
        return [np.array(request.get_tensor(output).data) for output in request.model_outputs]


def _is_alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Equal but for the rounding of int8 layers, which differs between kernels."""
    if one.shape != other.shape:
        return False
    return float(np.linalg.norm(one - other)) <= _ALIKE * float(np.linalg.norm(other)) + 1e-6


def _free_batch_axis(model: Any) -> Any:
    """The same model with a dynamic batch axis, in place."""
    partial = model.input(0).get_partial_shape()
    model.reshape({0: ov.PartialShape([-1, *list(partial)[1:]])})
    return model


def _output_name(output: Any) -> str:
    """The output's name in the file; of several names the one of its Result node, else the shortest."""
    names = sorted(output.get_names(), key=lambda name: (len(name), name))
    result = str(output.get_node().get_friendly_name())
    return result if result in names or not names else str(names[0])
