"""torch's own exceptions, whatever a module raises while it runs."""

import io
import warnings
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

import calibration as c
from calibration.targets.torchscript.program import TORCH_FAILURES
from edge_runtime.errors import EngineError
from edge_runtime.inference.engines.base import EngineSettings
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.engines.torchscript_engine import TorchScriptEngine
from tests.support.torch_nets import scripted

pytestmark = pytest.mark.integration


class Net(nn.Module):
    """A layer in front of, and one behind, what goes wrong on pictures whose first value is above 2."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 3, 1)

    def is_odd(self, x: torch.Tensor) -> bool:
        return bool((x[:, 0, 0, 0] > 2).any())

    def end(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.first(x))).mean((2, 3))


class Asserts(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.is_odd(x), "a red corner"
        return self.end(x)


class Raises(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.is_odd(x):
            raise ValueError("no such picture")
        return self.end(x)


class RaisesNotImplemented(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.is_odd(x):
            raise NotImplementedError("not yet")
        return self.end(x)


class MissesAKey(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        known = {"usual": 1.0}
        return self.end(x) * known["odd" if self.is_odd(x) else "usual"]


class LeavesAList(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(x) * [1.0, 2.0][5 if self.is_odd(x) else 1]


class Reads(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(x) * int("one" if self.is_odd(x) else "1")


class Reshapes(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(x.reshape(x.size(0), 3, 7, -1) if self.is_odd(x) else x)


class Allocates(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(x) + (torch.zeros(1 << 50) if self.is_odd(x) else torch.zeros(3))


class Selects(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(x) + torch.zeros(3, 3)[9 if self.is_odd(x) else 0]


class Inverts(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(x) + torch.linalg.inv(torch.eye(3) * (0.0 if self.is_odd(x) else 1.0))[0]


NETS = (
    Asserts, Raises, RaisesNotImplemented, MissesAKey, LeavesAList, Reads, Reshapes, Allocates, Selects,
    Inverts,
)  # fmt: skip


@pytest.fixture(autouse=True)
def without_the_warning_that_torchscript_is_old() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def pictures_with_an_odd_one() -> np.ndarray:
    x = np.random.default_rng(0).uniform(0, 1, (4, 3, 8, 8)).astype(np.float32)
    x[2, 0, 0, 0] = 3
    return x


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_what_a_module_raises_is_an_error_of_the_engine_and_of_the_library(net: type[Net]) -> None:
    torch.manual_seed(0)
    model, x = scripted(net().eval()), pictures_with_an_odd_one()
    engine = TorchScriptEngine(model, (3, 8, 8), ThreadPlan(1, 1, "test"), EngineSettings())
    assert len(engine.infer(x[:2])["output"]) == 2
    with pytest.raises(EngineError, match="torch failed"):
        engine.infer(x[2:3])
    assert len(engine.infer(x[3:])["output"]) == 1
    run = c.open_target(model).runner()
    assert len(run(x[:2])["output"]) == 2
    with pytest.raises(c.ModelError, match="torch failed"):
        run(x)


class Mixed(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(self.end(x), torch.ones(3, 3, dtype=torch.int64))


def with_unknown_operator(model: bytes) -> bytes:
    """The same file with an operator that no torch has."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(model)) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, old.read(entry).replace(b"torch.relu(", b"torch.relv("))
    return changed.getvalue()


@pytest.mark.parametrize("make", [lambda m: m, with_unknown_operator], ids=["wrong type", "missing operator"])
def test_a_module_that_never_runs_is_refused(make: Callable[[bytes], bytes]) -> None:
    model = make(scripted((Mixed if make is not with_unknown_operator else Asserts)().eval()))
    with pytest.raises(EngineError):
        TorchScriptEngine(model, (3, 8, 8), ThreadPlan(1, 1, "test"), EngineSettings())
    with pytest.raises(c.ModelError):
        c.open_target(model).runner()(pictures_with_an_odd_one())


def test_a_module_that_refuses_noise_serves_as_it_is() -> None:
    class Strict(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert bool((x >= 0).all()), "a negative value"
            return self.end(x)

    engine = TorchScriptEngine(
        scripted(Strict().eval()), (3, 8, 8), ThreadPlan(1, 1, "test"), EngineSettings()
    )
    assert np.isfinite(engine.infer(pictures_with_an_odd_one())["output"]).all()
    assert "frozen" not in engine.runs_on


def test_the_failures_are_those_of_this_torch() -> None:
    own = [
        value for value in vars(torch._C).values() if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert torch.jit.Error in own
    assert [kind for kind in own if not issubclass(kind, TORCH_FAILURES)] == []
