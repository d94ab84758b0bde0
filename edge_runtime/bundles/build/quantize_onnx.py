"""Float ONNX -> int8 ONNX that runs fast and can be recalibrated.

Static QDQ, uint8 activations, int8 weights with a scale per channel, corrected biases. A thin adapter over ONNX
Runtime's quantizer; needs onnx.
"""

import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edge_runtime.bundles.build.bias_correction import correct_biases
from edge_runtime.bundles.build.decoding import find_onnx_decoding, name_nodes
from edge_runtime.bundles.build.recipe_file import Quantization
from edge_runtime.bundles.build.refusals import shorten
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.onnx_engine import ORT_FAILURES

_USUAL = Quantization()
_WARNING, _FATAL = 2, 4
"""Severities of ONNX Runtime: its default, and that of nothing but crashes."""
_FAILURES: tuple[type[Exception], ...] = (*ORT_FAILURES, AttributeError, KeyError)
"""What the quantizer meets surprises with."""


def quantize_onnx(model: bytes, samples: NDArray[np.float32], how: Quantization = _USUAL) -> bytes:
    """Quantize a float ONNX file with folded BatchNorm and one input; the result has a quarter of the size.

    ``samples`` are prepared natural pictures, float32 (N, ...) in the model's layout; 100 to 300 are good.

    Raises:
        BundleError: ONNX Runtime cannot quantize it, or a pattern fits no node.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    named = onnx.load_model_from_string(model)
    name_nodes(named)
    model, graph = named.SerializeToString(), named.graph
    input_name = graph.input[0].name
    dtype = onnx.helper.tensor_dtype_to_np_dtype(graph.input[0].type.tensor_type.elem_type)
    kept, left = match_layers(how.keep_float, [node.name for node in graph.node]), iter(samples)
    if how.keeps_decoding:
        kept += find_onnx_decoding(named)

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped base
        """Feeds one sample at a time."""

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            sample = next(left, None)
            return None if sample is None else {input_name: sample[None].astype(dtype)}

    quantize = partial(
        quantize_static,
        calibration_data_reader=Reader(),
        quant_format=QuantFormat.QDQ,
        nodes_to_exclude=kept,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=how.weight_bits == 7,  # ONNX Runtime's name for 7 bits
    )
    int8 = _run_on_files(quantize, model)
    with _refusing(), _silent():
        return correct_biases(int8, model, samples.astype(dtype))


def match_layers(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that any of the regular expressions fits as a whole.

    Raises:
        BundleError: one fits none.
    """
    fitting = {pattern: [name for name in names if re.fullmatch(pattern, name)] for pattern in patterns}
    idle = [pattern for pattern, found in fitting.items() if not found]
    if idle:
        some = ", ".join(names[:: max(1, len(names) // 5)][:5])
        fix = "Correct keep_float; netron or `edge-runtime bundle inspect` of a float bundle shows the names."
        raise BundleError("keep_float", f"{', '.join(idle)} fits no layer", f"names such as {some}", fix)
    return sorted({name for found in fitting.values() for name in found})


def fold_batch_norm(model: bytes) -> bytes:
    """The same model with BatchNorm folded into the convolutions and shapes inferred, as the quantizer wants it.

    Raises:
        BundleError: ONNX Runtime cannot read it.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    return _run_on_files(partial(quant_pre_process, skip_symbolic_shape=True), model)


def _run_on_files(step: Callable[[str, str], None], model: bytes) -> bytes:
    """The model that a step, which reads one file and writes another, makes of a model."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        source.write_bytes(model)
        with _refusing(), _silent():
            step(str(source), str(target))
        return target.read_bytes()


@contextmanager
def _refusing() -> Iterator[None]:
    """What the quantizer cannot do is a refusal of the model."""
    try:
        yield
    except _FAILURES as err:
        found = f"ONNX Runtime's quantizer: {shorten(err)}"
        fix = "Take formats: [openvino] or quantize: none, or export the model again."
        raise BundleError("model", found, "a model it can quantize", fix) from err


@contextmanager
def _silent() -> Iterator[None]:
    """Hide the advice and warnings of ONNX Runtime, up to hundreds of lines; where it fails, it raises."""
    logging.getLogger().addFilter(_is_ours)
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
        logging.getLogger().removeFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    """The quantizer logs to the root logger, so only the file says who speaks."""
    return record.levelno >= logging.ERROR or "onnxruntime" not in record.pathname
