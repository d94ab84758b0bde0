"""What holds in every format alike: how the data are cut and ordered says nothing, and no drift leaves every bit."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.stats.moments import INPUT_TAP, Moments, merge
from calibration.targets.base import Normalisation
from calibration.targets.target import Target
from tests.support.every_target import FORMATS, NAMES, drifted, full_patch, opened, reopened, samples

pytestmark = pytest.mark.integration

FEW = settings(max_examples=4, deadline=None)


@functools.cache
def given_to(name: str) -> np.ndarray:
    return samples(name, 12, seed=3)


@functools.cache
def target_of(name: str) -> Target:
    """Observing changes nothing, so one target serves all examples."""
    return opened(name)


@functools.cache
def whole(name: str) -> Moments:
    return target_of(name).observe(given_to(name)).moments


def assert_close(found: Moments, wanted: Moments) -> None:
    """Equal up to the float32 sums inside the graph."""
    assert list(found) == list(wanted)
    for tap in wanted:
        spread = float(np.sqrt(wanted[tap].var.mean()))
        np.testing.assert_allclose(found[tap].mean, wanted[tap].mean, rtol=1e-5, atol=1e-5 * spread)
        np.testing.assert_allclose(found[tap].var, wanted[tap].var, rtol=1e-4, atol=1e-6 * spread**2)
        assert found[tap].count == wanted[tap].count


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(order=st.permutations(range(12)))
def test_the_order_of_the_frames_does_not_matter(name: str, order: list[int]) -> None:
    assert_close(target_of(name).observe(given_to(name)[order]).moments, whole(name))


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(cut=st.integers(1, 11))
def test_parts_merge_to_the_whole_wherever_it_is_cut(name: str, cut: int) -> None:
    x = given_to(name)
    one, other = (target_of(name).observe(part).moments for part in (x[:cut], x[cut:]))
    assert_close(merge(one, other), whole(name))


@pytest.mark.parametrize("name", FORMATS)
@FEW
@given(order=st.permutations(range(3)).map(tuple))
def test_permuted_input_channels_are_permuted_at_the_input_and_nowhere_else(
    name: str, order: tuple[int, ...]
) -> None:
    found = opened(name, order).observe(given_to(name)[:, list(order)]).moments
    wanted = whole(name)
    np.testing.assert_allclose(found[INPUT_TAP].mean, wanted[INPUT_TAP].mean[list(order)], rtol=1e-12)
    np.testing.assert_allclose(found[INPUT_TAP].var, wanted[INPUT_TAP].var[list(order)], rtol=1e-12)
    for one, other in zip(list(found.values())[1:], list(wanted.values())[1:], strict=True):
        spread = float(np.sqrt(other.var.mean()))
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-4, atol=1e-4 * spread)
        np.testing.assert_allclose(one.var, other.var, rtol=1e-3, atol=1e-5 * spread**2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prior", [0.0, 0.6])
def test_a_patch_of_undrifted_moments_is_the_model_itself(name: str, prior: float) -> None:
    target = target_of(name)
    done = target.patched(full_patch(target, whole(name), whole(name), prior))
    assert reopened(done).sha256 == target.sha256


@pytest.mark.parametrize("name", NAMES)
def test_the_way_back_is_exact_to_the_bit(name: str) -> None:
    target, x = opened(name), given_to(name)
    before = target.runner()(x)
    seen = target.observe(drifted(name, x), Normalisation(whole(name))).moments
    patch = full_patch(target, seen, whole(name))
    patched = target.runner(patch)(x)
    target.patched(patch)
    for base in (target, opened(name)):
        assert base.sha256 == target.sha256
        after = base.runner()(x)
        assert all(np.array_equal(before[output], after[output]) for output in before)
    assert any(not np.array_equal(before[output], patched[output]) for output in before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_alone", [True, False], ids=["one frame", "no variance"])
def test_one_frame_and_frames_without_variance_make_a_model_that_still_answers(
    name: str, is_alone: bool
) -> None:
    target, x = target_of(name), given_to(name)
    strange = drifted(name, x[:1]) if is_alone else np.full_like(x[:4], 0.25)
    seen = target.observe(strange, Normalisation(whole(name))).moments
    patch = full_patch(target, seen, whole(name))
    again = reopened(target.patched(patch))
    for outputs in (again.runner()(x), target.runner(patch)(x)):
        assert all(np.isfinite(value).all() for value in outputs.values())
