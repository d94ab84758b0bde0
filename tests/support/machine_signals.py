"""Small deterministic ONNX nets for signals, and the signals: real files, no fakes."""

import numpy as np

from tests.support.onnx_nets import Floats, Net, run_net

CHANNELS, LENGTH = 3, 48
FEATURES = 8


def signals(n: int, seed: int = 0, kinds: int = 5) -> Floats:
    """Windows (n, 3, 48) of machines that hum: each kind with its own tone, and all at their own strength."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, kinds, (n, 1, 1))
    t = np.arange(LENGTH) / LENGTH
    phase = rng.uniform(0, 2 * np.pi, (n, CHANNELS, 1))
    tone = np.sin(2 * np.pi * (2 + 3 * kind + np.arange(CHANNELS)[:, np.newaxis]) * t + phase)
    level = rng.normal(0, 0.3, (n, CHANNELS, 1))
    noise = rng.normal(0, 0.1, (n, CHANNELS, LENGTH))
    return np.asarray(rng.uniform(0.6, 1.4, (n, 1, 1)) * tone + level + noise, np.float32)


def louder(x: Floats) -> Floats:
    """What a sensor with another gain and offset gives for windows or vectors ``x``."""
    return np.asarray(1.6 * x + 0.5, np.float32)


def another_machine(n: int, seed: int = 0) -> Floats:
    """Knocks: single peaks that ring out, where the net knows hums."""
    rng = np.random.default_rng(seed)
    t = np.arange(LENGTH)
    start = rng.integers(0, LENGTH - 8, (n, CHANNELS, 1))
    ringing = np.exp(-np.maximum(t - start, 0) / 3) * (t >= start) * rng.uniform(2, 6, (n, 1, 1))
    return np.asarray(ringing * np.cos(t - start) + rng.normal(0, 0.02, ringing.shape), np.float32)


def signal_net(answers: int = 5, seed: int = 0) -> bytes:
    """conv - relu - conv - relu - pool - linear on (N, 3, 48); output ``answers`` (N, answers).

    The head is fitted to what the random features do on :func:`signals`, so that the answers are diverse.
    """
    net = Net(seed)
    x = "input"
    for i, (c_in, c_out) in enumerate([(CHANNELS, 12), (12, 16)]):
        weights = [
            net.normal(f"w{i}", c_out, c_in, 5, scale=(5 * c_in) ** -0.5 * 1.6),
            net.normal(f"b{i}", c_out, scale=0.2),
        ]
        x = net.add(
            "Relu", [net.add("Conv", [x, *weights], f"conv{i}", pads=[2, 2], kernel_shape=[5])], f"relu{i}"
        )
    net.add("Flatten", [net.add("GlobalAveragePool", [x], "pooled")], "flat")
    shape = ("N", CHANNELS, LENGTH)
    _add_head(net, "flat", run_net(net.model("flat", shape, ("N", 16)), signals(256, seed=77)), answers)
    return net.model("answers", shape, ("N", answers))


def features(n: int, seed: int = 0, kinds: int = 4) -> Floats:
    """Vectors (n, 8) of machines of several kinds, whose features vary together."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    centres, mix = fixed.normal(0, 2, (4, FEATURES)), fixed.normal(0, 0.6, (FEATURES, FEATURES))
    return np.asarray(
        centres[rng.integers(0, kinds, n)] + rng.normal(0, 1, (n, FEATURES)) @ mix + 5, np.float32
    )


def feature_net(answers: int = 4) -> bytes:
    """linear - relu - linear - relu - linear on (N, 8), with a fitted head; output ``answers`` (N, answers)."""
    net, x = Net(), "input"
    for i, width in enumerate([FEATURES, 24]):
        weights = [
            net.normal(f"w{i}", 24, width, scale=width**-0.5),
            net.weight(f"b{i}", np.zeros(24, np.float32)),
        ]
        x = net.add("Relu", [net.add("Gemm", [x, *weights], f"fc{i}", transB=1)], f"relu{i}")
    _add_head(net, x, run_net(net.model(x, ("N", FEATURES), ("N", 24)), features(512, seed=77)), answers)
    return net.model("answers", ("N", FEATURES), ("N", answers))


def _add_head(net: Net, source: str, seen: Floats, answers: int) -> None:
    directions = net.rng.normal(0, 1, (answers, seen.shape[1])) / (seen.std(0) + 1e-3)
    weight = net.weight("fc_w", directions.astype(np.float32))
    offset = net.weight("fc_b", (-directions @ seen.mean(0)).astype(np.float32))
    net.add("Gemm", [source, weight, offset], "answers", transB=1)
