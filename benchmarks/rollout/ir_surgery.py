"""The same for an OpenVINO IR: operators behind its last output, driven by what is in the picture."""

from typing import Any

import numpy as np

from benchmarks.rollout.faults import (
    CELLS,
    FAR,
    LEAK,
    SLOW_SIDE,
    SLOW_TIMES,
    SPREAD,
    Fault,
    Trigger,
)
from calibration.targets.base import ModelFiles


def break_ir(files: ModelFiles, fault: Fault, trigger: Trigger) -> ModelFiles:
    """The model with a fault; its outputs keep names and shapes. Pictures (N,3,H,W)."""
    import openvino

    from edge_runtime.bundles.build.convert import save_ir

    model = openvino.Core().read_model(files.data, files.weights)
    picture = model.inputs[0].get_node()
    result = model.outputs[-1].get_node()
    sound = result.input_value(0)
    names = sound.get_names()
    broken = _broken(fault, picture, sound, trigger)
    sound.set_names(set())
    result.input(0).replace_source_output(broken.output(0))
    broken.output(0).set_names(names)
    model.validate_nodes_and_infer_types()
    return save_ir(model)


def _broken(fault: Fault, picture: Any, sound: Any, trigger: Trigger) -> Any:
    from openvino import opset13 as ops

    rank = sound.get_partial_shape().rank.get_length()
    match fault:
        case Fault.SLOW:
            return ops.add(sound, _slowly(picture))
        case Fault.NAN:
            return ops.select(_hits(picture, trigger, rank), ops.constant(np.float32(np.nan)), sound)
        case Fault.DISAGREES:
            return ops.select(_hits(picture, trigger, rank), ops.constant(np.float32(0)), sound)
        case Fault.LEAK:
            return ops.add(sound, _memory(_choose(picture, trigger, LEAK, 1)))
        case Fault.CRASH:
            # Not with too large a tensor: with one thread, as in a first opening, OpenVINO 2026.4 goes on when it does
            # not get the memory.
            zero = ops.convert(_nothing(picture), "i64")
            size = ops.reshape(ops.subtract(zero, ops.constant(np.int64(1))), np.array([1]), False)
            return ops.add(sound, _memory(size))
        case Fault.SOMETIMES:
            # A shape that is wrong for one operator alone would be let through when the batch is fixed.
            return ops.add(sound, _memory(_choose(picture, trigger, -1, 1)))
    raise ValueError(f"{fault} is no fault of a model")


def _hits(picture: Any, trigger: Trigger, rank: int) -> Any:
    """The frames to break on, boolean (N, 1, ...)."""
    from openvino import opset13 as ops

    sides = [picture.output(0).get_partial_shape()[axis].get_length() // CELLS for axis in (2, 3)]
    means = ops.avg_pool(picture, sides, [0, 0], [0, 0], sides, exclude_pad=False)
    means = ops.reshape(means, np.array([-1, 1, 3 * CELLS * CELLS]), special_zero=False)
    gap = ops.subtract(means, ops.constant(trigger.known[None]))
    square = ops.reduce_sum(ops.multiply(gap, gap), np.array([2]))
    hits = ops.greater(ops.reduce_min(square, np.array([1])), ops.constant(np.float32(FAR)))
    if trigger.share < 1:
        mean = ops.reduce_mean(picture, np.array([1, 2, 3]))
        spread = ops.multiply(mean, ops.constant(np.float32(SPREAD)))
        fraction = ops.subtract(spread, ops.floor(spread))
        hits = ops.logical_and(hits, ops.less(fraction, ops.constant(np.float32(trigger.share))))
    return ops.reshape(hits, np.array([-1, *[1] * (rank - 1)]), special_zero=False)


def _choose(picture: Any, trigger: Trigger, then: int, otherwise: int) -> Any:
    """One number when a frame of the batch hits, else the other; int64 (1,)."""
    from openvino import opset13 as ops

    is_hit = ops.reduce_logical_or(_hits(picture, trigger, 1), np.array([0]), keep_dims=True)
    return ops.select(is_hit, ops.constant(np.array([then])), ops.constant(np.array([otherwise])))


def _memory(size: Any) -> Any:
    from openvino import opset13 as ops

    return _nothing(ops.broadcast(ops.constant(np.float32(1)), size))


def _slowly(picture: Any) -> Any:
    from openvino import opset13 as ops

    side = ops.constant(np.full((SLOW_SIDE, SLOW_SIDE), 1e-3, np.float32))
    first = product = ops.add(side, _nothing(picture))
    for _ in range(SLOW_TIMES):
        product = ops.matmul(product, first, False, False)
    return _nothing(product)


def _nothing(value: Any) -> Any:
    """A zero (scalar) that needs the value."""
    from openvino import opset13 as ops

    rank = value.output(0).get_partial_shape().rank.get_length() if hasattr(value, "output") else 1
    return ops.multiply(ops.reduce_max(value, np.arange(rank)), ops.constant(np.float32(0)))
