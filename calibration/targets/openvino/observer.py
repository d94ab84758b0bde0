"""The observer: a copy of the model that emits per-frame moments at every tap, and can correct each tap on the way.

Correcting inside the graph makes one pass give what layer-by-layer recalibration would: every layer is measured
behind corrected layers. The same formulas as in the ONNX observer. Weights are made the float32 values they stand
for: OpenVINO's int8 passes take a Subtract behind a quantized convolution for a zero point (2026.4: all moments
came out 0).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from calibration.patch import RELATIVE_EPS, SCALE_LIMITS, spread
from calibration.stats.moments import Moments, TapMoments
from calibration.targets.base import MEAN, VARIANCE, ModelFiles
from calibration.targets.openvino.graph import IrGraph, element_type, readers, serialize, value
from calibration.targets.openvino.patch import correct_input
from calibration.targets.openvino.taps import IrTap, find_taps, has_weights

_SMALLEST_UNIT = 1e-18
"""Its square and the square's inverse are float32 numbers; a tap of a smaller spread gives a constant."""


def build_observer(graph: IrGraph, taps: Sequence[IrTap], baseline: Moments | None) -> Any:
    """A model with two outputs a tap, see ``passes.read_rows``; rewires ``graph``, which must not be used afterwards.

    With a baseline every one of ``taps`` (in graph order) is set to it before the next layer sees it, and three inputs
    more, as ``Normalisation.settings`` gives them, let one compilation serve every candidate.
    """
    inputs = [graph.parameter]
    _dequantize_weights(graph)
    fetched: list[Any] = []
    if baseline is None:
        for tap in taps:
            fetched += measure(tap, _convert(tap.output, "f32"))
        return ov.Model(fetched, inputs, "observer")
    channels = graph.input.shape[1]
    prior, scale, offset = (ops.parameter(shape, np.float32) for shape in ([], [channels], [channels]))
    correct_input(graph, scale, offset)
    for tap in taps:
        fetched += _measure_and_correct(tap, baseline[tap.name], prior)
    return ov.Model(fetched, [*inputs, prior, scale, offset], "observer")


def build_probe(graph: IrGraph, first: int) -> ModelFiles:
    """An IR of the first layers: outputs ``<tap>/mean`` and ``<tap>/var``, float32 (N, C) each; rewires ``graph``.

    It gives the very numbers that the baseline was recorded with, at a small share of the cost of an inference. Rows
    that are tokens are brought together to frames: exactly for one frame at a time, as it is run live.
    """
    taps = find_taps(graph)[0][:first]
    rows = [result.input_value(0) for result in build_observer(graph, taps, None).get_results()]
    first_axis = ops.constant(np.asarray([0], np.int64))
    frames = ops.gather(ops.shape_of(graph.parameter), first_axis, ops.constant(np.int64(0)))
    outputs: list[Any] = []
    for tap, mean, var in zip(taps, rows[::2], rows[1::2], strict=True):
        for part, suffix in zip(_frames_of(tap, mean, var, frames), (MEAN, VARIANCE), strict=True):
            part.get_tensor().set_names({tap.name + suffix})
            outputs.append(part)
    return ModelFiles(*serialize(ov.Model(outputs, [graph.parameter], "probe")))


def _frames_of(tap: IrTap, mean: Any, var: Any, frames: Any) -> Iterator[Any]:
    """From the moments of rows (R, C) to those of frames (N, C), by the law of total variance."""
    shape = ops.concat([frames, ops.constant(np.asarray([-1, tap.channels], np.int64))], 0)
    over_rows = ops.constant(np.asarray([1], np.int64))
    means, variances = (ops.reshape(part, shape, False) for part in (mean, var))
    off = ops.subtract(means, ops.reduce_mean(means, over_rows, keep_dims=True))
    yield ops.reduce_mean(means, over_rows).output(0)
    yield ops.reduce_mean(ops.add(variances, ops.multiply(off, off)), over_rows).output(0)


