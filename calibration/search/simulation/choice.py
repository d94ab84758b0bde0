"""What simulates the drift of a sample: a camera of pictures (C, H, W), a sensor of windows (C, T) or features (F,)."""

from collections.abc import Iterator, Sequence
from itertools import islice

from calibration.search.simulation import camera, sensor
from calibration.search.simulation.model import DriftModel, Samples
from calibration.stats.signal_features import is_signal


def hypotheses(healthy: Samples, live: Samples) -> Iterator[DriftModel]:
    """Explanations of the live samples (N, C, ...) by what became of ``healthy`` ones (M, C, ...), the plainest first.

    Raises:
        ValueError: shapes differ in the channels, or there is nothing to work on.
        MemoryError: the memory does not suffice.
    """
    if is_signal(live.shape[1:]):
        return sensor.hypotheses(healthy, live)
    return camera.hypotheses(healthy, live)


def simulate_for_show(healthy: Samples, live: Samples) -> DriftModel:
    """The drift as it is usually explained, for people to look at; which explanation is right, is not asked."""
    if not is_signal(live.shape[1:]):
        return camera.fit_camera(healthy, live)
    *_, usual = islice(sensor.hypotheses(healthy, live), 2)
    return usual


def why_unexplained(shape: Sequence[int], left: float, most: float) -> str:
    """Why samples (C, ...) of a shape cannot be judged on, for people, where so much of the distance is left."""
    figures = f"({left:.0%} of the distance is left; at most {most:.0%} may be)"
    if not is_signal(shape):
        return (
            "Healthy frames made to look like today's in colour, sharpness and noise do not come near the live "
            f"ones {figures}. What changed is something else, such as the view or a part that is covered, so they "
            "cannot judge."
        )
    return (
        "Healthy samples made to look like today's in gain, offset, band, noise and held values do not come near the "
        f"live ones {figures}. What changed is the content: what is measured, such as another machine or another way "
        "of working, or where the sensor sits; so they cannot judge."
    )
