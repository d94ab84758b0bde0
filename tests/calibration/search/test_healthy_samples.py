"""How many healthy samples a baseline keeps, and what they are used for: one half teaches, the other judges."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import calibration as c
from calibration.search.distillation import DistillationSettings
from calibration.search.distilled import DISTILLED
from calibration.stats.sampling import FEWEST_SAMPLES, samples_to_keep, teach_and_judge
from tests.support.onnx_nets import classifier, hazy, pictures, quantized

pytestmark = pytest.mark.integration

FEWEST = DistillationSettings().fewest_frames


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return quantized(classifier(seed=4), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def site(model: bytes) -> c.Baseline:
    return c.profile(model, pictures(128, seed=1), created_wall_s=0.0)


def keeping(site: c.Baseline, count: int) -> c.Baseline:
    """The same baseline with the first of its samples."""
    assert site.healthy_samples is not None
    return replace(site, healthy_samples=site.healthy_samples.only(np.arange(count)))


def verdict_of(model: bytes, baseline: c.Baseline, steps: int = 4) -> c.Verdict:
    options = c.Options(distillation=DistillationSettings(steps=steps))
    return c.recalibrate(model, baseline, hazy(pictures(48, seed=2)), options=options)


def test_so_many_are_kept_of_a_commissioning_of_the_usual_length(site: c.Baseline) -> None:
    assert site.healthy_samples is not None
    assert len(site.healthy_samples) == 128


@pytest.mark.parametrize(
    ("shape", "count"), [((3, 640, 640), 96), ((3, 224, 224), 96), ((3, 96, 96), 512), ((1, 28, 28), 512)]
)
def test_more_of_small_pictures_are_kept(shape: tuple[int, ...], count: int) -> None:
    assert samples_to_keep(int(np.prod(shape))) == count


@pytest.mark.parametrize("count", [64, 65, 96])
def test_one_half_teaches_and_the_other_judges(model: bytes, site: c.Baseline, count: int) -> None:
    found = verdict_of(model, keeping(site, count))
    assert found.frames.distilled_from + found.frames.healthy_samples == count
    assert found.frames.distilled_from >= count // 2
    assert found.notes == ()


@pytest.mark.parametrize("count", range(2 * FEWEST, 200))
def test_no_frame_teaches_and_judges_and_each_does_one(count: int) -> None:
    taught, judging = teach_and_judge(count, FEWEST)
    assert sorted([*taught, *judging]) == list(range(count))
    assert min(len(taught), len(judging)) >= FEWEST


def test_neighbours_in_time_stay_together_but_at_three_places() -> None:
    taught, _ = teach_and_judge(96, FEWEST)
    teaches = np.isin(np.arange(96), taught)
    assert np.count_nonzero(teaches[1:] != teaches[:-1]) == 3


@pytest.mark.parametrize("count", [48, 63])
def test_too_few_for_two_halves_judge_as_they_did_and_the_verdict_says_how_to_have_more(
    model: bytes, site: c.Baseline, count: int
) -> None:
    few = keeping(site, count)
    found, by_moments = verdict_of(model, few), verdict_of(model, few, steps=0)
    assert found.frames.distilled_from == 0
    assert (found.scores, found.candidate) == (by_moments.scores, by_moments.candidate)
    assert by_moments.notes == ()
    [note] = found.notes
    assert f"{count} " in note
    assert f"{FEWEST_SAMPLES}" in note
    assert "commission" in note


def test_without_the_memory_to_distil_patches_by_moments_are_judged_and_it_is_said(
    model: bytes, site: c.Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(c.Target, "differentiate", refuse)
    found = verdict_of(model, site)
    assert found.accepted
    assert found.frames.distilled_from == 0
    assert found.frames.healthy_samples > 0
    [note] = found.notes
    assert "memory" in note


def test_a_baseline_without_pictures_teaches_nothing(model: bytes, site: c.Baseline) -> None:
    found = verdict_of(model, site.without_samples())
    assert (found.frames.distilled_from, found.frames.healthy_samples) == (0, 0)
    assert DISTILLED not in found.scores
    assert len(found.notes) == 1


def test_a_file_with_all_samples_is_read_back(tmp_path: Path, site: c.Baseline) -> None:
    site.save(tmp_path / "b")
    kept = c.Baseline.load(tmp_path / "b").healthy_samples
    assert kept is not None
    assert site.healthy_samples is not None
    np.testing.assert_array_equal(kept.packed, site.healthy_samples.packed)
