"""A small net for windows of three channels and 256 samples, untrained: only its cost counts here."""

import warnings
from pathlib import Path

import torch
from torch import nn

from benchmarks.signals.window import CHANNELS, LENGTH, RATE_HZ, make_window
from edge_runtime.bundles.build.build import Materials, Recipe, build_bundle
from edge_runtime.bundles.build.export import export_onnx
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.npy import write_npy
from edge_runtime.inference.specs import ClassificationSpec, PayloadSpec, SignalSpec

LABELS = ("idle", "walking", "loose", "worn")
NAME = "shaking"


def make_bundle(folder: Path, payload: PayloadSpec) -> Path:
    """``folder/shaking/1`` for streams that say their samples in this way; the same weights each time."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(3, 16, 7, stride=2, padding=3), nn.BatchNorm1d(16), nn.ReLU(),
        nn.Conv1d(16, 32, 5, stride=2, padding=2), nn.BatchNorm1d(32), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, len(LABELS)),
    ).eval()  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        model = export_onnx(net, (len(CHANNELS), LENGTH))
    channels = [{"name": name, "unit": "g"} for name in CHANNELS]
    preprocess = SignalSpec.model_validate(
        {"kind": "signal", "channels": channels, "rate_hz": RATE_HZ, "length": LENGTH, "payload": payload}
    )
    golden = {f"{i}.npy": write_npy(make_window(i)) for i in range(4)}
    recipe = Recipe(NAME, 1, preprocess, ClassificationSpec(scores="logits", top_k=1), tolerance=0.1)
    return build_bundle(recipe, Materials(model, golden, LABELS), OnnxEngine(model.data), folder)
