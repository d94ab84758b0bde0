"""The derivatives of what moves values and mixes them in no way, compared with torch."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.support.gradients import Problem, errors_of, normal, one
from tests.support.onnx_nets import Net

pytestmark = pytest.mark.integration


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def concat(axis: int) -> Problem:
    """The tensor twice, with a constant and its negative in between."""

    def build(net: Net, x: str) -> str:
        middle = net.weight("middle", normal(2, 3, 4))
        return net.add("Concat", [x, middle, net.add("Neg", [x], "negative"), x], "y", axis=axis)

    def twin(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, torch.from_numpy(normal(2, 3, 4).astype(np.float64)), -x, x], axis)

    return Problem((3, 4), build, twin)


def split(lengths: list[int] | None, used: list[int], opset: int = 17) -> Problem:
    """Into three parts along axis 1, of which some are used and put together again."""

    def build(net: Net, x: str) -> str:
        names = ["part0", "part1", "part2"]
        given = [x] if lengths is None else [x, net.weight("lengths", np.array(lengths))]
        net.add_many(
            "Split", given, names, axis=-2, **({"num_outputs": 3} if lengths is None and opset > 17 else {})
        )
        return net.add("Concat", [names[i] for i in used], "y", axis=1)

    sizes = [2, 2, 2] if lengths is None else lengths
    return Problem((6, 2), build, lambda x: torch.cat([x.split(sizes, 1)[i] for i in used], 1), opset)


def uneven_split() -> Problem:
    """Without lengths; the last part is shorter."""

    def build(net: Net, x: str) -> str:
        names = ["part0", "part1", "part2"]
        net.add_many("Split", [x], names, axis=1, num_outputs=3)
        return net.add("Concat", names[::-1], "y", axis=1)

    return Problem((7, 2), build, lambda x: torch.cat([*x.split(3, 1)][::-1], 1), 18)


def empty_part() -> Problem:
    """A part without values, put together with the others again."""

    def build(net: Net, x: str) -> str:
        limits = [net.weight(name, ints(n)) for name, n in (("first", 2), ("last", 2), ("axis", 1))]
        nothing = net.add("Slice", [x, *limits], "nothing")
        sized = net.add("Reshape", [nothing, net.weight("size", ints(2, 0, 4))], "sized", allowzero=1)
        return net.add("Concat", [sized, x], "y", axis=1)

    return Problem((3, 4), build, lambda x: x)


def _depth_to_space(x: torch.Tensor) -> torch.Tensor:
    n, c, h, w = x.shape
    return x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)


def _space_to_depth(x: torch.Tensor) -> torch.Tensor:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


def padded(mode: str, twin: str, opset: int = 17) -> Problem:
    """A border that repeats values of the picture."""
    pads = ints(0, 0, 0, 1, 0, 0, 1, 2)
    return one(
        "Pad", (2, 3, 4), lambda x: functional.pad(x, [1, 2, 0, 1], twin), pads, mode=mode, opset=opset
    )


SHUFFLED = torch.tensor([3, 0, 1, 2])

MOVING = {
    "Identity": one("Identity", (3, 4), lambda x: x),
    "Dropout": one("Dropout", (3, 4), lambda x: x),
    "Cast": one("Cast", (3, 4), lambda x: x, to=1),
    "Concat": concat(1),
    "Concat on the last axis": concat(-1),
    "Concat with nothing": empty_part(),
    "Split": split([1, 3, 2], [2, 0, 1]),
    "Split into equal parts": split(None, [0, 2, 1], opset=13),
    "Split by a number": split(None, [0, 2, 1], opset=18),
    "Split with a shorter last part": uneven_split(),
    "Split, one part read twice, one not at all": split([1, 3, 2], [2, 2, 1]),
    "Slice": one("Slice", (5, 6), lambda x: x[:, 1:4, 2:], ints(1, 2), ints(4, 99), ints(1, 2)),
    "Slice with steps": one("Slice", (5, 6), lambda x: x[:, ::2, 1::3], ints(0, 1), ints(9, 9), ints(1, 2), ints(2, 3)),
    "Slice backwards": one(
        "Slice", (5, 6), lambda x: x.flip(1)[:, ::2], ints(-1), ints(-(2**62)), ints(1), ints(-2)
    ),
    "Slice from the end": one("Slice", (5, 6), lambda x: x[:, -3:-1], ints(-3), ints(-1), ints(1)),
    "Slice of all axes": one("Slice", (5,), lambda x: x[:2, 1:3], ints(0, 1), ints(2, 3)),
    "Gather": one("Gather", (4, 3), lambda x: x[:, SHUFFLED], ints(3, 0, 1, 2), axis=1),
    "Gather twice the same": one("Gather", (4, 3), lambda x: x[:, [1, 1, 3]], ints(1, -3, 3), axis=1),
    "Gather one": one("Gather", (4, 3), lambda x: x[:, 2], np.array(2), axis=1),
    "Gather by a matrix": one(
        "Gather", (4, 3), lambda x: x[:, :, [[0, 2], [1, 1]]], np.array([[0, 2], [1, 1]]), axis=2
    ),
    "GatherElements": one(
        "GatherElements", (2, 3), lambda x: x.gather(1, torch.ones(2, 2, 3, dtype=torch.int64)),
        np.ones((2, 2, 3), np.int64), axis=1,
    ),
    "GatherND": one("GatherND", (3, 2), lambda x: x[[0, 1], [2, 0]], np.array([[0, 2], [1, 0]])),
    "Reshape": one("Reshape", (3, 4), lambda x: x.reshape(2, 2, 6), ints(0, 2, -1)),
    "Flatten": one("Flatten", (3, 4), lambda x: x.reshape(6, 4), axis=2),
    "Squeeze": one("Squeeze", (3, 1, 4), lambda x: x.squeeze(2), ints(2)),
    "Squeeze all": one("Squeeze", (3, 1, 4), lambda x: x.squeeze(2)),
    "Unsqueeze": one("Unsqueeze", (3, 4), lambda x: x[:, None, :, :, None], ints(1, -1)),
    "Transpose": one("Transpose", (3, 4, 2), lambda x: x.permute(0, 3, 1, 2), perm=[0, 3, 1, 2]),
    "Transpose all axes": one("Transpose", (3, 4), lambda x: x.permute(2, 1, 0)),
    "DepthToSpace": one("DepthToSpace", (8, 2, 3), _depth_to_space, blocksize=2),
    "DepthToSpace, column first": one(
        "DepthToSpace", (8, 2, 3), lambda x: functional.pixel_shuffle(x, 2), blocksize=2, mode="CRD"
    ),
    "SpaceToDepth": one("SpaceToDepth", (2, 4, 6), _space_to_depth, blocksize=2),
    "Tile": one("Tile", (3, 4), lambda x: x.repeat(1, 2, 3), ints(1, 2, 3)),
    "Expand": one("Expand", (3, 1), lambda x: x.expand(2, 3, 5), ints(1, 3, 5)),
    "Expand by more axes": one("Expand", (3, 1), lambda x: x.expand(4, 2, 3, 5), ints(4, 1, 1, 5)),
    "Expand to fewer": one("Expand", (3, 4), lambda x: x, ints(1)),
    "Pad": one("Pad", (3, 4), lambda x: functional.pad(x, [0, 3, 1, 2]), ints(0, 1, 0, 0, 2, 3)),
    "Pad with a value": one(
        "Pad", (3, 4), lambda x, v: functional.pad(x, [1, 3], value=7.0), ints(0, 0, 1, 0, 0, 3), np.float32(7)
    ),
    "Pad that cuts": one("Pad", (3, 4), lambda x: functional.pad(x, [-1, 2, 1, -1]), ints(0, 1, -1, 0, -1, 2)),
    "Pad by axes": one(
        "Pad", (3, 4), lambda x, v: functional.pad(x, [1, 3], value=2.0), ints(1, 3), np.float32(2), ints(-1), opset=18
    ),
    "Pad by reflection": padded("reflect", "reflect"),
    "Pad by the edge": padded("edge", "replicate"),
    "Pad around": padded("wrap", "circular", opset=19),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVING)
def test_moving(name):
    assert max(errors_of(MOVING[name]).values()) <= 1e-3
