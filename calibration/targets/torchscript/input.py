"""What a TorchScript model wants as its picture: the channels that its first layer reads, where the file tells.

TorchScript files declare no shapes. Only reads the graph.
"""

from typing import Any

from calibration.errors import ModelError
from calibration.targets.torchscript.graph import LAYERS, TorchGraph, readers
from calibration.targets.torchscript.taps import CONVOLUTIONS, convolution_form, weights_of

_MOVE_AXES = ("aten::permute", "aten::transpose", "aten::movedim", "aten::swapaxes")

_KEEP_CHANNELS = (
    "aten::sub", "aten::add", "aten::mul", "aten::div", "aten::sub_", "aten::add_", "aten::mul_", "aten::div_",
    "aten::to", "aten::contiguous", "aten::clone", "aten::detach", "aten::pad", "aten::constant_pad_nd",
    "aten::clamp", "aten::float", "aten::upsample_bilinear2d", "aten::upsample_nearest2d", "aten::dropout",
)  # fmt: skip


def input_shape(graph: TorchGraph) -> tuple[int | None, ...] | None:
    """(None, C, None, ...) as the first layer wants it; None when the model does not tell.

    Raises:
        ModelError: the model moves the axes of its input before the first layer: channels are not on axis 1.
    """
    value = graph.input
    for _ in range(20):  # a short way of operators that keep the channels
        following = readers(value)
        layer = next((node for node in following if node.kind() in LAYERS), None)
        if layer is not None:
            return _shape_wanted(graph, layer)
        if following and following[0].kind() in _MOVE_AXES:
            found = "its pictures have another order of axes (forward begins with a permute or transpose)"
            fix = "Save a module around it that takes (N, C, H, W) and permutes to what it wants."
            raise ModelError(graph.name, found, "(N, C, ...)", fix)
        if not following or following[0].kind() not in _KEEP_CHANNELS or not following[0].outputsSize():
            return None
        value = following[0].output()
    return None


def _shape_wanted(graph: TorchGraph, layer: Any) -> tuple[int | None, ...] | None:
    weight = weights_of(graph, layer)
    if weight is None:
        return None
    if layer.kind() in CONVOLUTIONS:
        transposed, groups = convolution_form(layer)
        channels = weight.shape[0] if transposed else weight.shape[1] * groups
        return (None, int(channels), *([None] * (weight.ndim - 2)))
    return None
