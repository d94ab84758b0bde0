"""What the TorchScript target does not touch: refused or skipped, always with the reason and what to do."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import calibration as c
from calibration.patch import Affine, Patch, correction
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import Normalisation
from calibration.targets.open import open_torchscript
from tests.support.onnx_nets import hazy, pictures
from tests.support.torch_nets import classifier, frozen, lived_in, optimized, scripted, traced
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration


class Base(nn.Module):
    """Two convolutions and a head, for the nets below to use in their own way."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def end(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.mean((2, 3)))


class Shared(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(self.norm(self.second(x)))
        return self.end(torch.relu(self.norm(self.second(x))))


class Branching(Base):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.first(x)
        x = torch.relu(x) if x.size(2) > 3 else torch.relu(self.norm(x))
        for _ in range(x.size(1)):
            x = torch.relu(self.second(x))
        return {"logits": self.end(x), "map": x, "mean": x.mean()}


class OwnStatistics(Base):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(torch.relu(self.second(torch.relu(self.norm(self.first(x))))))


class ComputedWeights(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.conv2d(x, self.first.weight / self.first.weight.norm(), self.first.bias)
        return self.end(torch.relu(self.second(torch.relu(x))))


class Counting(Base):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.end(self.second(self.first(x))) * self.calls


class TwoInputs(Base):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.end(self.second(self.first(x)) + y)


class Defaults(Base):
    def forward(self, x: torch.Tensor, double: bool = False, times: float = 1.0) -> list[torch.Tensor]:
        x = torch.relu(self.first(x))
        if double:
            x = x * times
        return [self.end(self.second(x)), x]


class ChannelsLast(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.second(self.first(x.permute(0, 3, 1, 2))))


class ChannelsMoved(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.second(self.first(x.movedim(-1, 1))))


class Remembering(Base):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = [torch.zeros(1)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.mean())
        return self.end(self.second(self.first(x))) * len(self.seen)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 4, 3)
        self.gates = nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gates(self.first(x).transpose(1, 2))[0][:, -1])


def reasons(model: bytes) -> dict[str, str]:
    return {layer.name: layer.reason for layer in open_torchscript(model).skipped}


@pytest.mark.parametrize("save", [scripted, traced])
def test_a_module_called_twice_is_skipped(save: Callable[[nn.Module], bytes]) -> None:
    target = open_torchscript(save(Shared().eval()))
    assert [tap.name for tap in target.taps] == ["first"]
    assert "norm" in reasons(save(Shared().eval()))


def test_constants_of_equal_value_in_a_frozen_file_are_told_apart() -> None:
    """Freezing merges equal constants: two fresh BatchNorms share them in the file; a patch must not."""
    net = nn.Sequential(
        nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3), nn.Sigmoid(), nn.Conv2d(3, 4, 3), nn.Flatten(1),
    )  # fmt: skip
    target = open_torchscript(frozen(net.eval(), folded=False))
    assert [tap.kind for tap in target.taps] == ["BatchNormalization float32"] * 2
    one, two = target.taps
    patch = Patch(
        {one.name: Affine(np.full(3, 2.0, np.float32), np.ones(3, np.float32))}, target.sha256, "", "", 1, 0
    )
    before = target.observe(pictures(4)).moments
    after = open_torchscript(target.patched(patch).data).observe(pictures(4)).moments
    np.testing.assert_allclose(after[one.name].mean, 2 * before[one.name].mean + 1, rtol=1e-4)
    assert (after[two.name].mean > 0.9).all()


def test_layers_in_branches_are_skipped_and_taps_read_there_are_corrected_for_them() -> None:
    data = scripted(lived_in(Branching()))
    target = open_torchscript(data)
    assert [tap.name for tap in target.taps] == ["first"]
    assert {name for name, why in reasons(data).items() if "control-flow" in why} == {
        "norm",
        "second",
    }
    x = pictures(8)
    assert {name: y.shape for name, y in target.runner()(x).items()} == {
        "logits": (8, 3), "map": (8, 4, 16, 16),
    }  # fmt: skip
    healthy = target.observe(x)
    seen = target.observe(hazy(x), Normalisation(healthy.moments)).moments["first"]
    patch = Patch({"first": correction(seen, healthy.moments["first"])}, target.sha256, "", "", 8, 0)
    np.testing.assert_allclose(
        target.runner(patch)(hazy(x))["map"].mean(), target.runner()(x)["map"].mean(), rtol=0.02
    )


@pytest.mark.parametrize(
    ("net", "layer", "reason"),
    [
        (OwnStatistics, "norm", "normalises every batch by itself"),
        (ComputedWeights, "first.bias", "computed"),
        (OwnStatistics, "head", "head of the model"),
    ],
)
def test_layers_that_stay_are_named_with_the_reason(net: type[nn.Module], layer: str, reason: str) -> None:
    assert reason in reasons(scripted(net().eval()))[layer]


def test_recurrent_layers_are_named() -> None:
    found = reasons(traced(Recurrent().eval(), (2, 3, 9)))
    assert "recurrent" in found["lstm"]


