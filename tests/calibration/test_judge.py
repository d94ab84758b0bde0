"""The gate on one patch that was made elsewhere."""

import pytest

import calibration as c
from tests.support.onnx_nets import classifier, hazy, pictures, quantized

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return quantized(classifier(seed=4), tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def baseline(model):
    return c.profile(model, pictures(96, seed=1))


@pytest.fixture(scope="module")
def patch(model, baseline):
    verdict = c.recalibrate(model, baseline, hazy(pictures(48, seed=2)))
    assert verdict.accepted
    return verdict.patch


def test_other_pictures_under_the_same_drift_confirm_it(model, baseline, patch):
    verdict = c.judge(model, baseline, patch, hazy(pictures(48, seed=3)))
    assert (verdict.accepted, verdict.candidate) == (True, patch.candidate)
    assert verdict.patch.id == patch.id
    assert verdict.seconds > 0
    assert verdict.scores.keys() == {"identity", patch.candidate}


@pytest.mark.parametrize("now", [lambda x: x, lambda x: x * 0.5, lambda x: 1 - x])
def test_healthy_frames_and_another_drift_refuse_it(model, baseline, patch, now):
    verdict = c.judge(model, baseline, patch, now(pictures(48, seed=3)).astype("float32"))
    assert (verdict.accepted, verdict.candidate, verdict.patch) == (False, "identity", None)
    assert verdict.reasons


def test_a_patch_of_another_baseline_is_an_error(model, patch):
    with pytest.raises(c.PatchError):
        c.judge(model, c.profile(model, pictures(96, seed=8)), patch, hazy(pictures(48, seed=3)))
