"""Whatever torch raises, the engine says EngineError; the real exceptions of the installed torch are asked."""

import io
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from calibration.targets.torchscript.program import TORCH_FAILURES
from edge_runtime.errors import EngineError
from edge_runtime.inference.engines.base import EngineSettings
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.engines.torchscript_engine import TorchScriptEngine
from tests.support.bundle_models import SIDE

pytestmark = pytest.mark.integration

BODIES = {
    "an assert": 'assert bool(x.sum() < 1), "too bright"\n    return x.mean([2, 3])',
    "a raise": 'if bool(x.sum() > 1):\n        raise ValueError("too bright")\n    return x.mean([2, 3])',
    "another raise": 'if bool(x.sum() > 1):\n        raise RuntimeError("too bright")\n    return x.mean([2, 3])',
    "an index outside": "n = 1 if bool(x.sum() > 1) else 0\n    return x.mean([2, 3]).select(1, 9 * n)",
    "a list's index outside": "n = 9 if bool(x.sum() > 1) else 0\n    return [x.mean([2, 3])][n]",
    "shapes that do not fit": "n = 1 if bool(x.sum() > 1) else 0\n    return x.mean([2, 3]) @ torch.ones([3 + n, 2])",
    "an axis that is not there": "n = 9 if bool(x.sum() > 1) else 1\n    return x.mean([2, 3]).sum(n, keepdim=True)",
    "a singular matrix": (
        "n = 0.0 if bool(x.sum() > 1) else 1.0\n    return x.mean([2, 3]) @ torch.linalg.inv(n * torch.eye(3))"
    ),
    "a division by zero": "n = 0 if bool(x.sum() > 1) else 1\n    return x.mean([2, 3]) * (7 // n)",
    "a number out of nothing": 'v = "x" if bool(x.sum() > 1) else "1"\n    return x.mean([2, 3]) * int(v)',
    "a missing key": 'k = "b" if bool(x.sum() > 1) else "a"\n    return {"a": x.mean([2, 3])}[k]',
    "an empty maximum": "n = 0 if bool(x.sum() > 1) else 3\n    return x.mean([2, 3])[:, :n].max(1)[0]",
}


def scripted(body: str) -> bytes:
    """A module that does this to dark pictures without an error, and fails for bright ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = type("Failing", (torch.jit.ScriptModule,), {})()
        module.define(f"def forward(self, x: Tensor) -> Tensor:\n    {body}\n")
        buffer = io.BytesIO()
        torch.jit.save(module, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", BODIES)
def test_a_picture_on_which_the_program_fails_is_an_engine_error(name: str) -> None:
    engine = TorchScriptEngine(
        scripted(BODIES[name]), (3, SIDE, SIDE), ThreadPlan(1, 1, "test"), EngineSettings()
    )
    dark, bright = np.zeros((1, 3, SIDE, SIDE), np.float32), np.ones((1, 3, SIDE, SIDE), np.float32)
    engine.infer(dark)
    with pytest.raises(EngineError, match="torch failed"):
        engine.infer(bright)
    engine.infer(dark)


def test_all_exceptions_of_torch_are_caught() -> None:
    own = (torch.jit.Error, torch.OutOfMemoryError, torch.linalg.LinAlgError, torch.AcceleratorError)
    assert all(issubclass(kind, TORCH_FAILURES) for kind in own)
    assert not issubclass(torch.jit.Error, RuntimeError), "else this list is longer than it needs to be"
