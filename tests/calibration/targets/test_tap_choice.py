"""The rules that choose taps, on graphs of no framework."""

from dataclasses import dataclass

import pytest

from calibration.errors import ModelError
from calibration.targets.tap_choice import DECODING, HEAD, VARYING, LayerSkipped, Step, choose_taps


@dataclass
class Node:
    """``name`` reads ``reads`` and writes the tensor of its own name."""

    name: str
    reads: tuple[str, ...]
    kind: str = "other"
    reason: str = ""
    inner: tuple[str, ...] = ()

    def tap(self) -> str | None:
        if self.reason:
            raise LayerSkipped(self.reason)
        return self.name if self.kind in ("conv", "linear", "norm") else None

    def step(self) -> Step[str]:
        return Step(
            label=self.name,
            reads=self.reads,
            writes=[self.name],
            rows_from=self.reads[:1],
            has_weights=self.kind in ("conv", "linear", "decoding"),
            is_decoding=self.kind == "decoding",
            is_batch_norm=self.kind == "norm",
            is_linear=self.kind == "linear",
            is_selecting=self.kind == "select",
            inner_layers=self.inner,
            tap=self.tap,
        )


def chosen(*nodes: Node) -> tuple[tuple[str, ...], dict[str, str]]:
    taps, skipped = choose_taps("m", [node.step() for node in nodes], "fix")
    return taps, {layer.name: layer.reason for layer in skipped}


def test_layers_that_nothing_with_weights_follows_are_heads() -> None:
    taps, skipped = chosen(
        Node("a", ("x",), "conv"),
        Node("relu", ("a",)),
        Node("boxes", ("relu",), "conv"),
        Node("hidden", ("relu",), "linear"),
        Node("scores", ("hidden",), "norm"),
    )
    assert taps == ("a",)
    assert skipped == {"boxes": HEAD, "hidden": HEAD, "scores": HEAD}


def test_a_layer_keeps_its_reason_unless_it_is_a_head() -> None:
    taps, skipped = chosen(
        Node("shared", ("x",), "conv", "shared weights"),
        Node("a", ("shared",), "conv"),
        Node("last", ("a",), "linear", "shared weights"),
    )
    assert taps == ("a",)
    assert skipped == {"shared": "shared weights", "last": HEAD}


def test_fixed_arithmetic_hides_no_head_and_says_so() -> None:
    taps, skipped = chosen(
        Node("a", ("x",), "conv"), Node("boxes", ("a",), "conv"), Node("decoded", ("boxes",), "decoding")
    )
    assert taps == ("a",)
    assert skipped == {"boxes": HEAD, "decoded": DECODING}


def test_rows_are_followed_through_the_inputs_that_decide_them() -> None:
    taps, skipped = chosen(
        Node("a", ("x",), "conv"),
        Node("boxes", ("a",), "select"),
        Node("gathered", ("boxes", "a")),
        Node("b", ("gathered",), "linear"),
        Node("scattered", ("a", "boxes")),
        Node("c", ("scattered", "b"), "conv"),
        Node("head", ("c",), "linear"),
    )
    assert taps == ("a", "c")
    assert skipped == {"b": VARYING, "head": HEAD}


def test_layers_inside_control_flow_are_named_at_their_place() -> None:
    _, skipped = choose_taps(
        "m",
        [
            node.step()
            for node in (
                Node("if", ("x",), inner=("inner",)),
                Node("a", ("if",), "conv"),
                Node("b", ("a",), "linear"),
            )
        ],
        "fix",
    )
    assert [layer.name for layer in skipped] == ["inner", "b"]


def test_a_net_of_heads_alone_is_corrected_at_its_convolutions() -> None:
    taps, skipped = chosen(Node("conv", ("x",), "conv"), Node("linear", ("x",), "linear"))
    assert taps == ("conv",)
    assert skipped == {"linear": HEAD}


def test_a_net_without_a_tap_is_refused_with_all_layers() -> None:
    with pytest.raises(ModelError) as raised:
        chosen(Node("a", ("x",), "conv", "half precision"), Node("b", ("a",), "linear"))
    assert raised.value.layers == ("a", "b")
    assert raised.value.fix == "fix"
