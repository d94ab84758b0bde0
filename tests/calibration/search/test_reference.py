"""Reading, refusing, leaving out, splitting."""

import contextlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import DataError
from calibration.search import reference
from calibration.search.candidates import candidates
from calibration.stats.moments import FrameMoments, moments_of_frames
from tests.support.onnx_nets import pictures


def test_reads_pictures_and_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=pictures(4), y=np.arange(4))
    given = reference.load_npz(tmp_path / "r.npz")
    assert given.x.shape == (4, 3, 16, 16)
    assert given.y is not None
    assert given.y.tolist() == [0, 1, 2, 3]


def bad_files(folder: Path) -> dict[str, Path]:
    x = pictures(4)
    arrays = {
        "dtype": {"x": x.astype(np.float64)},
        "shape": {"x": x[0, 0, 0]},
        "empty": {"x": x[:0]},
        "name": {"pictures": x},
        "labels": {"x": x, "y": np.arange(3)},
        "label-type": {"x": x, "y": np.arange(4.0)},
        "negative": {"x": x, "y": np.arange(4) - 2},
        "no-class": {"x": x, "y": np.full(4, 2**64 - 1, np.uint64)},
        "absurd": {"x": x * 1e30},
        "pickled": {"x": np.asarray([{"a": 1}], object)},
    }
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    (folder / "text.npz").write_text("hello")
    (folder / "pickle.npz").write_bytes(pickle.dumps([1, 2]))
    np.save(folder / "npy.npy", x)
    (folder / "cut.npz").write_bytes((folder / "labels.npz").read_bytes()[:500])
    return {path.stem: path for path in folder.iterdir()} | {"missing": folder / "missing.npz"}


def test_every_bad_file_is_named_with_what_was_expected(tmp_path: Path) -> None:
    files = bad_files(tmp_path)
    assert len(files) == 15
    for path in files.values():
        with pytest.raises(DataError) as caught:
            reference.load_npz(path)
        assert str(path) in str(caught.value)
        assert caught.value.expected


def test_damage_anywhere_in_a_compressed_file_is_an_error_of_ours_or_none(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "c.npz", x=np.round(pictures(1), 1))
    whole = (tmp_path / "c.npz").read_bytes()
    for at in range(0, len(whole), 11):
        (tmp_path / "c.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with contextlib.suppress(DataError):
            reference.load_npz(tmp_path / "c.npz")


def test_frames_with_nan_are_named() -> None:
    x = pictures(6)
    x[2, 0, 0, 0], x[4, 1, 3, 3] = np.nan, np.inf
    with pytest.raises(DataError) as caught:
        reference.check(x)
    assert caught.value.frames == (2, 4)


def test_frames_that_tell_nothing_are_left_out_and_counted() -> None:
    x = pictures(10)
    healthy = moments_of_frames(x).pool()
    x[1], x[5] = -1.0, 0.3
    x[7] = x[6]
    found = reference.find_usable(x, moments_of_frames(x), healthy)
    assert found.index.tolist() == [0, 2, 3, 4, 6, 8, 9]
    assert sum(found.left_out.values()) == 3


def test_a_strong_drift_is_not_taken_for_a_dead_camera() -> None:
    x = pictures(10)
    dim = x * 0.2
    assert len(reference.find_usable(dim, moments_of_frames(dim), moments_of_frames(x).pool()).index) == 10


def test_moments_of_frames_without_pictures_count_as_if_the_pictures_were_there() -> None:
    x = pictures(24, seed=5)
    gone = moments_of_frames(x[16:])
    given = reference.check(x[:16]).with_further_input(gone)
    found, whole = given.input_moments(x[:16]), moments_of_frames(x).pool()
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(found.var, whole.var, rtol=1e-12)
    assert found.count == 24


@pytest.mark.parametrize("mean", [np.zeros((4, 5)), np.full((4, 3), np.nan)])
def test_further_moments_that_cannot_be_of_this_input_are_refused(mean: np.ndarray) -> None:
    with pytest.raises(DataError, match="further_input"):
        reference.check(pictures(8, seed=5)).with_further_input(FrameMoments(mean, np.ones_like(mean)))


def test_frames_left_over_when_enough_are_observed_are_held_out_and_judged_on_first() -> None:
    observe, judge = reference.split(20, 12, 8, np.random.default_rng(5))
    assert sorted([*observe, *judge]) == list(range(20))
    assert observe.tolist() == sorted(observe)
    again = reference.split(20, 12, 8, np.random.default_rng(5))
    assert [part.tolist() for part in again] == [observe.tolist(), judge.tolist()]


def test_few_frames_are_observed_and_judged_on() -> None:
    observe, judge = reference.split(10, 48, 48, np.random.default_rng(5))
    assert observe.tolist() == judge.tolist() == list(range(10))
    observe, judge = reference.split(20, 15, 10, np.random.default_rng(5))
    assert (len(observe), len(judge)) == (15, 10)
    assert set(range(20)) - set(observe.tolist()) <= set(judge.tolist())


def test_49_taps_have_16_candidates() -> None:
    found = candidates(49, None)
    assert len(found) == 16
    assert len({candidate.name for candidate in found}) == 16
    assert sorted({candidate.first_taps for candidate in found}) == [0, 1, 5, 15, 29, 49]


def test_beside_distilled_patches_the_input_the_first_taps_and_all_are_left() -> None:
    found = candidates(49, None, are_distilled=True)
    assert [(one.input_share, one.first_taps) for one in found] == [(1.0, 0), (0.0, 5), (0.0, 49)]
    assert len({one.passes for one in found if one.first_taps}) == 1  # an observer pass takes a second


def test_no_candidate_corrects_more_taps_than_the_limit() -> None:
    assert sorted({candidate.first_taps for candidate in candidates(49, 10)}) == [0, 1, 5, 10]
    assert candidates(49, 1000) == candidates(49, None)


@pytest.mark.parametrize("taps", [0, 1, 2, 3, 7, 300])
def test_small_models_get_a_ladder_without_doubles(taps: int) -> None:
    found = candidates(taps, None)
    assert len({(r.first_taps, r.prior, r.input_share) for r in found}) == len(found)
    assert max(r.first_taps for r in found) == taps
