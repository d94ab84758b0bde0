"""The whole flow on a small int8 net: yes when it helps, no with reasons otherwise, errors for broken input."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node
from onnx.numpy_helper import from_array

import calibration as c
from calibration.drift.divergence import tap_drift
from calibration.outputs.read import ClassScores
from calibration.search import flow, reference
from calibration.search.evaluation import FINALISTS
from calibration.search.explanation import Explanation
from calibration.search.simulation.camera import fit_camera
from calibration.stats.moments import TapMoments
from calibration.targets.open import open_onnx
from tests.support.onnx_nets import Net, classifier, hazy, pictures, quantized

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return quantized(classifier(seed=4), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def baseline(model: bytes) -> c.Baseline:
    return c.profile(model, pictures(64, seed=1), created_wall_s=0.0)


def answers(model: bytes, x: np.ndarray) -> np.ndarray:
    return np.asarray(open_onnx(model).runner()(x)["logits"]).argmax(1)


def test_five_lines_in_a_notebook(tmp_path: Path, model: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model)
    b = c.profile(str(path), pictures(64, seed=1))
    v = c.recalibrate(str(path), b, hazy(pictures(48, seed=2)))
    assert v.accepted, v.reasons
    assert v.patch is not None
    patched = c.apply(str(path), v.patch)
    test = pictures(200, seed=3)
    before = (answers(model, hazy(test)) == answers(model, test)).mean()
    after = (answers(patched, hazy(test)) == answers(model, test)).mean()
    assert after > before + 0.1


def test_what_a_notebook_shows_of_a_value_is_short(model: bytes, baseline: c.Baseline) -> None:
    verdict = c.recalibrate(model, baseline, hazy(pictures(48, seed=2)))
    assert verdict.patch is not None
    for value in (baseline, baseline.healthy_samples, verdict, verdict.patch, baseline.moments):
        assert 0 < len(repr(value)) < 300, repr(value)
    assert "True" in repr(verdict)
    assert verdict.candidate in repr(verdict)


def test_the_old_name_of_the_number_of_samples_is_still_taken(model: bytes) -> None:
    with pytest.warns(DeprecationWarning, match="healthy_samples"):
        assert c.profile(model, pictures(16, seed=1), witness=0).healthy_samples is None


@pytest.mark.parametrize(
    ("old", "new"), [("Watched", c.DriftReport), ("Witness", c.HealthySamples), ("sketch", c.snapshot)]
)
def test_the_exports_of_the_release_before_are_still_there(old: str, new: object) -> None:
    with pytest.warns(DeprecationWarning, match=old):
        assert getattr(c, old) is new
    assert not hasattr(c, f"no_{old}")


def test_every_name_that_the_library_exports_is_there() -> None:
    assert set(c.__all__) <= set(dir(c))
    assert [name for name in c.__all__ if getattr(c, name) is None] == []


def test_a_patch_that_was_not_accepted_is_no_patch(model: bytes) -> None:
    with pytest.raises(c.DataError):
        c.apply(model, None)


def test_a_baseline_of_too_few_frames_is_noted(model: bytes) -> None:
    few = c.profile(model, pictures(4, seed=1))
    for x in (pictures(3, seed=2), hazy(pictures(48, seed=2))):
        [note, *_] = c.recalibrate(model, few, x).notes
        assert "4 frames" in note


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_labels_may_be_integers_of_any_size(dtype: type) -> None:
    x = pictures(8, seed=1)
    labels = reference.check(x, np.arange(8).astype(dtype)).y
    assert labels is not None
    assert labels.dtype == np.int64


def test_the_verdict_is_json_and_repeatable(model: bytes, baseline: c.Baseline) -> None:
    one, two = (
        c.recalibrate(model, baseline, hazy(pictures(32, seed=2)), options=c.Options(seed=7)) for _ in "ab"
    )
    plain = json.loads(json.dumps(one.to_json(), allow_nan=False))
    again = two.to_json()
    assert plain["scores"] == again["scores"]
    assert plain["frames"] == {
        "given": 32,
        "left_out": {},
        "observed": 32,
        "judged": 32,
        "witness": 32,
        "distilled_from": 32,
    }
    assert len(plain["scores"]) == 1 + FINALISTS
    assert set(plain["scores"]) >= {"identity", plain["candidate"]}
    assert plain["drift"]["input"] > 0.3


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_a_healthy_camera_is_left_alone(model: bytes, baseline: c.Baseline, seed: int) -> None:
    verdict = c.recalibrate(model, baseline, pictures(48, seed=seed))
    assert not verdict.accepted
    assert "nothing to correct" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (pictures(7), "7 of 7 reference frames are usable"),
        (np.full((40, 3, 16, 16), -0.99, np.float32), "0 of 40"),
        (np.repeat(pictures(1), 40, axis=0), "1 of 40"),
        (
            np.repeat(pictures(8, seed=4)[:, :1, :1, :1], 3, axis=1) * np.ones((8, 3, 16, 16), np.float32),
            "0 of 8",
        ),
    ],
)
def test_references_that_tell_nothing_are_refused_with_reasons(
    model: bytes, baseline: c.Baseline, frames: np.ndarray, words: str
) -> None:
    verdict = c.recalibrate(model, baseline, frames.astype(np.float32))
    assert not verdict.accepted
    assert verdict.patch is None
    assert words in " ".join(verdict.reasons)


def test_one_scene_with_sensor_noise_changes_nothing(model: bytes, baseline: c.Baseline) -> None:
    rng = np.random.default_rng(0)
    scene = np.repeat(pictures(1, seed=8), 40, axis=0) + rng.normal(0, 0.02, (40, 3, 16, 16))
    verdict = c.recalibrate(model, baseline, scene.astype(np.float32))
    assert not verdict.accepted
    assert "single scene" in verdict.reasons[0]


def test_nan_frames_are_named(model: bytes, baseline: c.Baseline) -> None:
    x = pictures(16)
    x[5, 1, 2, 3] = np.nan
    with pytest.raises(c.DataError) as caught:
        c.recalibrate(model, baseline, x)
    assert caught.value.frames == (5,)


def test_a_baseline_of_another_model_is_refused(baseline: c.Baseline) -> None:
    with pytest.raises(c.BaselineError):
        c.recalibrate(classifier(), baseline, pictures(16))


def test_samples_of_another_size_are_refused(model: bytes, baseline: c.Baseline) -> None:
    with pytest.raises(c.DataError, match=r"\(3, 16, 16\)"):
        c.recalibrate(model, baseline, pictures(16, size=32))


def test_labels_decide_when_given(model: bytes, baseline: c.Baseline) -> None:
    x = pictures(256, seed=12)
    verdict = c.recalibrate(
        model, baseline, hazy(x), answers(model, x).astype(np.int64), c.Options(most_judged=128)
    )
    assert verdict.accepted, verdict.reasons
    assert "label" in " ".join(verdict.reasons)
    contrary = answers(model, hazy(x)).astype(np.int64)  # by these labels the unpatched model is always right
    assert not c.recalibrate(model, baseline, hazy(x), contrary).accepted


def test_a_model_that_is_no_classifier_is_left_alone() -> None:
    net = Net()
    x = net.add("Relu", [net.conv("input", "c1", 3, 4)], "r1")
    net.conv(x, "boxes", 4, 4)
    detector = net.model("boxes", out=("N", 4, 16, 16))
    healthy = c.profile(detector, pictures(16))
    assert healthy.healthy_samples is not None
    assert healthy.healthy_samples.probabilities is None
    verdict = c.recalibrate(detector, healthy, hazy(pictures(16)))
    assert not verdict.accepted
    assert "scores" in verdict.reasons[0]


def test_without_witness_the_live_frames_judge_alone(model: bytes, baseline: c.Baseline) -> None:
    verdict = c.recalibrate(model, baseline.without_samples(), hazy(pictures(32, seed=2)))
    assert verdict.frames.healthy_samples == 0
    assert "no healthy samples" in verdict.notes[0]


def test_drift_is_large_at_the_input_of_a_hazy_camera(model: bytes, baseline: c.Baseline) -> None:
    hazed, same = (
        c.measure_drift(model, baseline, x) for x in (hazy(pictures(32, seed=2)), pictures(32, seed=2))
    )
    assert hazed["input"] > 20 * same["input"]
    assert list(hazed) == list(baseline.moments)


def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    """What stays per frame is its moments, a small share of the frame."""
    target, peaks = open_onnx(classifier(size=64)), []
    target.observe(pictures(8, size=64))
    for n in (16, 144):
        x = pictures(n, size=64)
        tracemalloc.start()
        target.observe(x)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 128 < 0.05 * 64 * 64 * 3 * 4


def test_a_missing_model_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(c.ModelError):
        c.profile(tmp_path / "none.onnx", pictures(8))


def test_without_a_witness_only_gentle_candidates_are_tried_on_all_frames(
    model: bytes, baseline: c.Baseline
) -> None:
    verdict = c.recalibrate(model, baseline.without_samples(), hazy(pictures(48, seed=2)))
    assert verdict.frames.judged == 48
    assert set(verdict.scores) >= {"identity", "input", "input half-way"}
    assert not any("all taps" in name for name in verdict.scores)


def test_one_dead_channel_does_not_carry_the_drift_of_its_layer_away() -> None:
    healthy = TapMoments(np.zeros(9), np.r_[np.ones(8), 1e-12], 64)
    seen = TapMoments(np.full(9, 0.1), np.ones(9), 64)
    assert tap_drift(seen, healthy) < 0.1


@pytest.mark.parametrize("left", [0.7, 1.4])
def test_a_drift_that_cannot_be_re_enacted_is_judged_by_labels_only(
    model: bytes, baseline: c.Baseline, monkeypatch: pytest.MonkeyPatch, left: float
) -> None:
    x = pictures(48, seed=2)
    live = hazy(x)
    camera = fit_camera(x, live)
    monkeypatch.setattr(flow, "explain", lambda *_: Explanation(camera, left, {}))
    verdict = c.recalibrate(model, baseline, live)
    assert not verdict.accepted
    assert f"{left:.0%}" in verdict.reasons[0]
    labelled = c.recalibrate(model, baseline, live, answers(model, x))
    assert labelled.frames.healthy_samples == 0
    assert "labels" in labelled.reasons[0]


def test_candidates_whose_logits_happen_to_lie_between_0_and_1_are_judged_as_before(
    model: bytes,
) -> None:
    squeezed = squeezed_logits(model)
    healthy = c.profile(squeezed, pictures(64, seed=1), created_wall_s=0.0)
    verdict = c.recalibrate(squeezed, healthy, hazy(pictures(48, seed=2)))
    assert len(verdict.scores) > 1


def test_the_baseline_says_what_the_scores_are_whatever_a_drift_makes_of_them(
    model: bytes, baseline: c.Baseline
) -> None:
    assert baseline.healthy_samples is not None
    assert baseline.healthy_samples.layout is ClassScores.LOGITS
    narrow = squeezed_logits(model, outside_percent=0)
    healthy = c.profile(narrow, pictures(64, seed=1), created_wall_s=0.0)
    healthy_samples = healthy.healthy_samples
    assert healthy_samples is not None
    assert healthy_samples.layout is None  # independent scores, for all that can be told
    known = replace(
        healthy, healthy_samples=healthy_samples.with_answers(np.full((64, 10), 0.1), ClassScores.LOGITS)
    )
    assert len(c.recalibrate(narrow, known, hazy(pictures(48, seed=2))).scores) > 1


def squeezed_logits(model: bytes, outside_percent: float = 1) -> bytes:
    """The model with logits of which so few leave 0..1."""
    proto = onnx.load_from_string(model)
    (output,) = proto.graph.output
    (maker,) = [node for node in proto.graph.node if output.name in node.output]
    maker.output[0] = "wide"
    raw = open_onnx(model).runner()(np.concatenate([pictures(64, seed=1), hazy(pictures(48, seed=2))]))
    low, high = np.percentile(raw[output.name], [outside_percent / 2, 100 - outside_percent / 2])
    proto.graph.initializer.extend(
        [from_array(np.float32(low), "low"), from_array(np.float32(high - low), "range")]
    )
    proto.graph.node.extend(
        [make_node("Sub", ["wide", "low"], ["above"]), make_node("Div", ["above", "range"], [output.name])]
    )
    return proto.SerializeToString()


@pytest.mark.parametrize(("distinct", "times"), [(16, 8), (12, 2), (32, 3)])
def test_a_film_that_loops_is_no_longer_than_once_through(model: bytes, distinct: int, times: int) -> None:
    once = pictures(distinct, seed=1)
    looped, plain = c.profile(model, np.tile(once, (times, 1, 1, 1))), c.profile(model, once)
    assert looped.count == plain.count == distinct
    assert looped.effective_count == plain.effective_count <= distinct
    assert looped.id == plain.id
    assert looped.healthy_samples is not None
    assert len(np.unique(looped.healthy_samples.packed, axis=0)) == len(looped.healthy_samples) == distinct
    assert c.profile(model, np.repeat(once, times, axis=0), effective_count=500).effective_count == distinct


def test_a_snapshot_of_repeated_frames_is_worth_those_that_differ(model: bytes) -> None:
    looped = np.tile(pictures(9, seed=1), (5, 1, 1, 1))
    assert c.snapshot(model, looped).effective_count <= 9


def test_a_model_that_answers_healthy_frames_without_numbers_is_refused_with_the_frames(model: bytes) -> None:
    proto = onnx.load_model_from_string(model)
    proto.graph.node[-1].output[0] = "finite"
    proto.graph.initializer.append(from_array(np.float32(0), "nothing"))
    proto.graph.node.append(make_node("Div", ["nothing", "nothing"], ["nan"]))
    proto.graph.node.append(make_node("Add", ["finite", "nan"], [proto.graph.output[0].name]))
    broken, x = proto.SerializeToString(), pictures(12, seed=1)
    for layout in (ClassScores.LOGITS, ClassScores.PROBABILITIES, ClassScores.INDEPENDENT):
        with pytest.raises(c.DataError, match="finite") as caught:
            c.profile(broken, x, layout=layout)
        assert caught.value.frames == tuple(range(12))
    assert c.profile(broken, x).healthy_samples.answers is None


def test_a_baseline_may_know_more_layers_than_are_corrected_now_and_not_fewer(
    model: bytes, baseline: c.Baseline
) -> None:
    x, taps = hazy(pictures(64, seed=5), 0.4, 0.5), dict(baseline.moments)
    more = replace(baseline, moments=c.Moments({**taps, "a head": TapMoments(np.zeros(3), np.ones(3), 1.0)}))
    assert c.recalibrate(model, more, x).accepted
    assert "a head" not in c.watch_drift(model, more, x).taps
    fewer = replace(baseline, moments=c.Moments({tap: taps[tap] for tap in list(taps)[:-1]}))
    for use in (c.recalibrate, c.watch_drift):
        with pytest.raises(c.TapMismatch, match="again"):
            use(model, fewer, x)
