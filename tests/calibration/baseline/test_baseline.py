"""Baseline files: everything comes back, pictures stay small, damage is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.baseline.baseline import Baseline
from calibration.baseline.packing import pack_healthy_samples
from calibration.errors import BaselineError
from calibration.outputs.read import ClassScores
from calibration.patch import Affine, Patch
from calibration.stats import tensor_file
from tests.support.baselines import two_tap_baseline
from tests.support.onnx_nets import pictures


def test_the_file_gives_everything_back(tmp_path: Path) -> None:
    baseline = two_tap_baseline()
    baseline.save(tmp_path / "b")
    again = Baseline.load(tmp_path / "b")
    assert again.id == baseline.id
    assert again.to_bytes() == baseline.to_bytes()
    assert (again.effective_count, again.count, again.input_shape) == (6.5, 12, (3, 16, 16))


@pytest.mark.parametrize("kind", ClassScores)
def test_what_the_scores_of_a_classifier_are_is_kept_in_the_file(tmp_path: Path, kind: ClassScores) -> None:
    x, baseline = pictures(5), two_tap_baseline()
    healthy_samples = pack_healthy_samples(x).with_answers(np.full((5, 3), 1 / 3), kind)
    replace(baseline, healthy_samples=healthy_samples).save(tmp_path / "b")
    again = Baseline.load(tmp_path / "b").healthy_samples
    assert again is not None
    assert again.layout is kind
    assert again.probabilities is not None


def test_a_file_that_does_not_know_what_its_scores_are_is_read(tmp_path: Path) -> None:
    arrays, header = tensor_file.decode("baseline", two_tap_baseline().to_bytes())
    old = {key: known for key, known in header.items() if key not in ("kind", "class_scores")}
    (tmp_path / "b").write_bytes(tensor_file.encode("baseline", arrays, old))
    healthy_samples = Baseline.load(tmp_path / "b").healthy_samples
    assert healthy_samples is not None
    assert healthy_samples.layout is None
    assert healthy_samples.probabilities is not None


def test_pictures_from_8_bit_cameras_are_kept_in_a_byte_without_loss() -> None:
    x = pictures(6)
    packed = pack_healthy_samples(x)
    assert packed.packed.dtype == np.uint8
    np.testing.assert_allclose(packed.samples(), x, atol=1e-5)


def test_other_mean_and_std_per_channel_also_fit_in_a_byte() -> None:
    mean, std = (
        np.asarray(v, np.float32).reshape(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    x = ((pictures(4) * 128 + 127) / 255 - mean) / std
    packed = pack_healthy_samples(x.astype(np.float32))
    assert packed.packed.dtype == np.uint8
    np.testing.assert_allclose(packed.samples(), x, atol=1e-4)


def test_pictures_off_the_grid_are_kept_as_float16() -> None:
    x = np.random.default_rng(0).normal(0, 1, (4, 3, 8, 8)).astype(np.float32)
    packed = pack_healthy_samples(x)
    assert packed.packed.dtype == np.float16
    np.testing.assert_allclose(packed.samples(), x, atol=2e-3)
    assert pack_healthy_samples(x * 1e6).packed.dtype == np.float32


def test_a_constant_channel_survives_packing() -> None:
    x = pictures(2)
    x[:, 1] = 0.25
    np.testing.assert_allclose(pack_healthy_samples(x).samples(), x, atol=1e-5)


def test_without_witness_no_picture_is_left() -> None:
    bare = two_tap_baseline().without_samples()
    assert bare.healthy_samples is None
    assert len(bare.to_bytes()) < len(two_tap_baseline().to_bytes()) - 5 * 3 * 256
    assert bare.id == two_tap_baseline().id


@pytest.mark.parametrize("keep", [0, 7, 100, 1000, -1])
def test_a_cut_file_is_refused(tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut").write_bytes(two_tap_baseline().to_bytes()[:keep])
    with pytest.raises(BaselineError, match="cut"):
        Baseline.load(tmp_path / "cut")


def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    rng, good, path = np.random.default_rng(0), two_tap_baseline().to_bytes(), tmp_path / "b"
    refused = 0
    for _ in range(300):
        bad = bytearray(good)
        for at in rng.integers(0, 1200, 4):
            bad[at] = rng.integers(256)
        path.write_bytes(bad)
        try:
            Baseline.load(path)
        except BaselineError:
            refused += 1
    assert refused > 150


def test_a_patch_is_no_baseline(tmp_path: Path) -> None:
    Patch({"input": Affine(np.ones(3, np.float32), np.zeros(3, np.float32))}, "a", "b", "c", 1, 0.0).save(
        tmp_path / "p"
    )
    with pytest.raises(BaselineError, match="'patch'"):
        Baseline.load(tmp_path / "p")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("count", -1, "count.*-1"),
        ("effective_count", float("nan"), "effective_count.*nan"),
        ("created_wall_s", 1e300, "1e\\+300"),
        ("format", 99, "99, which a newer version wrote"),
        ("facts", {"expires_wall_s": 1e300}, "1e\\+300"),
        ("class_scores", "votes", "'votes'"),
        ("count", float("inf"), "inf"),
        ("count", 10**400, "large"),
        ("effective_count", float("-inf"), "inf"),
        ("input_shape", [3, float("inf"), 16], "infinity"),
        ("input_shape", [3, 10**400, 16], "shape"),
        ("input_shape", float("nan"), "iterable"),
        ("taps", [["input", float("inf"), 1]], "infinity"),
        ("taps", [["input", 3, float("inf")]], "moments"),
        ("taps", [["input", 3, float("nan")]], "moments"),
        ("taps", [["input", 10**30, 1]], "moments"),
        ("created_wall_s", float("nan"), "nan"),
        ("facts", {"sample_period_s": float("inf")}, "finite"),
        ("facts", {"blessed_wall_s": 10**400}, "large"),
        (
            "detection_layout",
            {"packing": "columns", "boxes": "b", "max_detections": float("inf")},
            "infinity",
        ),
    ],
)
def test_a_header_with_values_that_cannot_be_is_refused(
    tmp_path: Path, field: str, value: object, says: str
) -> None:
    arrays, header = tensor_file.decode("baseline", two_tap_baseline().to_bytes())
    facts = {key: known for key, known in header.items() if key != "kind"}
    (tmp_path / "b").write_bytes(tensor_file.encode("baseline", arrays, {**facts, field: value}))
    with pytest.raises(BaselineError, match=says):
        Baseline.load(tmp_path / "b")