def _measure_and_correct(tap: IrTap, healthy: TapMoments, prior: Any) -> list[Any]:
    """Put the correction in front of everything that reads the tap; gives the two outputs to fetch."""
    targets = readers(tap.output)
    shifted = ops.subtract(_convert(tap.output, "f32"), _constant(tap.per_channel(healthy.mean)))
    raw = ops.multiply(shifted, _constant(tap.per_channel(1 / measure_unit(healthy)))).output(0)
    mean, var = measure(tap, raw)
    corrected = correct(tap, raw, mean, var, healthy, prior)
    kind = element_type(tap.output)
    for target in targets:
        target.replace_source_output(_convert(corrected, kind))
    return [mean, var]


def measure(tap: IrTap, source: Any) -> list[Any]:
    """Mean and variance of every frame over its positions, in two passes; dimensions kept."""
    axes = [axis for axis in range(1, tap.rank) if axis != tap.channel_axis]
    if not axes:  # (N, C): a frame is one position
        return [source, ops.multiply(source, _constant(0.0)).output(0)]
    positions = ops.constant(np.asarray(axes, np.int64))
    mean = ops.reduce_mean(source, positions, keep_dims=True)
    centred = ops.subtract(source, mean)
    var = ops.reduce_mean(ops.multiply(centred, centred), positions, keep_dims=True)
    return [mean.output(0), var.output(0)]


def correct(tap: IrTap, source: Any, mean: Any, var: Any, healthy: TapMoments, prior: Any) -> Any:
    """Set ``source``, in units of the healthy spread around the healthy mean, to the healthy moments.

    The same formula as :func:`calibration.patch.correction`, on this batch's moments. ``prior`` is a scalar node.
    """
    unit = measure_unit(healthy)
    wanted = spread(healthy.var, healthy.var) / unit  # ones, but for a tap that never varies
    eps = RELATIVE_EPS * float(healthy.var.mean())
    frames = ops.constant(np.asarray([0], np.int64))
    batch_mean = ops.reduce_mean(mean, frames, keep_dims=True)
    off = ops.subtract(mean, batch_mean)
    squares = ops.multiply(off, off)
    within, between = (ops.reduce_mean(part, frames, keep_dims=True) for part in (var, squares))
    kept = ops.subtract(_constant(1.0), prior)
    # kept * var + prior * kept * mean^2 + prior * healthy var + eps, in units of the healthy spread
    shift = ops.multiply(ops.multiply(batch_mean, batch_mean), prior)
    observed = ops.multiply(ops.add(ops.add(within, between), shift), kept)
    healthy_var = ops.multiply(_constant(tap.per_channel(healthy.var / (unit * unit))), prior)
    floor = _constant(tap.per_channel(np.maximum(eps / (unit * unit), np.finfo(np.float32).tiny)))
    mixed = ops.add(ops.add(observed, healthy_var), floor)
    ratio = ops.clamp(ops.divide(_constant(tap.per_channel(wanted)), ops.sqrt(mixed)), *SCALE_LIMITS)
    scale = ops.multiply(ratio, _constant(tap.per_channel(unit)))
    moved = ops.multiply(scale, ops.multiply(batch_mean, kept))
    offset = ops.subtract(_constant(tap.per_channel(healthy.mean)), moved)
    return ops.add(ops.multiply(source, scale), offset).output(0)


def _dequantize_weights(graph: IrGraph) -> None:
    """Replace the weights of every layer that are computed from constants by what they come to."""
    for node in graph.nodes:
        if not has_weights(graph, node):
            continue
        place = node.input(1)
        source = place.get_source_output()
        if source.get_node().get_type_name() != "Constant":
            place.replace_source_output(ops.constant(value(source)).output(0))


def measure_unit(healthy: TapMoments) -> NDArray[np.float64]:
    """(C,) what the tap is measured in: its healthy spread, or 1 where float32 cannot hold that."""
    unit = spread(healthy.var, healthy.var)
    return np.where(unit < _SMALLEST_UNIT, 1.0, unit)


def _convert(output: Any, kind: str) -> Any:
    return output if element_type(output) == kind else ops.convert(output, kind).output(0)


def _constant(values: float | NDArray[np.float64]) -> Any:
    return ops.constant(np.asarray(values, np.float32))
