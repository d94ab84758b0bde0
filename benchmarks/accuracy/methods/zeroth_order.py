"""The same patch by forward passes alone: two a step, no gradient graph, no healthy answer.

In the spirit of ZOA (Z. Deng et al., Test-Time Model Adaptation for Quantized Neural Networks, ACM MM 2025, arXiv
2508.02180): scales and offsets move by simultaneous perturbation (J. Spall, IEEE Trans. Automatic Control 37(3),
1992) down the entropy of the live answers plus the distance of the feature statistics from the healthy ones. The
store of known domains of that paper is left out: every case here meets one drift. For ONNX files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray

from calibration import INPUT_TAP, Affine, Baseline, Patch, Target, open_target
from calibration.patch import SCALE_LIMITS, spread
from calibration.stats.moments import TapMoments
from calibration.stats.sampling import spread_over

Samples = NDArray[np.float32]
Vector = NDArray[np.float64]
Loss = Callable[[Vector], float]

LAYERS = 7
"""Whose statistics are compared: as many as a distillation compares feature maps."""
LEAST_UNIT = 0.01
"""Of a tap's mean spread: a channel that is hardly ever alive would outweigh all others."""
SEEN = "seen/"
"""Before the name of a tap: the output that shows it."""


@dataclass(frozen=True, slots=True)
class ZerothOrderSettings:
    """How far and how often.

    Attributes:
        steps: Two passes each; 125 of them take as long on EfficientNet-Lite0 as two distillations.
        frames: Of a pass.
        perturbation: Of logarithms of scales, and of offsets in healthy spreads; ZOA's.
        rate: Length of a step for a slope of 1, whatever the number of scales and offsets; chosen on blur and haze of
            seed 1 on EfficientNet-Lite0, where ten times as much leaves nothing of the model.
        discrepancy: Weight of the statistics against the entropy; ZOA's for convolutional nets.
    """

    steps: int = 125
    frames: int = 8
    perturbation: float = 0.01
    rate: float = 0.02
    discrepancy: float = 1.0


def zeroth_order(
    target: Target, baseline: Baseline, x: Samples, settings: ZerothOrderSettings | None = None
) -> Patch:
    """A patch of ``target`` for the live samples ``x`` (N, C, H, W)."""
    settings = settings or ZerothOrderSettings()
    rng = np.random.default_rng(0)
    taps = [INPUT_TAP, *(tap.name for tap in target.taps)]
    shown = [target.taps[i].name for i in spread_over(len(target.taps), LAYERS)]
    healthy = {tap: baseline.moments[tap] for tap in taps}
    unpatched = target.patched(_patch(target, baseline, {}, len(x))).data
    watched = open_target(with_outputs(unpatched, shown))
    sizes = [healthy[tap].channels for tap in taps]
    at = np.zeros(2 * sum(sizes))

    def loss(frames: Samples, place: Vector) -> float:
        patch = _patch(watched, baseline, affines(place, taps, healthy), len(x))
        return loss_of(watched.runner(patch)(frames), shown, healthy, settings.discrepancy)

    for _ in range(settings.steps):
        frames = x[rng.permutation(len(x))[: settings.frames]]
        at = spsa_step(partial(loss, frames), at, settings, rng)
    return _patch(target, baseline, affines(at, taps, healthy), len(x))


def spsa_step(loss: Loss, at: Vector, settings: ZerothOrderSettings, rng: np.random.Generator) -> Vector:
    """One step from ``at`` down ``loss``, by its values on two sides of it.

    Source: Spall 1992, equations 2.1 and 2.2, with signs as perturbations.
    """
    signs = rng.choice((-1.0, 1.0), at.shape)
    aside = settings.perturbation * signs
    slope = (loss(at + aside) - loss(at - aside)) / (2 * settings.perturbation)
    step: Vector = at - settings.rate / np.sqrt(at.size) * slope * signs
    return step


def affines(at: Vector, taps: Sequence[str], healthy: Mapping[str, TapMoments]) -> dict[str, Affine]:
    """The corrections at a place: first all logarithms of scales, then all offsets in healthy spreads."""
    growths, shifts = np.split(at, 2)
    found, first = {}, 0
    for tap in taps:
        own = slice(first, first := first + healthy[tap].channels)
        scale = np.clip(np.exp(growths[own]), *SCALE_LIMITS)
        offset = shifts[own] * spread(healthy[tap].var, healthy[tap].var)
        found[tap] = Affine(scale.astype(np.float32), offset.astype(np.float32))
    return found


def loss_of(
    outputs: Mapping[str, NDArray[np.floating]],
    shown: Sequence[str],
    healthy: Mapping[str, TapMoments],
    discrepancy: float,
) -> float:
    """Mean entropy of the answers, and how far means and spreads of the shown taps are from the healthy ones.

    The distances are in healthy spreads, squared, means over the channels, then over the taps.
    """
    maps = {name: outputs[SEEN + name] for name in shown}
    [logits] = [value.astype(np.float64) for name, value in outputs.items() if not name.startswith(SEEN)]
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    entropy = -(np.exp(logs) * logs).sum(axis=1).mean()
    far = []
    for name, value in maps.items():
        over, usual = (0, *range(2, value.ndim)), healthy[name]
        unit = spread(usual.var, usual.var) + LEAST_UNIT * float(np.sqrt(usual.var).mean())
        mean, std = value.mean(axis=over) - usual.mean, value.std(axis=over) - np.sqrt(usual.var)
        far.append(float(((mean / unit) ** 2 + (std / unit) ** 2).mean()))
    return float(entropy) + discrepancy * float(np.mean(far))


def with_outputs(model: bytes, tensors: Sequence[str]) -> bytes:
    """The ONNX model with these tensors among its outputs, as ``seen/NAME``; they stay ordinary tensors inside."""
    changed = onnx.load_model_from_string(model)
    for name in tensors:
        changed.graph.node.append(onnx.helper.make_node("Identity", [name], [SEEN + name]))
        changed.graph.output.append(onnx.helper.make_empty_tensor_value_info(SEEN + name))
    data: bytes = changed.SerializeToString()
    return data


def _patch(target: Target, baseline: Baseline, taps: Mapping[str, Affine], frames: int) -> Patch:
    return Patch(
        taps=taps,
        model_sha256=target.sha256,
        baseline_id=baseline.id,
        candidate="zeroth order",
        frames=frames,
        created_wall_s=0.0,
    )
