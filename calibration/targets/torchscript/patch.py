"""Writes ``y' = scale * y + offset`` at a tap into the parameters of a TorchScript module.

Live BatchNorm: its weight and bias (without them its running mean and variance), the weights of the convolution in
front stay. Folded: weights and bias of the layer, written in place. Only what has no place to write to (no bias, a
constant merged with another layer's, the input) changes the graph.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.patch import Affine
from calibration.stats.moments import INPUT_TAP
from calibration.targets.torchscript.graph import TorchGraph, constant, find_layers, skip_transpose
from calibration.targets.torchscript.observer import insert_input_correction
from calibration.targets.torchscript.taps import TorchTap

Vector = NDArray[np.float64]


def patch_module(
    module: Any, graph: TorchGraph, taps: tuple[TorchTap, ...], affines: Mapping[str, Affine]
) -> dict[str, int]:
    """Write corrections into ``module``; gives per tap how many channels had to be left alone.

    Args:
        module: The module to change.
        graph: Its flat graph, which shares its parameters.
        taps: The taps of ``graph``.
        affines: By tap; may hold one for the input.
    """
    writer = _Writer(module, graph)
    left_alone = {
        tap.name: writer.patch(tap, affines[tap.name])
        for tap in taps
        if tap.name in affines and affines[tap.name].touched.any()
    }
    if INPUT_TAP in affines:
        own = module.graph
        insert_input_correction(own, list(own.inputs())[1], affines[INPUT_TAP])
    return left_alone


class _Writer:
    """Puts new tensors where a layer reads its parameters."""

    def __init__(self, module: Any, graph: TorchGraph) -> None:
        self._module, self._graph = module, graph
        self._own_layers: list[Any] = []

    def patch(self, tap: TorchTap, affine: Affine) -> int:
        """Write one correction; gives how many channels had to be left alone."""
        scale, offset = affine.scale.astype(np.float64), affine.offset.astype(np.float64)
        if tap.op != "BatchNormalization":
            self._patch_layer(tap, scale, offset)
            return 0
        if self._vector(tap, 1) is None:
            return self._patch_statistics(tap, scale, offset)
        self._scale_and_shift(tap, 1, self._vector(tap, 1), scale, None)
        self._scale_and_shift(tap, 2, self._vector(tap, 2), scale, offset)
        return 0

    def _patch_layer(self, tap: TorchTap, scale: Vector, offset: Vector) -> None:
        """Fold into weights and bias; channels at identity keep their bits."""
        weight = self._graph.tensor(skip_transpose(tap.node.inputsAt(tap.weight_at)))
        wide = weight.numpy().astype(np.float64)
        weight.copy_(torch.from_numpy((wide * _per_weight(tap, wide.shape, scale)).astype(np.float32)))
        bias = self._vector(tap, tap.bias_at)
        self._scale_and_shift(tap, tap.bias_at, bias, scale, offset)

    def _patch_statistics(self, tap: TorchTap, scale: Vector, offset: Vector) -> int:
        """A BatchNorm without weight and bias: the mean and variance that give the same output.

        A variance below 0 would be needed to amplify a channel of next to none: it is left alone.
        """
        mean, var = self._vector(tap, 3), self._vector(tap, 4)
        assert mean is not None
        assert var is not None
        eps = float(constant(tap.node.inputsAt(7)))
        new_var = (var + eps) / (scale * scale) - eps
        blocked = new_var < 0
        new_mean = mean - offset * np.sqrt(np.maximum(new_var, 0) + eps)
        touched = ((scale != 1) | (offset != 0)) & ~blocked
        self._write(tap, 3, np.where(touched, new_mean, mean))
        self._write(tap, 4, np.where(touched, new_var, var))
        return int(blocked.sum())

    def _scale_and_shift(
        self, tap: TorchTap, place: int, value: Vector | None, scale: Vector, offset: Vector | None
    ) -> None:
        new = (np.zeros(tap.channels) if value is None else value) * scale
        if offset is not None:
            new = new + offset
        if value is not None or new.any():
            self._write(tap, place, new)

    def _vector(self, tap: TorchTap, place: int) -> Vector | None:
        """The (C,) parameter at an input of the layer, float64; None when there is none."""
        found = self._graph.tensor(_holder(tap, place).inputsAt(place))
        return None if found is None else found.numpy().astype(np.float64).reshape(-1)

    def _write(self, tap: TorchTap, place: int, new: Vector) -> None:
        value = _holder(tap, place).inputsAt(place)
        fresh = torch.from_numpy(new.astype(np.float32))
        found = self._graph.tensor(value)
        if found is not None and not self._graph.is_shared(value):
            found.copy_(fresh.reshape(found.shape))
            return
        node = self._own_node(tap)
        own = self._module.graph
        with own.insert_point_guard(node):
            node.replaceInput(place, own.insertConstant(fresh))

    def _own_node(self, tap: TorchTap) -> Any:
        """The tap's layer in the module's own graph, which is made flat for it."""
        if not self._own_layers:
            torch._C._jit_pass_inline(self._module.graph)
            self._own_layers = find_layers(self._module.graph)
        return self._own_layers[tap.ordinal]


def _holder(tap: TorchTap, place: int) -> Any:
    """The node that reads the parameter: the addition behind a product, else the layer itself."""
    is_added = place == tap.bias_at and tap.node.kind() in ("aten::matmul", "aten::mm")
    return tap.output.node() if is_added else tap.node


def _per_weight(tap: TorchTap, shape: tuple[int, ...], scale: Vector) -> Vector:
    """``scale`` (C,) in a shape that broadcasts over the layer's weights of ``shape``."""
    if tap.op == "ConvTranspose":  # (C_in, C_out / groups, ...), inputs in group order
        rows = np.repeat(scale.reshape(tap.groups, -1), shape[0] // tap.groups, axis=0)
        return rows.reshape(shape[:2] + (1,) * (len(shape) - 2))
    broadcast = [1] * len(shape)
    broadcast[tap.weight_axis] = -1
    return scale.reshape(broadcast)
