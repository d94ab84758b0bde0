"""Programs of float arithmetic: what is merged in them, and what stays."""

import numpy as np
from onnx import NodeProto, helper

from calibration.targets.gradient.program import FloatProgram, merge_clips
from calibration.targets.model_input import ModelInput

LIMITS = {"0": np.float32(0), "1": np.float32(1), "6": np.float32(6)}


def program(*nodes: NodeProto) -> FloatProgram:
    model_input = ModelInput("input", (None, 3), 1, np.dtype(np.float32))
    constants = {name: np.asarray(value) for name, value in LIMITS.items()}
    return FloatProgram(nodes, constants, model_input, (), (), ("y",), 17)


def clip(x: str, low: str, high: str, y: str) -> NodeProto:
    return helper.make_node("Clip", [x, low, high], [y])


def test_clips_in_a_row_become_one_with_the_narrower_limits():
    [node] = (merged := merge_clips(program(clip("input", "0", "6", "a"), clip("a", "1", "6", "y")))).nodes
    assert (node.input[0], list(node.output)) == ("input", ["y"])
    assert [float(merged.constants[name]) for name in node.input[1:]] == [1, 6]


def test_clips_that_others_read_stay():
    nodes = (
        clip("input", "0", "6", "a"),
        clip("a", "0", "1", "b"),
        helper.make_node("Add", ["a", "b"], ["y"]),
    )
    assert list(merge_clips(program(*nodes)).nodes) == list(nodes)


def test_nodes_whose_first_output_is_left_out_all_stay():
    """Only the last state of an LSTM may be wanted: its sequence then has no name."""
    nodes = (
        helper.make_node("LSTM", ["input", "w", "r"], ["", "a"], hidden_size=2),
        helper.make_node("LSTM", ["a", "w", "r"], ["", "b"], hidden_size=2),
        clip("b", "0", "6", "y"),
    )
    assert list(merge_clips(program(*nodes)).nodes) == list(nodes)
