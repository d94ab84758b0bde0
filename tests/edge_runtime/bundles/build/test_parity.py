"""One net in every format says the same: float32 within ``FLOAT_PARITY``, int8 within a stated agreement."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_runtime.bundles.build.candidates import ModelCandidate, Pictures, quantize_candidates
from edge_runtime.bundles.build.measure import read_probabilities, run_all
from edge_runtime.bundles.build.recipe_file import Quantization
from edge_runtime.bundles.build.refusals import FormatAttempts
from edge_runtime.bundles.build.source_model import (
    FLOAT_PARITY,
    SourceModel,
    convert_source,
    make_answer_function,
)
from edge_runtime.bundles.compare import measure_difference
from edge_runtime.inference.specs import ClassificationSpec, PictureSpec
from edge_runtime.system.model_formats import ModelFormat
from tests.support.bundle_models import SIDE
from tests.support.engine_models import pixels

pytestmark = pytest.mark.integration

PREPROCESS = PictureSpec(
    colour="rgb", width=SIDE, height=SIDE, geometry="stretch", filter="area", mean=(0, 0, 0), std=(1, 1, 1)
)
MEANING = ClassificationSpec(scores="logits", output="logits")
INT8_AGREEMENT = 0.9
"""Of first classes; an untrained net is unsure of nearly all of its answers."""


class MobileNet(torch.nn.Module):
    """Strided, depthwise and pointwise convolutions, squeeze and excitation, a residual, two outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.wide = nn.Sequential(nn.Conv2d(16, 48, 1, bias=False), nn.BatchNorm2d(48), nn.Hardswish())
        self.deep = nn.Sequential(
            nn.Conv2d(48, 48, 3, 1, 1, groups=48, bias=False), nn.BatchNorm2d(48), nn.SiLU()
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(48, 12, 1), nn.ReLU(), nn.Conv2d(12, 48, 1)
        )
        self.narrow = nn.Sequential(nn.Conv2d(48, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, 7)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.stem(image)
        y = self.deep(self.wide(x))
        x = x + self.narrow(y * torch.sigmoid(self.squeeze(y)))
        features = x.mean([2, 3])
        return {"logits": 8 * self.head(features), "features": features}


@pytest.fixture(scope="module")
def source() -> SourceModel:
    """The net with statistics of its own, as training leaves them."""
    torch.manual_seed(0)
    net = MobileNet().train()
    with torch.no_grad():
        for seed in range(20):
            net(torch.from_numpy(scenes(16, seed)))
    return SourceModel(Path("net.pth"), "checkpoint", None, net.eval())


def scenes(count: int, seed: int) -> np.ndarray:
    """Noise of a different colour and strength in each picture, so that the answers differ."""
    rng = np.random.default_rng(seed)
    strength, colour = rng.uniform(0.3, 2, (count, 1, 1, 1)), rng.normal(0, 1, (count, 3, 1, 1))
    return (pixels(count, seed) * strength + colour).astype(np.float32)


def convert(source: SourceModel, formats: tuple[ModelFormat, ...]) -> list[ModelCandidate]:
    answers = make_answer_function(source, PREPROCESS)
    return convert_source(source, formats, PREPROCESS, scenes(8, 99), FormatAttempts(), answers)


def test_float_formats_differ_less_than_the_stated_tolerance(source: SourceModel) -> None:
    found = convert(source, ("onnx", "openvino", "torchscript"))
    answers = [run_all(one.engine, scenes(16, 100)) for one in found]
    assert all(set(one) == {"logits", "features"} for one in answers)
    assert all(measure_difference(one, answers[0]) < FLOAT_PARITY for one in answers[1:])


def test_int8_formats_agree_with_float_and_with_each_other(source: SourceModel) -> None:
    floats, pictures = convert(source, ("onnx", "openvino")), Pictures(scenes(192, 100))
    candidates = list(
        quantize_candidates(floats, PREPROCESS, MEANING, pictures, Quantization(), FormatAttempts())
    )
    assert [one.measured[0].samples for one in candidates] == [64, 64]
    assert all((one.measured[0].agreement or 0) >= INT8_AGREEMENT for one in candidates)
    x = scenes(128, 101)
    first = [read_probabilities(MEANING, run_all(one.engine, x)).argmax(axis=1) for one in candidates]
    assert np.mean(first[0] == first[1]) >= INT8_AGREEMENT
