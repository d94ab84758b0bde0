"""The probe: only the first layers of an IR, with the moments of single frames as outputs, for live drift.

It is the observer cut off behind the first taps, so that watching for drift costs a small share of one inference and
gives the very numbers that the baseline was recorded with. It takes the model's own input, layout and type. Rows that
are tokens are brought together to frames: exactly for one frame at a time, which is how it is run live.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from calibration.targets.base import MEAN, VARIANCE, ModelFiles
from calibration.targets.openvino.graph import IrGraph, files_of
from calibration.targets.openvino.observer import build_observer
from calibration.targets.openvino.taps import IrTap, find_taps


def build_probe(graph: IrGraph, first: int) -> ModelFiles:
    """An IR: outputs ``<tap>/mean`` and ``<tap>/var``, float32 (N, C) each; rewires ``graph``."""
    taps = find_taps(graph)[0][:first]
    rows = [result.input_value(0) for result in build_observer(graph, taps, None).model.get_results()]
    first_axis = ops.constant(np.asarray([0], np.int64))
    frames = ops.gather(ops.shape_of(graph.parameter), first_axis, ops.constant(np.int64(0)))
    outputs: list[Any] = []
    for tap, mean, var in zip(taps, rows[::2], rows[1::2], strict=True):
        for part, suffix in zip(_frames_of(tap, mean, var, frames), (MEAN, VARIANCE), strict=True):
            part.get_tensor().set_names({tap.name + suffix})
            outputs.append(part)
    return ModelFiles(*files_of(ov.Model(outputs, [graph.parameter], "probe")))


def _frames_of(tap: IrTap, mean: Any, var: Any, frames: Any) -> Iterator[Any]:
    """From the moments of rows (R, C) to those of frames (N, C), by the law of total variance."""
    shape = ops.concat([frames, ops.constant(np.asarray([-1, tap.channels], np.int64))], 0)
    over_rows = ops.constant(np.asarray([1], np.int64))
    means, variances = (ops.reshape(part, shape, False) for part in (mean, var))
    off = ops.subtract(means, ops.reduce_mean(means, over_rows, keep_dims=True))
    yield ops.reduce_mean(means, over_rows).output(0)
    yield ops.reduce_mean(ops.add(variances, ops.multiply(off, off)), over_rows).output(0)
