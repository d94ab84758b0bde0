import numpy as np
import pytest

from benchmarks.accuracy.drifts.streams import STREAMS, draw

LABELS = np.repeat(np.arange(10), 80)


@pytest.mark.parametrize("stream", STREAMS)
def test_draws_as_many_different_pictures_as_asked_for(stream: str) -> None:
    found = draw(stream, LABELS, 48, 3, 2, np.random.default_rng(0))
    assert len(set(found.index.tolist())) == 48
    assert found.severity.shape == found.drift.shape == (48,)


@pytest.mark.parametrize("stream", STREAMS)
def test_same_seed_draws_the_same(stream: str) -> None:
    one, two = (draw(stream, LABELS, 48, 3, 2, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.index, two.index)
    np.testing.assert_array_equal(one.drift, two.drift)


def test_class_sorted_is_a_run_in_class_order() -> None:
    classes = LABELS[draw("class-sorted", LABELS, 64, 3, 1, np.random.default_rng(1)).index]
    assert (np.diff(classes) >= 0).all()
    assert np.ptp(classes) <= 2


def test_two_class_shows_two_classes() -> None:
    assert len(np.unique(LABELS[draw("2-class", LABELS, 64, 3, 1, np.random.default_rng(1)).index])) == 2


def test_one_class_shows_one() -> None:
    assert len(np.unique(LABELS[draw("1-class", LABELS, 64, 3, 1, np.random.default_rng(1)).index])) == 1


def test_gradual_grows_from_nothing_to_full_severity() -> None:
    severity = draw("gradual", LABELS, 64, 5, 1, np.random.default_rng(0)).severity
    assert severity[0] == 0
    assert severity[-1] == 5
    assert (np.diff(severity) >= 0).all()


def test_mixed_takes_turns_and_others_stay_with_one_drift() -> None:
    assert set(draw("mixed", LABELS, 64, 3, 2, np.random.default_rng(0)).drift.tolist()) == {0, 1}
    assert set(draw("iid", LABELS, 64, 3, 2, np.random.default_rng(0)).drift.tolist()) == {0}


def test_refuses_unknown_streams_and_small_pools() -> None:
    with pytest.raises(ValueError):
        draw("sorted", LABELS, 8, 3, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"160.*161"):
        draw("2-class", LABELS, 161, 3, 1, np.random.default_rng(0))
