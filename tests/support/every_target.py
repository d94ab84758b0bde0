"""Small nets in every format there is a target for, so that one test speaks for all of them.

Two classifiers of pictures; and a net on signals, in the formats that read it in ways of their own.
"""

import copy
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from calibration.patch import Patch, correction
from calibration.stats.moments import Moments
from calibration.targets.base import ModelFiles, PatchedModel
from calibration.targets.open import Model, open_target
from calibration.targets.target import Target
from tests.support.onnx_nets import Floats, classifier, hazy, pictures, quantized, with_batch_norm
from tests.support.openvino_nets import by_nncf, ir_of
from tests.support.signal_nets import FORMS as SIGNAL_FORMS
from tests.support.signal_nets import SIGNAL_NETS, ChannelsLast, gained, time_first, windows
from tests.support.signal_nets import int8 as signals_int8
from tests.support.torch_nets import classifier as torch_classifier
from tests.support.torch_nets import frozen, scripted, traced

Order = tuple[int, ...]
"""Which channel of the usual input each input channel is."""
USUAL: Order = (0, 1, 2)


def _with_inputs_in(order: Order, model: bytes) -> bytes:
    """The ONNX model whose first convolution takes its inputs in another order."""
    proto = onnx.load_model_from_string(model)
    name = next(node for node in proto.graph.node if node.op_type == "Conv").input[1]
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    weight = numpy_helper.to_array(tensor)[:, list(order)]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weight), name))
    return bytes(proto.SerializeToString())


@functools.cache
def _int8() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return quantized(classifier(), Path(folder))


@functools.cache
def _nncf() -> ModelFiles:
    return ModelFiles(*by_nncf(classifier()))


def _torch(order: Order) -> object:
    net = copy.deepcopy(torch_classifier())
    net.stem.weight.data = net.stem.weight.data[:, list(order)].contiguous()
    return net


def _reordered_int8(order: Order) -> bytes:
    """The int8 weights lie behind a DequantizeLinear, under a name of their own."""
    proto = onnx.load_model_from_string(_int8())
    tensor = next(t for t in proto.graph.initializer if t.name == "conv1_w_quantized")
    weight = numpy_helper.to_array(tensor)[:, list(order)]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weight), tensor.name))
    return bytes(proto.SerializeToString())


@functools.cache
def made(name: str, order: Order = USUAL) -> Model:
    """The model file; made once, because not every writer gives the same bytes twice."""
    if name in SIGNALS:
        return SIGNALS[name]()
    return _nncf() if name == NNCF else FORMATS[name](order)


def opened(name: str, order: Order = USUAL) -> Target:
    """A target of the format ``name``."""
    return open_target(made(name, order))


FORMATS: dict[str, Callable[[Order], Model]] = {
    "ONNX float": lambda order: _with_inputs_in(order, classifier()),
    "ONNX live BatchNorm": lambda order: _with_inputs_in(order, with_batch_norm()),
    "ONNX int8": _reordered_int8,
    "OpenVINO float": lambda order: ModelFiles(*ir_of(_with_inputs_in(order, classifier()))),
    "OpenVINO int8": lambda order: ModelFiles(*ir_of(_reordered_int8(order))),
    "TorchScript scripted": lambda order: scripted(_torch(order)),
    "TorchScript traced": lambda order: traced(_torch(order)),
    "TorchScript frozen": lambda order: frozen(_torch(order)),
}
"""Formats whose first layer can be made to take its inputs in another order."""


def _signals_int8() -> Model:
    net = SIGNAL_NETS["separable"]
    return signals_int8(net.made(), net.samples(32, seed=99))


def _signals(form: str) -> Model:
    """Windows with the channels last."""
    net = SIGNAL_NETS["separable"]
    return SIGNAL_FORMS[form](ChannelsLast(net.made()).eval(), time_first(net.samples(2)))


NNCF = "OpenVINO int8 by NNCF"
SIGNALS: dict[str, Callable[[], Model]] = {
    "signals, ONNX int8": _signals_int8,
    "signals, OpenVINO float": functools.partial(_signals, "OpenVINO"),
    "signals, TorchScript scripted": functools.partial(_signals, "TorchScript"),
}
NAMES = (*FORMATS, NNCF, *SIGNALS)


def samples(name: str, n: int, seed: int = 0) -> Floats:
    """What the model ``name`` takes, channels second."""
    return windows(n, seed) if name in SIGNALS else pictures(n, seed)


def drifted(name: str, x: Floats) -> Floats:
    """The same from a sensor that has drifted."""
    return gained(x) if name in SIGNALS else hazy(x)


def full_patch(target: Target, seen: Moments, healthy: Moments, prior: float = 0.0) -> Patch:
    """Every tap set back to its healthy moments."""
    taps = {t.name: correction(seen[t.name], healthy[t.name], prior) for t in target.taps}
    return Patch(taps, target.sha256, "baseline", "all", 1, 0.0)


def reopened(done: PatchedModel) -> Target:
    """The patched model as a target of its own."""
    return open_target(done.files)
