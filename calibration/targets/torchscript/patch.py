"""Writes ``y' = scale * y + offset`` at a tap into the parameters of a TorchScript module.

Live BatchNorm: its weight and bias (without them its running mean and variance), the weights of the convolution in
front stay. Folded: weights and bias of the layer, written in place. Only what has no place to write to (no bias, a
constant merged with another layer's, the input) changes the graph.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from calibration.patch import Affine
from calibration.stats.moments import INPUT_TAP, Vector
from calibration.targets.base import over_weights
from calibration.targets.torchscript.graph import TorchGraph, constant, find_layers, skip_transpose
from calibration.targets.torchscript.observer import insert_input_correction
from calibration.targets.torchscript.taps import TorchTap


def patch_module(
    module: Any,
    graph: TorchGraph,
    taps: tuple[TorchTap, ...],
    affines: Mapping[str, Affine],
    channel_axis: int,
) -> dict[str, int]:
    """Write corrections, by tap or for the input, into ``module``; its flat ``graph`` shares its parameters.

    ``channel_axis`` is that of the input. Gives per tap how many channels had to be left alone.
    """
    writer = _Writer(module, graph)
    touched = [tap for tap in taps if tap.name in affines and affines[tap.name].touched.any()]
    left_alone = {tap.name: writer.patch(tap, affines[tap.name]) for tap in touched}
    if INPUT_TAP in affines:
        own = module.graph
        insert_input_correction(own, list(own.inputs())[1], affines[INPUT_TAP], channel_axis)
    return left_alone


class _Writer:
    """Puts new tensors where a layer reads its parameters."""

    def __init__(self, module: Any, graph: TorchGraph) -> None:
        self._module, self._graph = module, graph

    def patch(self, tap: TorchTap, affine: Affine) -> int:
        """Write one correction; gives how many channels had to be left alone."""
        scale, offset = affine.scale.astype(np.float64), affine.offset.astype(np.float64)
        if tap.op != "BatchNormalization":  # channels at identity keep their bits
            weight = self._graph.tensor(skip_transpose(tap.node.inputsAt(tap.weight_at)))
            wide = weight.numpy().astype(np.float64)
            factor = over_weights(wide.shape, tap.weight_axis, scale, tap.groups, tap.op)
            weight.copy_(torch.from_numpy((wide * factor).astype(np.float32)))
        elif (weight := self._vector(tap, 1)) is None:
            return self._patch_statistics(tap, scale, offset)
        else:
            self._write(tap, 1, weight * scale)
        bias = self._vector(tap, tap.bias_at)
        new = offset if bias is None else bias * scale + offset
        if bias is not None or new.any():
            self._write(tap, tap.bias_at, new)
        return 0

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
        node, own = self._own_layers[tap.ordinal], self._module.graph
        with own.insert_point_guard(node):
            node.replaceInput(place, own.insertConstant(fresh))

    @cached_property
    def _own_layers(self) -> list[Any]:
        """The layers of the module's own graph, which is made flat for it."""
        torch._C._jit_pass_inline(self._module.graph)
        return find_layers(self._module.graph)


def _holder(tap: TorchTap, place: int) -> Any:
    """The node that reads the parameter: the addition behind a product, else the layer itself."""
    is_added = place == tap.bias_at and tap.node.kind() in ("aten::matmul", "aten::mm")
    return tap.output.node() if is_added else tap.node
