"""Patches of before: judged first when their drift comes again, never trusted, and a place to start from."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import calibration as c
from calibration.search.candidates import CONSERVATIVE_SHARE, conservative_taps
from calibration.search.known import is_conservative, is_good_enough
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import TapInfo
from tests.support.onnx_nets import classifier, hazy, pictures, quantized

pytestmark = pytest.mark.integration

Frames = NDArray[np.float32]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return quantized(classifier(seed=4), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def baseline(model: bytes) -> c.Baseline:
    return c.profile(model, pictures(96, seed=1), created_wall_s=0.0)


def reddish(x: Frames) -> Frames:
    other = x.copy()
    other[:, 0] += 0.3
    other[:, 2] *= 0.4
    return other


def burnt_out(x: Frames, gain: float) -> Frames:
    return np.clip(gain * x, -0.4, 0.4)


@pytest.fixture(scope="module")
def of_haze(model: bytes, baseline: c.Baseline) -> c.Patch:
    patch = c.recalibrate(model, baseline, hazy(pictures(48, seed=2))).patch
    assert patch is not None
    return patch


def search(
    model: bytes, baseline: c.Baseline, x: Frames, **options: object
) -> tuple[c.Verdict, dict[str, None]]:
    """The verdict, and the phases that were gone through."""
    phases = dict[str, None]()
    given = c.Options(**options)  # type: ignore[arg-type]
    verdict = c.recalibrate(
        model, baseline, x, options=given, progress=lambda *now: phases.update({now[0]: None})
    )
    return verdict, phases


def test_the_patch_of_the_same_drift_comes_back_without_a_distillation(model, baseline, of_haze) -> None:
    verdict, phases = search(model, baseline, hazy(pictures(48, seed=3)), known={"p1": of_haze})
    assert (verdict.accepted, verdict.candidate) == (True, "p1")
    assert verdict.patch is of_haze
    assert verdict.frames.distilled_from == 0
    assert "distilling" not in phases
    assert len(verdict.notes) == 1
    assert {"identity", "input", "p1"} <= verdict.scores.keys()


def test_it_is_not_the_answer_to_another_drift(model, baseline, of_haze) -> None:
    verdict, phases = search(model, baseline, reddish(pictures(48, seed=4)), known={"p1": of_haze})
    assert verdict.candidate != "p1"
    assert "distilling" in phases


def test_it_is_not_used_on_a_healthy_site(model, baseline, of_haze) -> None:
    verdict, _ = search(model, baseline, pictures(48, seed=5), known={"p1": of_haze})
    assert (verdict.accepted, verdict.patch) == (False, None)


def test_a_harmful_patch_does_not_pass_because_it_is_known(model, baseline, of_haze) -> None:
    turned = {tap: c.Affine(part.scale, part.offset + np.float32(3.0)) for tap, part in of_haze.taps.items()}
    harmful = replace(of_haze, taps=turned)
    verdict, phases = search(model, baseline, hazy(pictures(48, seed=3)), known={"p1": harmful})
    assert verdict.candidate != "p1"
    assert "distilling" in phases


@pytest.mark.parametrize("use", ["known", "start"])
@pytest.mark.parametrize("wrong", ["model_sha256", "baseline_id"])
def test_a_patch_of_another_model_or_baseline_is_refused(model, baseline, of_haze, use, wrong) -> None:
    strange = replace(of_haze, **{wrong: "f" * 64})
    with pytest.raises(c.PatchError) as refusal:
        search(model, baseline, hazy(pictures(8)), **{use: {"p1": strange} if use == "known" else strange})
    assert refusal.value.patch == f"patch {strange.id}"


def test_where_nothing_may_be_distilled_it_is_one_candidate_of_several(model, baseline, of_haze) -> None:
    """Without healthy samples only a conservative one."""
    x, bare = hazy(pictures(48, seed=3)), baseline.without_samples()
    last = c.open_target(model).taps[-1]
    one = c.Affine(np.ones(last.channels, np.float32), np.zeros(last.channels, np.float32))
    of_input = replace(of_haze, taps={INPUT_TAP: of_haze.taps[INPUT_TAP]})
    deep = replace(of_input, taps={**of_input.taps, last.name: one})
    verdict, _ = search(model, bare, x, known={"p1": of_input, "p2": deep})
    assert "p1" in verdict.scores
    assert "p2" not in verdict.scores


def test_by_labels_a_known_patch_is_judged_beside_the_others(model, baseline, of_haze) -> None:
    x = pictures(48, seed=3)
    classes = c.open_target(model).runner()(x)["logits"].argmax(axis=1)
    options = c.Options(known={"p1": of_haze})
    verdict = c.recalibrate(model, baseline, hazy(x), classes, options)
    assert "p1" in verdict.scores


def test_a_search_from_the_patch_in_force_is_judged_from_the_unpatched_model(
    model, baseline, of_haze
) -> None:
    in_force, _ = search(model, baseline, burnt_out(pictures(48, seed=6), 1.0))
    assert in_force.patch is not None
    verdict, _ = search(model, baseline, burnt_out(pictures(48, seed=7), 2.0), start=in_force.patch)
    assert verdict.accepted
    assert verdict.scores["identity"]["gain"] == 0.0
    assert verdict.patch is not None
    assert verdict.patch.baseline_id == baseline.id
    assert any(in_force.patch.id in note for note in verdict.notes)


def test_a_patch_in_force_that_leads_nowhere_is_not_started_from(model, baseline, of_haze) -> None:
    far = {tap: c.Affine(part.scale * np.float32(0.3), part.offset) for tap, part in of_haze.taps.items()}
    x = hazy(pictures(48, seed=6))
    verdict, _ = search(model, baseline, x, start=replace(of_haze, taps=far))
    assert verdict.notes == ()
    assert verdict.accepted


def test_conservative_is_the_input_alone_or_the_first_few_layers(of_haze) -> None:
    taps = [TapInfo(f"t{i}", 1, "Conv") for i in range(20)]
    one = c.Affine(np.ones(1, np.float32), np.zeros(1, np.float32))
    few = [f"t{i}" for i in range(conservative_taps(20))]
    assert len(few) == round(20 * CONSERVATIVE_SHARE)

    def conserves(*names: str) -> bool:
        return is_conservative(replace(of_haze, taps=dict.fromkeys(names, one)), taps)

    assert conserves(INPUT_TAP)
    assert conserves(*few)
    assert not conserves(INPUT_TAP, *few)
    assert not conserves("t19")


@pytest.mark.parametrize(("gain", "enough"), [(0.5, True), (0.41, True), (0.39, False)])
def test_good_enough_is_within_its_own_error_of_the_best(gain: float, enough: bool) -> None:
    scores = {
        "identity": {"gain": 0.0, "gain_error": 0.0},
        "input": {"gain": 0.5, "gain_error": 0.01},
        "p1": {"gain": gain, "gain_error": 0.1},
    }
    assert is_good_enough("p1", scores) is enough
