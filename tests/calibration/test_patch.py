"""Patches as data: the correction's formula, its limits, the file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import PatchError
from calibration.patch import SCALE_LIMITS, Affine, Patch, clipped_channels, correction
from calibration.stats import tensor_file
from calibration.stats.moments import TapMoments


def tap(mean: list[float], var: list[float]) -> TapMoments:
    return TapMoments(np.asarray(mean, float), np.asarray(var, float), 10.0)


def a_patch() -> Patch:
    rng = np.random.default_rng(0)
    taps = {
        name: Affine(rng.uniform(0.5, 2, c).astype(np.float32), rng.normal(0, 1, c).astype(np.float32))
        for name, c in (("input", 3), ("a/conv", 8))
    }
    return Patch(taps, "f" * 64, "b" * 16, "input", 40, 1.7e9)


def test_corrected_data_has_the_baseline_moments() -> None:
    rng = np.random.default_rng(0)
    y, healthy = rng.normal(5, 3, (1000, 2)), tap([1, -2], [4, 1])
    affine = correction(TapMoments(y.mean(0), y.var(0), 1000.0), healthy)
    fixed = y * affine.scale + affine.offset
    np.testing.assert_allclose(fixed.mean(0), healthy.mean, atol=1e-5)
    np.testing.assert_allclose(fixed.var(0), healthy.var, rtol=1e-3)


@pytest.mark.parametrize("prior", [0.0, 0.3, 0.6])
def test_no_drift_gives_exactly_the_identity(prior: float) -> None:
    healthy = tap([0.1, 12345.678, 0.0], [0.7, 1e-9, 0.0])
    assert not correction(healthy, healthy, prior).touched.any()


def test_scales_stay_within_their_limits_and_are_counted() -> None:
    affine = correction(tap([0, 0, 0], [1e6, 1e-6, 1]), tap([0, 0, 0], [1, 1, 1]))
    np.testing.assert_allclose(affine.scale, [*SCALE_LIMITS, 1.0])
    assert clipped_channels({"t": affine}) == 2


def test_a_dead_channel_is_only_shifted() -> None:
    affine = correction(tap([2, 0], [0, 1]), tap([1, 0], [0, 1]))
    assert affine.scale.tolist() == [1, 1]
    assert affine.offset.tolist() == [-1, 0]


def test_part_way_lies_between_nothing_and_all() -> None:
    whole = Affine(np.asarray([3], np.float32), np.asarray([1], np.float32))
    half = whole.part_way(0.5)
    assert (half.scale[0], half.offset[0]) == (2, 0.5)
    assert not whole.part_way(0.0).touched.any()


def test_the_file_gives_back_the_same_patch(tmp_path: Path) -> None:
    patch = a_patch()
    patch.save(tmp_path / "p.safetensors")
    again = Patch.load(tmp_path / "p.safetensors")
    assert again.id == patch.id
    assert list(again.taps) == list(patch.taps)
    assert replace(again, taps={}) == replace(patch, taps={})
    assert [f.name for f in tmp_path.iterdir()] == ["p.safetensors"]


def test_a_patch_of_21000_channels_stays_small() -> None:
    taps = {
        f"/blocks.{i}/conv/output": Affine(np.ones(429, np.float32), np.zeros(429, np.float32))
        for i in range(49)
    }
    assert len(replace(a_patch(), taps=taps).to_bytes()) < 250_000


@pytest.mark.parametrize("keep", [0, 4, 8, 40, 200, -1])
def test_a_cut_file_is_refused_with_its_name(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(a_patch().to_bytes()[:keep])
    with pytest.raises(PatchError, match=r"cut\.safetensors"):
        Patch.load(path)


def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    rng, good, path = np.random.default_rng(0), a_patch().to_bytes(), tmp_path / "p"
    refused = 0
    for _ in range(300):
        bad = bytearray(good)
        for at in rng.integers(0, min(len(bad), 700), 3):
            bad[at] = rng.integers(256)
        path.write_bytes(bad)
        try:
            Patch.load(path)
        except PatchError:
            refused += 1
    assert refused > 150


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_impossible_scales_are_refused(scale: float) -> None:
    with pytest.raises(PatchError):
        Affine(np.asarray([scale], np.float32), np.asarray([0], np.float32))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PatchError):
        Patch.load(tmp_path / "nothing")


def test_a_header_of_more_values_than_a_patch_has_is_refused_before_it_is_parsed() -> None:
    said = b'{"a": [%s]}' % b",".join([b"{}"] * tensor_file.MOST_HEADER_VALUES)
    with pytest.raises(tensor_file.TensorFileProblem, match=str(tensor_file.MOST_HEADER_VALUES)):
        tensor_file.decode("patch", len(said).to_bytes(8, "little") + said)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frames", float("inf")),
        ("frames", float("nan")),
        ("frames", None),
        ("frames", {}),
        ("created_wall_s", float("inf")),
        ("created_wall_s", float("nan")),
        ("created_wall_s", 10**400),
        ("taps", [["input", float("inf")]]),
        ("taps", [["input", float("nan")]]),
        ("taps", [["input", 10**400]]),
        ("taps", [["input"]]),
        ("taps", 7),
        ("format", float("inf")),
    ],
)
def test_a_header_with_numbers_that_cannot_be_is_refused(tmp_path: Path, field: str, value: object) -> None:
    arrays, header = tensor_file.decode("patch", a_patch().to_bytes())
    facts = {key: known for key, known in header.items() if key != "kind"}
    (tmp_path / "p").write_bytes(tensor_file.encode("patch", arrays, {**facts, field: value}))
    with pytest.raises(PatchError):
        Patch.load(tmp_path / "p")
