"""Whether a recalibration can be of use, and be judged, before any candidate is tried.

Two reasons against it: the reference frames are as healthy ones are, or they all show one scene, from which the
content cannot be told from the camera. A third where healthy samples are to judge: under the simulated drift they do
not come nearer to the live frames. The simulation copies tones, colours, sharpness and noise; of other drifts (blocks
of pixels, broken glass, a mixture of two states) it shows little. All is measured with the drift monitor's own
distance, so that what raised an alarm is not dismissed here. Pure; the seed is an argument.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from calibration.baseline.baseline import Baseline
from calibration.drift.monitor import groups_in
from calibration.drift.tap_group import FEWEST_FRAMES, Features, HealthyFrames
from calibration.drift.thresholds import chance_limit
from calibration.search import reference
from calibration.stats.moments import FrameMoments
from calibration.stats.sampling import FEWEST_SAMPLES
from calibration.stats.sensor_features import sensor_features_of_frames
from calibration.stats.signal_features import is_signal
from calibration.targets.base import Batch, Observation

LEAST_VARIETY = 0.10
"""Lite0, eight drifts: one scene with sensor noise shows below 0.001, varied pictures under a drift 0.83 to 2.3."""

MOST_LEFT = 0.65
"""Of the squared distance that the healthy frames had: the simulation must bring them clearly nearer. Digits (8 x 8, an
int8 net): haze, noise, blur, shadow and others left 0.29 at most, stripes 0.63, and a patch gained; a camera that was
zoomed, half covered or inverted left 0.71 to 0.98, and a patch lost up to 6 points. On a Fashion net nothing was
accepted above 0.35; cut-outs under eight camera drifts left 0.42 at most, pedestrians 0.08."""
MOST_LEFT_OF_SIGNALS = 0.5
"""The same for signals. Two data sets, seeds 0 to 3: nine drifts of a sensor left 0.28 at most, other contents 0.89 at
least."""
MOST_LEFT_OF_SMALL_GAINS = 0.3
"""The same for a gain that is small but sure: the error of a gain on simulated frames does not contain that of the
simulation. With 16 Fashion-MNIST pictures under glass blur such a gain lost 1 to 2 points."""

_TINY = float(np.finfo(np.float64).tiny)


def note_about(baseline: Baseline, *, lacks_teachers: bool) -> str | None:
    """What limits every answer from this baseline, and what to do; None when nothing does.

    ``lacks_teachers`` tells that it keeps too few healthy samples for one half of them to teach patches.
    """
    if baseline.count < reference.FEWEST_FRAMES:
        return (
            f"The baseline was recorded on {baseline.count} frames; {reference.FEWEST_FRAMES} are the least from which "
            "drift can be scored and patches can be judged without labels, 64 are good."
        )
    if not lacks_teachers or baseline.healthy_samples is None:
        return None
    return (
        f"The baseline keeps {len(baseline.healthy_samples)} healthy samples; all judge. With {FEWEST_SAMPLES}, one "
        "half of them teaches better patches: record it again on so many frames or more while the site is healthy "
        "(`edge-runtime send commission`, or `python -m calibration profile`)."
    )


def refusal_reason(observed: Batch, seen: Observation, baseline: Baseline, seed: int) -> str | None:
    """Why no candidate needs to be tried, for people; None when there is something to try.

    ``seen`` are the uncorrected moments of the reference frames ``observed`` (N, C, ...) at the input and the first
    taps; ``seed`` draws the healthy windows they are compared with.
    """
    live = {**seen.frames, **sensor_features_of_frames(observed)}
    excess = unlikeness(live, baseline.frames, np.random.default_rng(seed))
    if excess and max(excess.values()) <= 1.0:
        return (
            "The reference differs from the baseline no more than healthy frames do among themselves "
            f"({max(excess.values()):.0%} of what chance explains): there is nothing to correct."
        )
    share = shown_variety(seen.frames, baseline.frames)
    if share < LEAST_VARIETY:
        return (
            f"The reference frames vary by {share:.1%} of what healthy frames do; at least {LEAST_VARIETY:.0%} is "
            "needed. From a single scene the content cannot be told from the sensor."
        )
    return None


def unlikeness(
    live: Mapping[str, FrameMoments], healthy: Mapping[str, FrameMoments], rng: np.random.Generator
) -> dict[str, float]:
    """Per group of taps, the frames' distance from healthy ones as a share of what chance explains.

    Fresh healthy pictures stay below 1 (of 200 draws each of 43 frames: Lite0 cut-outs of unknown objects 0.8 at
    most, Fashion-MNIST 0.7); drifts that cost 5 points are above. Empty for a baseline of too few frames.
    """
    found = {}
    for sign, group in groups_in(live, healthy).items():
        features = group.features_in(live)
        limit = chance_limit(group.space.whiten(group.features), group.effective, len(features), rng)
        found[sign] = group.space.distance(features.mean(axis=0)) / limit
    return found


def shown_variety(live: Mapping[str, FrameMoments], healthy: Mapping[str, FrameMoments]) -> float:
    """How much frames differ from each other, as a share of how much healthy ones do; affine drifts do not change it.

    The largest share over the taps, so that a drift that flattens one of them does not count as a single scene.
    """
    shares = [_between(live[tap]) / max(_between(healthy[tap]), _TINY) for tap in healthy if tap in live]
    return max(shares, default=1.0)


def _between(frames: FrameMoments) -> float:
    """Share of the variance that lies between the frames, 0..1."""
    between = float(frames.mean.var(0).mean())
    return between / max(between + float(frames.var.mean()), _TINY)


def most_left(shape: Sequence[int]) -> float:
    """The share of the distance that may be left, of samples (C, ...) of a shape."""
    return MOST_LEFT_OF_SIGNALS if is_signal(shape) else MOST_LEFT


def remaining_drift(
    live: Mapping[str, FrameMoments],
    simulated: Mapping[str, FrameMoments],
    healthy: Mapping[str, FrameMoments],
) -> float:
    """The squared distance of simulated frames from the live ones, as a share of that of the healthy frames, >= 0.

    Without what chance adds to a distance between means of so many frames. 0 where nothing can be said: a baseline of
    few frames, or live frames that are where healthy ones are. All are single-frame moments (N, C) per tap.
    """
    taps = [tap for tap in healthy if tap in live and tap in simulated]
    parts = (live, simulated, healthy)
    if not taps or min(len(part[tap].mean) for part in parts for tap in taps) < FEWEST_FRAMES:
        return 0.0
    group = HealthyFrames.of(taps, healthy)
    seen, again = (group.space.whiten(group.features_in(part)) for part in (live, simulated))
    before = _distance(seen, group.space.whiten(group.features))
    return max(0.0, _distance(seen, again)) / before if before > 0 else 0.0


def _distance(one: Features, other: Features) -> float:
    """Squared distance of the means of (N, D) and (M, D) per dimension, unbiased: below 0 by chance at times."""
    by_chance = one.var(axis=0, ddof=1) / len(one) + other.var(axis=0, ddof=1) / len(other)
    return float(((one.mean(axis=0) - other.mean(axis=0)) ** 2 - by_chance).mean())
