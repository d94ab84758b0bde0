"""Float ONNX -> int8 ONNX that runs fast and can be recalibrated.

Static QDQ, uint8 activations, int8 weights with a scale per channel. A thin adapter over ONNX Runtime's quantizer;
needs onnx. Called by ``build_lite0`` and whoever builds a bundle.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def quantized(model: bytes, samples: NDArray[np.float32]) -> bytes:
    """Quantize a float model.

    Args:
        model: Float ONNX file with folded BatchNorm and one input.
        samples: Prepared natural pictures, float32 (N, ...) in the model's layout; 100 to 300 are good.

    Returns:
        An ONNX file of a quarter of the size.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    input_name = onnx.load_model_from_string(model).graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped base
        """Feeds one sample at a time."""

        def __init__(self) -> None:
            self._left: Iterator[NDArray[np.float32]] = iter(samples)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            sample = next(self._left, None)
            return None if sample is None else {input_name: sample[None]}

    logging.getLogger().addFilter(_is_not_advice)
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
            source.write_bytes(model)
            quantize_static(
                str(source),
                str(target),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return target.read_bytes()
    finally:
        logging.getLogger().removeFilter(_is_not_advice)


def _is_not_advice(record: logging.LogRecord) -> bool:
    """Hide the quantizer's advice to pre-process, which was followed: the export folded everything."""
    return "pre-processing before quantization" not in record.getMessage()
