"""Distillation: the descent on a net of one line, what is compared, and that what teaches never judges."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.helper import make_node
from onnx.numpy_helper import from_array

import calibration as c
from calibration.patch import Affine
from calibration.search.distillation import (
    DistillationSettings,
    choose_stages,
    choose_start,
    distil,
    half_way,
)
from calibration.search.pair_loss import Pairs
from calibration.search.simulation.camera import Camera, SimulatedFrames, simulate_drift
from calibration.search.simulation.noise import Noise
from calibration.stats.moments import INPUT_TAP, Moments, TapMoments
from calibration.stats.sampling import teach_and_judge
from calibration.targets.base import Aim, Batch, Gradients, NoDerivative, Slope, TapInfo
from calibration.targets.onnx.backend import OnnxBackend
from tests.support.onnx_nets import classifier, hazy, pictures, quantized

LONG = DistillationSettings(steps=300, rate=0.05, frames_a_step=8)


class OneLine(Gradients):
    """A net that hands its input on; "conv" is behind the input, and both may be corrected."""

    def __init__(self) -> None:
        self.batch, self.problems = 4, ()
        self.aims = (Aim("map"),)
        self.taps = (INPUT_TAP, "conv")
        self.seen: list[Batch] = []

    def run(self, x: Batch) -> dict[str, NDArray[np.float32]]:
        return {"map": x}

    def step(
        self,
        x: Batch,
        affines: Mapping[str, Affine],
        targets: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, NDArray[np.float32]],
    ) -> tuple[dict[str, float], dict[str, Slope]]:
        self.seen.append(x)
        inner = affines[INPUT_TAP].apply(x)
        off = (affines["conv"].apply(inner) - targets["map"]) * weights["map"]
        slopes, slope = {}, off.astype(np.float64)
        for tap, given in (("conv", inner), (INPUT_TAP, x)):
            slopes[tap] = Slope((slope * given).sum((0, 2, 3)), slope.sum((0, 2, 3)))
            slope = slope * affines[tap].scale.reshape(1, -1, 1, 1)
        return {"map": float((off**2).sum())}, slopes


def moments_of(x: Batch) -> Moments:
    tap = TapMoments(x.mean((0, 2, 3), np.float64), x.var((0, 2, 3), np.float64), float(len(x)))
    return Moments({INPUT_TAP: tap, "conv": tap})


def pairs_of(x: Batch, scale: float, offset: float, noise: float = 0.0) -> Pairs:
    low, high = np.full((1, 3, 1, 1), -9, np.float32), np.full((1, 3, 1, 1), 9, np.float32)
    level = Noise(np.zeros(1, np.float32), np.full(1, noise, np.float32), 0.0, np.empty(0, np.float32))
    return Pairs(x, SimulatedFrames(scale * x + offset, (level,) * 3, low, high), {})


def distilled(pairs: Pairs, **more: Any) -> dict[str, Affine]:
    net, rng = OneLine(), np.random.default_rng(0)
    return distil(net, pairs, moments_of(pairs.healthy), more.pop("start", {}), LONG, rng, **more).end


def test_the_descent_undoes_a_drift_that_scales_and_shifts() -> None:
    x = pictures(12, seed=1)
    found = distilled(pairs_of(x, 0.6, 0.2))
    again = found["conv"].apply(found[INPUT_TAP].apply(0.6 * x + 0.2))
    assert np.abs(again - x).mean() < 0.02 * np.abs(x).mean()


def test_the_descent_goes_on_from_where_it_starts_and_leaves_fixed_taps_out() -> None:
    x, start = pictures(12, seed=1), {INPUT_TAP: Affine(*np.float32([[1.5] * 3, [0.1] * 3]))}
    found = distilled(pairs_of(x, 0.6, 0.2), start=start, fixed={"conv"})
    assert list(found) == [INPUT_TAP]
    assert found[INPUT_TAP].scale == pytest.approx(np.full(3, 1 / 0.6), rel=0.05)
    assert found[INPUT_TAP].offset == pytest.approx(np.full(3, -0.2 / 0.6), abs=0.05)


def test_no_drift_moves_next_to_nothing_and_no_step_nothing() -> None:
    x = pictures(12, seed=1)
    moved = distil(
        OneLine(), pairs_of(x, 1, 0), moments_of(x), {}, DistillationSettings(), np.random.default_rng(0)
    )
    for affine in (*moved.mean.values(), *moved.end.values()):
        assert np.abs(affine.scale - 1).max() < 1e-6
        assert np.abs(affine.offset).max() < 1e-6
    none = DistillationSettings(steps=0)
    still = distil(OneLine(), pairs_of(x, 0.6, 0.2), moments_of(x), {}, none, np.random.default_rng(0))
    assert not any(affine.touched.any() for affine in (*still.mean.values(), *still.end.values()))


def test_scales_stay_within_their_limits() -> None:
    x = pictures(12, seed=1)
    found = distilled(pairs_of(x, 1e-3, 0.0), fixed={"conv"})
    assert found[INPUT_TAP].scale.max() <= np.float32(5)


def test_every_draw_has_its_own_noise_and_every_frame_its_turn() -> None:
    x, net = pictures(8, seed=1), OneLine()
    settings = DistillationSettings(steps=4, frames_a_step=8)
    distil(net, pairs_of(x, 1, 0, noise=0.3), moments_of(x), {}, settings, np.random.default_rng(0))
    shown = np.concatenate(net.seen)
    assert len(np.unique(shown.reshape(len(shown), -1), axis=0)) == 32
    nearest = [int(np.abs(x - frame).sum((1, 2, 3)).argmin()) for frame in shown]
    assert [nearest.count(i) for i in range(8)] == [4] * 8


def test_the_same_seed_gives_the_same_corrections() -> None:
    pairs = pairs_of(pictures(12, seed=1), 0.6, 0.2, noise=0.1)
    one, two = distilled(pairs), distilled(pairs)
    for tap, affine in one.items():
        assert np.array_equal(affine.scale, two[tap].scale)
        assert np.array_equal(affine.offset, two[tap].offset)


def test_the_mean_of_all_steps_lies_on_the_way_and_what_is_out_of_reach_stays() -> None:
    x, start = pictures(12, seed=1), {"behind": Affine(np.float32([2.0]), np.float32([1.0]))}
    settings = DistillationSettings(steps=40, rate=0.02, frames_a_step=8)
    way = distil(
        OneLine(), pairs_of(x, 0.6, 0.2), moments_of(x), start, settings, np.random.default_rng(0), {"conv"}
    )
    assert way.mean["behind"] is way.end["behind"] is start["behind"]
    assert "conv" not in way.end
    mean, end = way.mean[INPUT_TAP].scale, way.end[INPUT_TAP].scale
    assert (mean > 1).all()
    assert (mean < end).all()


def test_half_way_lies_between_both_ends() -> None:
    start = {"a": Affine(np.float32([4.0]), np.float32([1.0]))}
    end = {
        "a": Affine(np.float32([1.0]), np.float32([3.0])),
        "b": Affine(np.float32([4.0]), np.float32([1.0])),
    }
    found = half_way(start, end)
    assert (found["a"].scale.item(), found["a"].offset.item()) == (2.0, 2.0)
    assert (found["b"].scale.item(), found["b"].offset.item()) == (2.0, 0.5)


@pytest.mark.parametrize("taps", [0, 1, 2, 7, 8, 49, 200])
def test_stages_are_the_narrowest_of_equal_parts_and_the_last_layer(taps: int) -> None:
    widths = np.random.default_rng(taps).integers(1, 999, taps)
    infos = [TapInfo(f"t{i}", int(width), "Conv") for i, width in enumerate(widths)]
    names = [aim.name for aim in choose_stages(infos, 7)]
    assert len(names) == min(taps, 7)
    assert names == sorted(names, key=lambda name: int(name[1:]))
    assert not taps or names[-1] == f"t{taps - 1}"
    if taps == 49:
        assert names[0] == f"t{min(range(6, -1, -1), key=lambda i: widths[i])}"


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 67, 96, 500])
def test_what_teaches_never_judges(count: int) -> None:
    taught, judging = teach_and_judge(count, 32)
    assert not set(taught) & set(judging)
    assert sorted([*taught, *judging]) == list(range(count))
    assert len(taught) == 0 if count < 64 else abs(len(taught) - len(judging)) <= 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return quantized(classifier(seed=4), tmp_path_factory.mktemp("model"))


@pytest.mark.integration
def test_frames_that_teach_and_frames_that_judge_have_none_in_common(
    model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught, judging = list[Batch](), list[Batch]()
    run, show = OnnxBackend.differentiate, Camera.show

    def differentiate(backend: OnnxBackend, aims: Any, x: Batch) -> Any:
        gradients = run(backend, aims, x)
        answer = gradients.run
        monkeypatch.setattr(gradients, "run", lambda x: (taught.append(x), answer(x))[1])
        return gradients

    def shown(camera: Camera, healthy: Batch) -> SimulatedFrames:
        judging[:] = [healthy]  # the last ones that are shown judge
        return show(camera, healthy)

    monkeypatch.setattr(OnnxBackend, "differentiate", differentiate)
    monkeypatch.setattr(Camera, "show", shown)
    baseline = c.profile(model, pictures(100, seed=1))
    verdict = c.recalibrate(model, baseline, hazy(pictures(48, seed=2)))
    assert verdict.frames.distilled_from == 50
    assert verdict.frames.healthy_samples == 50
    one, other = ({frame.tobytes() for part in parts for frame in part} for parts in (taught, judging))
    assert len(one) == 50
    assert len(other) == 50
    assert not one & other


@pytest.mark.integration
def test_a_distilled_patch_is_more_faithful_than_what_it_started_from(model: bytes) -> None:
    baseline = c.profile(model, pictures(128, seed=1))
    noise = np.random.default_rng(5).normal(0, 0.35, (64, 3, 16, 16))
    live = np.clip(0.5 * pictures(64, seed=2) + noise, -1, 1).astype(np.float32)
    scores = c.recalibrate(model, baseline, live).scores
    assert scores["distilled"]["fidelity"] > scores["identity"]["fidelity"]
    assert scores["distilled"]["fidelity"] > scores.get("input", scores["identity"])["fidelity"]


@pytest.mark.integration
def test_a_model_without_derivative_is_recalibrated_by_moments_and_says_so(
    model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Gradients:
        raise NoDerivative("pkg:Odd")

    monkeypatch.setattr(OnnxBackend, "differentiate", refuse)
    baseline = c.profile(model, pictures(100, seed=1))
    verdict = c.recalibrate(model, baseline, hazy(pictures(48, seed=2)))
    assert verdict.accepted
    assert "pkg:Odd" in verdict.notes[-1]
    assert not any(name.startswith("distilled") for name in verdict.scores)


def test_a_simulated_drift_is_drawn_frame_by_frame() -> None:
    healthy = pictures(6, seed=1)
    simulated = simulate_drift(healthy, hazy(pictures(24, seed=2)))
    rng = np.random.default_rng(0)
    assert len(simulated) == 6
    assert simulated.draw(rng, np.array([4, 1])).shape == (2, *healthy.shape[1:])


@pytest.mark.parametrize(("scale", "best"), [(1 / 0.6, 1), (1.1, 1), (0.7, 0), (1.0, 0)])
def test_of_several_places_the_descent_starts_at_the_nearest(scale: float, best: int) -> None:
    x = pictures(12, seed=1)
    starts = ({}, {INPUT_TAP: Affine(np.full(3, scale, np.float32), np.zeros(3, np.float32))})
    pairs, rng = pairs_of(x, 0.6, 0.0), np.random.default_rng(0)
    assert choose_start(OneLine(), pairs, moments_of(x), starts, LONG, rng) == best


class NotFinite(OneLine):
    """Its derivatives overflow."""

    def step(self, *arguments: Any) -> tuple[dict[str, float], dict[str, Slope]]:
        losses, slopes = super().step(*arguments)
        return losses, slopes | {"conv": Slope(np.full(3, np.nan), np.zeros(3))}


def test_derivatives_that_are_no_numbers_distil_nothing() -> None:
    x = pictures(12, seed=1)
    with pytest.raises(NoDerivative):
        distil(NotFinite(), pairs_of(x, 0.6, 0.2), moments_of(x), {}, LONG, np.random.default_rng(0))


def test_feature_maps_beyond_half_precision_are_compared_all_the_same() -> None:
    x, limit = 1e6 * pictures(12, seed=1), np.full((1, 1, 1, 1), 1e9, np.float32)
    wide = replace(pairs_of(x, 0.6, 0.2).simulated, low=-limit, high=limit)
    found = distilled(Pairs(x, wide, {}))
    again = found["conv"].apply(found[INPUT_TAP].apply(0.6 * x))
    assert np.abs(again - x).mean() < 0.05 * np.abs(x).mean()


@pytest.mark.integration
def test_answers_without_a_way_back_are_replaced_by_what_they_are_made_of(model: bytes) -> None:
    proto = onnx.load_from_string(model)
    [output] = proto.graph.output
    [maker] = [node for node in proto.graph.node if output.name in node.output]
    maker.output[0] = "unrounded"
    proto.graph.node.extend(
        [
            make_node("Mul", ["unrounded", "thousand"], ["large"]),
            make_node("Round", ["large"], ["whole"]),
            make_node("Div", ["whole", "thousand"], [output.name]),
        ]
    )
    proto.graph.initializer.append(from_array(np.float32(1000), "thousand"))
    rounded = proto.SerializeToString()
    verdict = c.recalibrate(rounded, c.profile(rounded, pictures(100, seed=1)), hazy(pictures(48, seed=2)))
    assert verdict.frames.distilled_from == 50
    assert "distilled" in verdict.scores


@pytest.mark.integration
def test_a_framework_that_fails_on_the_derivatives_leaves_it_at_moments(
    model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Gradients:
        raise c.ModelError("model", "FAIL: bfc_arena.cc", "memory", "")

    monkeypatch.setattr(OnnxBackend, "differentiate", refuse)
    verdict = c.recalibrate(model, c.profile(model, pictures(100, seed=1)), hazy(pictures(48, seed=2)))
    assert verdict.accepted
    assert "bfc_arena" in verdict.notes[-1]
