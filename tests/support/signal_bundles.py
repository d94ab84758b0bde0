"""Small bundles of signals, made on the spot: machines that shake, three axes, one class for each frequency."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.build import Materials, Recipe, build_bundle
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.npy import write_npy
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.inference.specs import ClassificationSpec, SignalSpec
from tests.support.onnx_nets import Net

CHANNELS = ("ax", "ay", "az")
LENGTH = 256
RATE_HZ = 100.0
FREQUENCIES_HZ = (3.0, 8.0, 17.0, 31.0)
LABELS = ("idle", "walking", "loose", "worn")
"""Of the frequencies."""
_SIZES, _GRAVITY = (0.6, 0.3, 0.15), (0.0, 0.1, 1.0)


def signal_spec(**changes: Any) -> SignalSpec:
    """Windows of (3, 256) in g at 100 Hz, normalised, from a payload as the runtime expects by default: JSON."""
    data: dict[str, Any] = {
        "kind": "signal",
        "channels": [
            {"name": name, "unit": "g", "mean": mean, "std": std}
            for name, mean, std in zip(CHANNELS, _GRAVITY, _SIZES, strict=True)
        ],
        "rate_hz": RATE_HZ,
        "length": LENGTH,
    }
    return SignalSpec.model_validate({**data, **changes})


def machine_windows(n: int, seed: int = 0, length: int = LENGTH) -> list[NDArray[np.float64]]:
    """Windows (samples, channels) in g, of each class in turn."""
    rng = np.random.default_rng(seed)
    at_s = np.arange(length)[:, None] / RATE_HZ
    found = []
    for i in range(n):
        phases = rng.uniform(0, 2 * np.pi, (1, 3))
        wave = np.sin(2 * np.pi * FREQUENCIES_HZ[i % len(FREQUENCIES_HZ)] * at_s + phases)
        noise = rng.normal(0, 0.05, (length, 3))
        found.append(_GRAVITY + np.array(_SIZES) * (wave * rng.uniform(0.8, 1.4) + noise))
    return found


def signal_model(
    seed: int = 0, *, length: int | str = LENGTH, batch: int | str = "N", layout: str = "nct"
) -> bytes:
    """conv - BatchNorm - relu, twice, mean over time, four logits, in ONNX; BatchNorm kept live.

    The head is fitted by least squares, so the answers to :func:`machine_windows` are right.
    """
    count = len(LABELS)
    samples = _prepared(machine_windows(160, seed=77))
    hidden = np.asarray(
        OnnxEngine(_headless(seed).model("flat", ("N", 3, LENGTH), ("N", 24))).infer(samples)["flat"]
    )
    spread, centre = hidden.std(0) + 1e-3, hidden.mean(0)
    wanted = 8.0 * np.eye(count)[np.arange(len(hidden)) % count] - 2.0
    features = np.hstack([(hidden - centre) / spread, np.ones((len(hidden), 1))])
    ridge = features.T @ features + 0.1 * np.eye(features.shape[1])
    fitted = np.linalg.solve(ridge, features.T @ wanted)
    net = _headless(seed, layout)
    weight = fitted[:-1].T / spread
    net.weight("fc_w", weight.astype(np.float32))
    net.weight("fc_b", (fitted[-1] - weight @ centre).astype(np.float32))
    net.add("Gemm", ["flat", "fc_w", "fc_b"], "logits", transB=1)
    shape = (batch, 3, length) if layout == "nct" else (batch, length, 3)
    return net.model("logits", shape, (batch, count))


def _headless(seed: int, layout: str = "nct") -> Net:
    net = Net(seed)
    x = "input" if layout == "nct" else net.add("Transpose", ["input"], "nct", perm=[0, 2, 1])
    for i, (c_in, c_out) in enumerate([(3, 16), (16, 24)]):
        weight = net.normal(f"conv{i}_w", c_out, c_in, 15, scale=(c_in * 15) ** -0.5 * 1.4)
        x = net.add("Conv", [x, weight], f"conv{i}", pads=[7, 7], kernel_shape=[15], strides=[2])
        stats = [
            net.weight(f"bn{i}_scale", net.rng.uniform(0.8, 1.6, c_out).astype(np.float32)),
            net.normal(f"bn{i}_bias", c_out, scale=0.3),
            net.normal(f"bn{i}_mean", c_out, scale=0.1),
            net.weight(f"bn{i}_var", net.rng.uniform(0.5, 1.5, c_out).astype(np.float32)),
        ]
        x = net.add("Relu", [net.add("BatchNormalization", [x, *stats], f"bn{i}")], f"relu{i}")
    net.add("Flatten", [net.add("GlobalAveragePool", [x], "pooled")], "flat")
    return net


def _prepared(windows: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    preprocessor = make_preprocessor(signal_spec())
    return np.stack([preprocessor.normalise(window.T.astype(np.float32)) for window in windows])


def signal_recipe(**changes: Any) -> Recipe:
    """Of the bundle ``machine/1``."""
    fields: dict[str, Any] = {
        "name": "machine", "version": 1, "preprocess": signal_spec(),
        "postprocess": ClassificationSpec(scores="logits", top_k=2),
    }  # fmt: skip
    return Recipe(**{**fields, **changes})


def golden_windows(n: int = 4) -> dict[str, bytes]:
    """Array files of (samples, channels), by name."""
    return {f"g{i}.npy": write_npy(window) for i, window in enumerate(machine_windows(n, seed=5))}


def build_signal_bundle(
    folder: Path,
    *,
    healthy: int = 0,
    model: bytes | None = None,
    labels: tuple[str, ...] = LABELS,
    **changes: Any,
) -> Path:
    """A bundle in ``folder/machine/1``; ``healthy`` windows give it factory moments, ``changes`` are of the recipe."""
    model = model or signal_model()
    windows = _prepared(machine_windows(healthy, seed=9)) if healthy else None
    materials = Materials(ModelFiles(model), golden_windows(), labels, windows)
    return build_bundle(signal_recipe(**changes), materials, OnnxEngine(model), folder)
