"""What is said about a baseline: names, words and their ends; old files without any of it."""

import numpy as np
import pytest

import calibration
from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import DAY_S, BaselineFacts
from calibration.errors import BaselineError, DataError
from calibration.stats import atomic_file, tensor_file
from tests.support.baselines import two_tap_baseline
from tests.support.onnx_nets import classifier, pictures

FACTS = BaselineFacts("night", "d" * 16, "parts/4", ("belt", "gate"), 1.5, "command", 1e9, 2e9)


def test_the_file_keeps_the_facts_and_they_do_not_change_the_id(tmp_path):
    named = two_tap_baseline().with_facts(FACTS)
    named.save(tmp_path / "b")
    again = Baseline.load(tmp_path / "b")
    assert again.facts == FACTS
    assert again.id == two_tap_baseline().id


def test_a_file_of_the_first_version_is_the_baseline_named_default(tmp_path):
    arrays, header = tensor_file.decode("baseline", two_tap_baseline().to_bytes())
    del header["facts"]
    atomic_file.write_atomically(tmp_path / "b", tensor_file.encode("baseline", arrays, header))
    assert Baseline.load(tmp_path / "b").facts == BaselineFacts(name="default")


@pytest.mark.parametrize(
    "facts",
    [{"name": "../x"}, {"name": ""}, {"expires_wall_s": "soon"}, {"streams": 3}, [], {"bundle": "x" * 999}],
)
def test_facts_that_cannot_be_are_named(tmp_path, facts):
    arrays, header = tensor_file.decode("baseline", two_tap_baseline().to_bytes())
    data = tensor_file.encode("baseline", arrays, {**header, "facts": facts})
    atomic_file.write_atomically(tmp_path / "b", data)
    with pytest.raises(BaselineError, match="fields are wrong"):
        Baseline.load(tmp_path / "b")


def test_a_word_ends_and_can_be_renewed():
    word = BaselineFacts().approve("operator", 1000.0, days=2)
    assert not word.is_expired(1000.0 + 2 * DAY_S - 1)
    assert word.is_expired(1000.0 + 2 * DAY_S)
    assert not word.approve("operator", 1000.0 + 3 * DAY_S, days=None).is_expired(1e12)
    assert word.end(1500.0).is_expired(1500.0)
    assert word.end(1e9).expires_wall_s == 1000.0 + 2 * DAY_S


def test_names_are_short_and_plain():
    with pytest.raises(DataError):
        BaselineFacts(name="Night shift")


def test_no_patch_is_made_from_an_expired_baseline():
    model = classifier(seed=4)
    healthy = calibration.profile(model, pictures(16), facts=BaselineFacts(expires_wall_s=1.0))
    with pytest.raises(BaselineError):
        calibration.recalibrate(model, healthy, pictures(16, seed=2))
    assert calibration.measure_drift(model, healthy, pictures(16, seed=2))


def test_frames_that_resemble_their_neighbours_are_worth_less():
    model, x = classifier(seed=4), pictures(32)
    still = np.repeat(x[:4] * np.linspace(0.6, 1, 4, dtype=np.float32).reshape(4, 1, 1, 1), 8, axis=0)
    assert calibration.profile(model, still).effective_count < 12
    assert calibration.profile(model, x).effective_count > 20
    assert calibration.profile(model, x, effective_count=7.0).effective_count == 7.0