def test_arguments_with_defaults_and_lists_of_outputs_are_fine() -> None:
    target = open_torchscript(scripted(Defaults().eval()))
    assert [tap.name for tap in target.taps] == ["first", "second"]
    shapes = {name: y.shape for name, y in target.runner()(pictures(3)).items()}
    assert shapes == {"output": (3, 3), "output_1": (3, 4, 16, 16)}


def quantized() -> bytes:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 4)).eval()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scripted(torch.ao.quantization.quantize_dynamic(net))


def weights_only() -> bytes:
    buffer = io.BytesIO()
    torch.save(classifier().state_dict(), buffer)
    return buffer.getvalue()


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "traced in training mode": (
        lambda: traced(classifier().train()),
        r"training mode \(layers: bn1.*model\.eval",
    ),
    "optimized for inference": (lambda: optimized(classifier()), "optimize_for_inference.*freeze is fine"),
    "quantized kernels": (quantized, "quantized kernels.*ONNX"),
    "state": (lambda: scripted(Counting().eval()), r"layers: calls.*torch\.jit\.freeze"),
    "two inputs": (lambda: scripted(TwoInputs().eval()), r"2 inputs \(x, y\).*one input"),
    "axes moved": (lambda: scripted(ChannelsMoved().eval()), r"axes.*\(N, C, \.\.\.\)"),
    "a list that grows": (lambda: scripted(Remembering().eval()), r"layers: seen.*torch\.jit\.freeze"),
    "half precision": (lambda: scripted(classifier().half()), "float16, not float32"),
    "no layers": (lambda: scripted(nn.Sequential(nn.Flatten(), nn.ReLU())), "no convolution or linear layer"),
    "weights only": (weights_only, r"not TorchScript.*torch\.jit\.script"),
    "damaged": (lambda: scripted(classifier())[:900], r"not TorchScript"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_cannot_be_recalibrated_are_refused_with_the_fix(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(c.ModelError, match=words):
        open_torchscript(make(), name="m.pt")


def test_a_model_bound_to_its_batch_says_so() -> None:
    class Bound(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.second(self.first(x)).view(2, 4, 256).mean(2))

    target = open_torchscript(traced(Bound().eval()))
    with pytest.raises(c.ModelError, match="view"):
        target.runner()(pictures(8)[:5])


def test_a_module_saved_in_training_mode_runs_in_evaluation_mode() -> None:
    one, other = (open_torchscript(scripted(net)) for net in (classifier().train(), classifier()))
    x = pictures(4)
    assert (one.runner()(x)["output"] == other.runner()(x)["output"]).all()


def test_torchscript_is_recognised_by_content_and_goes_the_whole_way(tmp_path: Path) -> None:
    model = traced(classifier(seed=3))
    (tmp_path / "m.pt").write_bytes(model)
    assert c.open_target(model).sha256 == c.open_target(tmp_path / "m.pt").sha256
    baseline = c.profile(model, pictures(64, seed=1), created_wall_s=0.0)
    verdict = c.recalibrate(model, baseline, hazy(pictures(48, seed=2)))
    assert verdict.accepted, verdict.reasons
    assert verdict.patch is not None
    test = pictures(200, seed=3)
    healthy = c.open_target(model).runner()(test)["output"].argmax(1)
    before = c.open_target(model).runner()(hazy(test))["output"].argmax(1)
    after = c.open_target(c.apply(model, verdict.patch)).runner()(hazy(test))["output"].argmax(1)
    assert (after == healthy).mean() > (before == healthy).mean() + 0.1


def test_without_torch_the_error_names_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(scripted(classifier()))
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import calibration as c\n"
        "try: c.open_target('m.pt')\n"
        "except c.ModelError as err: print(err)"
    )
    root = str(Path(c.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True,
        timeout=WAIT_S,
    )  # fmt: skip
    assert "edge-runtime[torch]" in run.stdout, run.stderr


def test_onnx_needs_no_torch() -> None:
    script = "import sys, calibration; import calibration.targets.onnx.backend; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        timeout=WAIT_S,
        cwd=Path(c.__file__).parents[1],
        capture_output=True,
    )
    assert done.stdout == b"False\n"


def test_channels_last_are_found_and_corrected_on_their_own_axis() -> None:
    net, x = ChannelsLast().eval(), pictures(3)
    for model in (scripted(net), traced(net, (2, 16, 16, 3)), frozen(net)):
        target = open_torchscript(model)
        assert target.input_shape == (None, 3, None, None)
        affine = Affine(np.float32([0.5, 1, 2]), np.float32([0.1, 0, -0.1]))
        patch = Patch({INPUT_TAP: affine}, target.sha256, "b", "input", 1, 0.0)
        with torch.no_grad():
            wanted = net(torch.from_numpy(affine.apply(x).transpose(0, 2, 3, 1).copy())).numpy()
        np.testing.assert_allclose(target.runner(patch)(x)["output"], wanted, rtol=1e-4, atol=1e-5)
