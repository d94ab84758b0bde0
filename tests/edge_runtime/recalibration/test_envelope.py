"""What a bundle allows a patch to change, and the stricter one of two autonomies."""

import numpy as np
import pytest

from calibration.patch import Affine, Patch
from calibration.stats.moments import Moments, TapMoments
from calibration.verdict import FrameCounts, Verdict
from edge_runtime.bundles.manifest import Envelope
from edge_runtime.recalibration.envelope import choose_autonomy, find_largest_change, keep_within

HEALTHY = Moments(
    {
        name: TapMoments(np.array([0.0, 2.0]), np.array([1.0, 4.0]), 64)
        for name in ("input", "conv1", "conv2", "conv3")
    }
)


class Site:
    """What the envelope reads of a baseline."""

    moments = HEALTHY


def affine(scale=1.0, offset=0.0):
    return Affine(np.array([1.0, scale], np.float32), np.array([0.0, offset], np.float32))


def verdict(frames=(48, 16), **taps):
    patch = Patch(taps or {"conv1": affine()}, "a" * 64, "b1", "taps 1", sum(frames), 0.0)
    counts = FrameCounts(sum(frames), {}, *frames)
    return Verdict(True, "taps 1", patch, ("better by 0.1",), {}, {}, counts)


@pytest.mark.parametrize(
    ("scale", "offset", "change"),
    [(1.0, 0.0, 0.0), (2.0, 0.0, 1.0), (0.5, 0.0, 1.0), (1.0, 3.0, 1.5), (1.5, -1.0, 0.5), (1.0, -8.0, 4.0)],
)
def test_a_change_is_that_of_the_mean_or_of_the_spread_in_healthy_deviations(scale, offset, change):
    tap, largest = find_largest_change({"conv1": affine(), "conv2": affine(scale, offset)}, HEALTHY)
    assert largest == pytest.approx(change, rel=1e-4)
    assert change == 0 or tap == "conv2"


@pytest.mark.parametrize(
    ("envelope", "given"),
    [
        ({}, {"conv3": affine(5.0, 9.0)}),
        ({"first_taps": 2}, {"input": affine(), "conv1": affine(), "conv2": affine()}),
        ({"largest_change": 1.1}, {"conv1": affine(2.0)}),
        ({"least_frames": 64}, {}),
    ],
)
def test_a_patch_within_the_envelope_stays(envelope, given):
    one = verdict(**given)
    assert keep_within(Envelope(**envelope), one, Site) is one


@pytest.mark.parametrize(
    ("envelope", "given"),
    [
        ({"first_taps": 2}, {"conv1": affine(), "conv3": affine()}),
        ({"largest_change": 0.9}, {"conv1": affine(2.0)}),
        ({"largest_change": 0.9}, {"input": affine(1.0, 3.0)}),
        ({"least_frames": 65}, {}),
    ],
)
def test_a_patch_beyond_it_is_refused_with_the_key_that_forbids_it(envelope, given):
    refused = keep_within(Envelope(**envelope), verdict(**given), Site)
    assert (refused.accepted, refused.patch, refused.candidate) == (False, None, "identity")
    assert next(iter(envelope)) in refused.reasons[0]
    assert refused.reasons[1:] == ("better by 0.1",)


def test_a_refusal_and_a_bundle_without_an_envelope_stay_as_they_are():
    refused = Verdict(False, "identity", None, ("in doubt",), {}, {}, FrameCounts(8, {}))
    assert keep_within(Envelope(least_frames=64), refused, Site) == refused
    accepted = verdict()
    assert keep_within(None, accepted, Site) is accepted


@pytest.mark.parametrize(
    ("configured", "declared", "chosen"),
    [
        ("auto", None, "auto"),
        ("auto", "auto", "auto"),
        ("auto", "propose", "propose"),
        ("observe", "propose", "observe"),
        ("propose", "observe", "observe"),
        ("propose", "auto", "propose"),
    ],
)
def test_the_stricter_autonomy_counts(configured, declared, chosen):
    envelope = None if declared is None else Envelope(autonomy=declared)
    assert choose_autonomy(configured, envelope) == chosen
