"""One trained net in every format there is a target for, each made the way its users make it.

What is in them is the same net; the int8 ones saw the same pictures when they were quantized.
"""

import io
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.accuracy.datasets import fashion
from calibration import ModelFiles

Samples = NDArray[np.float32]

ONNX_INT8 = "ONNX int8 QDQ"
ONNX_FOLDED = "ONNX float, BatchNorm folded"


@dataclass(frozen=True, slots=True)
class Exported:
    """A trained net and its ONNX forms."""

    eager: nn.Module
    """Float, live BatchNorm, in evaluation mode."""
    live: bytes
    """ONNX, as ``eager``."""
    folded: bytes
    """ONNX, BatchNorm folded."""
    int8: bytes
    """Of ``folded``, static QDQ."""


def every_format(net: fashion.TrainedNet, samples: Samples) -> dict[str, ModelFiles]:
    """The net on pictures by the name of its format; ``samples`` (N,1,28,28) are quantized with."""
    live, folded = (fashion.exported(net.eager, folded=is_folded) for is_folded in (False, True))
    return convert(Exported(net.eager, live, folded, net.int8), samples)


def convert(net: Exported, samples: Samples) -> dict[str, ModelFiles]:
    """A net by the name of its format.

    Args:
        net: The net and its ONNX forms.
        samples: Prepared samples to quantize with, float32 (N, ...) in the net's own layout.
    """
    trace = partial(torch.jit.trace, example_inputs=torch.from_numpy(samples[:2]))
    return {
        "ONNX float, live BatchNorm": ModelFiles(net.live),
        ONNX_FOLDED: ModelFiles(net.folded),
        ONNX_INT8: ModelFiles(net.int8),
        "OpenVINO IR float": as_ir(net.folded),
        "OpenVINO IR int8, from QDQ": as_ir(net.int8),
        "OpenVINO IR int8, by NNCF": as_ir(net.folded, by_nncf(samples)),
        "TorchScript scripted": torchscript(torch.jit.script, net.eager),
        "TorchScript traced": torchscript(trace, net.eager),
        "TorchScript frozen": torchscript(_frozen, net.eager),
    }


def as_ir(onnx_model: bytes, change: Callable[[Any], Any] = lambda model: model) -> ModelFiles:
    """The OpenVINO IR of an ONNX file, saved with its constants as they are."""
    import openvino as ov

    model = change(ov.Core().read_model(onnx_model))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(model, path, compress_to_fp16=False)
        return ModelFiles(path.read_bytes(), path.with_suffix(".bin").read_bytes())


def by_nncf(samples: Samples) -> Callable[[Any], Any]:
    """Post-training quantization of an OpenVINO model by NNCF, with its defaults.

    The depthwise weights stay float constants behind a FakeQuantize, as NNCF 3.4 leaves them in this net.
    """

    def quantize(model: Any) -> Any:
        import nncf

        dataset = nncf.Dataset([sample[np.newaxis] for sample in samples])
        return nncf.quantize(model, dataset, subset_size=len(samples))

    return quantize


def torchscript(make: Callable[[nn.Module], Any], net: nn.Module) -> ModelFiles:
    """A TorchScript file."""
    coded = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated at every step
        torch.jit.save(make(net), coded)
    return ModelFiles(coded.getvalue())


def _frozen(net: nn.Module) -> Any:
    return torch.jit.freeze(torch.jit.script(net))
