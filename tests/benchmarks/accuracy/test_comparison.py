import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.accuracy.comparison import GATED_OFF, Comparison, Samples, Site, predicted
from benchmarks.accuracy.datasets import fashion
from benchmarks.accuracy.methods import float_net, oracles, tent
from benchmarks.accuracy.methods.fixed import FIXED
from benchmarks.accuracy.records import CANDIDATE, GATE, MOMENTS, NOTHING, TENT, ZEROTH_ORDER, Case
from calibration import Options, open_target, profile
from calibration.search.distilled import DISTILLED, HALF_WAY
from calibration.targets.base import Runner
from edge_runtime.bundles.build.quantize_onnx import quantize_onnx

pytestmark = pytest.mark.integration


def shapes(count: int, seed: int) -> fashion.Part:
    """Bars, boxes, discs and crosses as 28x28 pictures: four classes that a net learns in seconds."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    rows, columns = np.mgrid[:28, :28]
    pixels = np.zeros((count, 28, 28, 1), np.uint8)
    for picture, label in zip(pixels, labels, strict=True):
        y, x = rows - rng.integers(11, 17), columns - rng.integers(11, 17)
        size = rng.integers(5, 9)
        drawn = (
            (abs(y) < 3) & (abs(x) < size),
            np.maximum(abs(y), abs(x)) < size,
            np.maximum(abs(y), abs(x)) == size,
            (abs(y - x) < 3) & (abs(x) < size),
        )[label]
        picture[drawn] = rng.integers(120, 250)
    pixels += rng.integers(0, 6, pixels.shape, np.uint8)
    return fashion.Part(pixels, labels.astype(np.int64))


@pytest.fixture(scope="module")
def site() -> Site:
    net = fashion.train(shapes(1_500, 0), seed=0, epochs=5)
    baseline, pool, test = (shapes(n, seed) for n, seed in ((96, 1), (200, 2), (200, 3)))

    def score(runner: Runner, x: Samples) -> float:
        return judge(predicted(runner, x))

    def judge(classes: NDArray[np.int64]) -> float:
        return float((classes == test.labels).mean())

    return Site(
        model=quantize_onnx(fashion.exported(net), fashion.prepare(baseline.pixels)),
        baseline=baseline.pixels,
        pool=pool.pixels,
        pool_labels=pool.labels,
        test=test.pixels,
        prepare=fashion.prepare,
        score=score,
        float_model=float_net.float_model(lambda: net, judge),
        oracles=float_net.float_methods(lambda: net, judge, tent.SMALL),
    )


def test_every_method_is_measured_on_the_same_case(site: Site) -> None:
    case = Case("fashion_mnist", 0, "camera:haze", 5, 48)
    methods = (GATE, MOMENTS, *GATED_OFF, *oracles.ORACLES, TENT, CANDIDATE)
    found = Comparison(site).rows(case, methods)
    assert {row.method for row in found} == {NOTHING, *methods}
    assert {*FIXED} < {*methods}
    assert {row.case for row in found} == {case}
    after = {row.method: row.after for row in found if row.method != CANDIDATE}
    assert after[NOTHING] < found[0].healthy - 0.2
    assert after[GATE] > after[NOTHING] + 0.1
    assert after["all taps, prior 0"] == pytest.approx(after["float, fvcore"], abs=0.05)
    candidates = [row for row in found if row.method == CANDIDATE]
    gated = next(row for row in found if row.method == GATE)
    assert [row.chosen for row in candidates if row.accepted] == [gated.chosen]
    assert all("accepted_alone" in row.detail for row in candidates)
    assert {DISTILLED, HALF_WAY} < {row.chosen for row in candidates}
    moments = next(row for row in found if row.method == MOMENTS)
    assert moments.chosen not in (DISTILLED, HALF_WAY)
    assert after[TENT] > after[NOTHING] + 0.1


def test_a_case_does_not_depend_on_what_was_measured_before(site: Site) -> None:
    case = Case("fashion_mnist", 1, "fog+snow", 3, 32, "mixed")
    fresh = Comparison(site).rows(case, ("all taps, prior 0",))
    used = Comparison(site)
    used.rows(Case("fashion_mnist", 1, "contrast", 3, 16, "gradual"), ())
    again = used.rows(case, ("all taps, prior 0",))
    assert [(row.before, row.after) for row in again] == [(row.before, row.after) for row in fresh]


def test_a_small_baseline_is_recorded_from_the_first_pictures(site: Site) -> None:
    row = Comparison(site).rows(Case("fashion_mnist", 0, "none", 0, 32, baseline=24), (GATE,))[-1]
    assert row.healthy == row.before
    assert row.method == GATE


@pytest.mark.parametrize("name", [name for name in FIXED if name != ZEROTH_ORDER])
def test_fixed_corrections_of_a_healthy_site_change_little(site: Site, name: str) -> None:
    x = site.prepare(site.baseline)
    target = open_target(site.model)
    patch = FIXED[name](target, profile(site.model, x), x)
    scale: NDArray[np.float32] = np.concatenate([tap.scale for tap in patch.taps.values()])
    assert patch.frames == len(x)
    assert np.median(np.abs(scale - 1)) < 0.03  # micro-batches of 8 differ a little from the whole


def test_number_of_healthy_samples_is_the_librarys_default(site: Site) -> None:
    assert site.most_healthy_samples == Options().most_healthy_samples
