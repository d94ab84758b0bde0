"""Operators by which a TorchScript file reaches outside of the model are found wherever they stand."""

import importlib.util
import itertools
import sys

import pytest
import torch

from calibration.errors import ModelError
from calibration.targets.torchscript.operators import find_foreign_operators, is_foreign
from tests.support.torch_nets import quiet, saved

pytestmark = pytest.mark.integration

HEAD = """
import torch
from typing import List

def save_it(x: torch.Tensor) -> torch.Tensor:
    torch.save(x, "/tmp/never-written")
    return x

@torch.jit.script
class Keeper:
    def __init__(self, n: int):
        self.n = n
    def keep(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "/tmp/never-written")
        return x

class Inner(torch.nn.Module):
    def forward(self, x):
        print(x)
        return x

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()
        self.k = 1
"""
BODIES = {
    "save": ("torch.save(x, '/tmp/never-written')\n        return x", "aten::save"),
    "read": (
        "return x + torch.from_file('/etc/hostname', False, 4, dtype=torch.uint8).float().sum()",
        "aten::from_file",
    ),
    "print": ("print(x.sum())\n        return x", "prim::Print"),
    "in a function": ("return save_it(x)", "aten::save"),
    "in a class": ("return Keeper(1).keep(x)", "aten::save"),
    "in a submodule": ("return self.inner(x)", "prim::Print"),
    "in a branch": ("if x.sum() > 1e9:\n            print(x)\n        return x", "prim::Print"),
    "in a loop": ("while x.sum() > 1e9:\n            x = save_it(x)\n        return x", "aten::save"),
    "in a thread": ("return torch.jit.wait(torch.jit.fork(save_it, x))", "aten::save"),
    "by its name": ("getattr(torch, 'save')(x, '/tmp/never-written')\n        return x", "aten::save"),
    "never called": (
        "return x\n    @torch.jit.export\n    def other(self, x):\n        return save_it(x)", "aten::save",
    ),
    "when it is loaded": (
        """return x
    @torch.jit.export
    def __getstate__(self):
        return (self.k, self.training)
    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]):
        if state[0] > 1:
            print(state[0])
        self.k = state[0]
        self.training = state[1]""",
        "prim::Print",
    ),
}  # fmt: skip
numbers = itertools.count()


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The bytes of a module with this body; torch wants the source as a file."""

    def write(body):
        path = tmp_path / f"net_{next(numbers)}.py"
        head = HEAD.replace("self.inner = Inner()", "pass") if "__setstate__" in body else HEAD
        path.write_text(f"{head}\n    def forward(self, x):\n        {body}\n")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)  # torch looks for the source there
        spec.loader.exec_module(module)
        with quiet():
            return saved(torch.jit.script(module.Net().eval()))

    return write


@pytest.mark.parametrize("where", BODIES)
def test_an_operator_that_reaches_outside_is_named_wherever_it_stands(script, where):
    body, name = BODIES[where]
    with quiet():
        assert name in find_foreign_operators(script(body))


def test_a_model_that_only_computes_has_none():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()).eval()
    with quiet():
        assert find_foreign_operators(saved(torch.jit.trace(net, torch.zeros(1, 3, 8, 8)))) == []
        assert find_foreign_operators(saved(torch.jit.freeze(torch.jit.script(net)))) == []


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no archive"])
def test_a_file_that_torch_does_not_load_is_refused_with_words(data):
    with pytest.raises(ModelError):
        find_foreign_operators(data)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("aten::relu", False), ("prim::If", False), ("quantized::conv2d", False), ("aten::index_put_", False),
        ("aten::_softmax", False), ("aten::_saved_tensors", False), ("aten::profile_it", False),
        ("aten::save", True), ("aten::from_file", True), ("aten::_print", True), ("prim::rpc_async", True),
        ("c10d::send", True), ("symm_mem::one_shot", True), ("profiler::_record", True), ("mine::compute", True),
        ("aten::open_file", True), ("aten::_load_library", True), ("aten::exec", True),
        ("__torch__.torch.classes.quantized.Conv2dPackedParamsBase", False),
        ("__torch__.torch.classes.dist_rpc.WorkerInfo", True), ("__torch__.torch.classes.mine.Shell", True),
    ],
)  # fmt: skip
def test_what_counts_as_reaching_outside(name, expected):
    assert is_foreign(name) == expected


def test_no_operator_that_computes_is_refused_by_its_name():
    every = {schema.name for schema in torch._C._jit_get_all_schemas()}
    computing = {name for name in every if name.split("::")[0] in ("aten", "prims", "quantized", "onednn")}
    assert {name for name in computing if is_foreign(name)} == {
        "aten::save",
        "aten::from_file",
        "aten::_print",
    }
