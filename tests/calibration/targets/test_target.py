"""The flow around every framework, on a backend that counts its calls: the mean of each channel is its one tap."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest

from calibration.errors import DataError, ModelError, PatchError, TapMismatch
from calibration.patch import Affine, Patch
from calibration.stats.moments import INPUT_TAP, Moments, moments_of_frames
from calibration.targets import passes
from calibration.targets.base import Batch, ModelFiles, Normalisation, SkippedLayer, TapInfo
from calibration.targets.target import Target


class CountingBackend:
    """Gives its input back, and remembers sizes of batches and observers."""

    name = "m"
    skipped: tuple[SkippedLayer, ...] = ()
    shared_outputs: tuple[str, ...] = ("same",)
    taps: tuple[TapInfo, ...] = (TapInfo("tap", 3, "Identity"),)

    def __init__(
        self, shape: tuple[int | None, ...] | None = (None, 3, None), batch_bytes: int | None = None
    ) -> None:
        self.files = ModelFiles(b"model", b"weights")
        self.input_shape, self.batch_bytes = shape, batch_bytes
        self.observers: list[Moments | None] = []
        self.sizes: list[int] = []

    def describe(self) -> dict[str, Any]:
        return {"format": "none"}

    def running(self) -> AbstractContextManager[None]:
        return nullcontext()

    def prepare(self, first_taps: int | None, baseline: Moments | None, /) -> passes.Measure:
        self.observers.append(baseline)

        def run(batch: Batch) -> passes.Rows:
            self.sizes.append(len(batch))
            return {"tap": moments_of_frames(batch)}

        return lambda _normalise: run

    def correct(self, affines: Mapping[str, Affine]) -> tuple[Any, dict[str, int]]:
        return "corrected", {"tap": 2, "other": 0}

    def save(self, corrected: Any) -> ModelFiles:
        return ModelFiles(corrected.encode())

    def load(self, corrected: Any | None) -> passes.Answers:
        def run(batch: Batch) -> dict[str, Any]:
            self.sizes.append(len(batch))
            return dict.fromkeys((*self.shared_outputs, f"of {len(batch)}"), batch)

        return run

    def build_probe(self, first_taps: int) -> ModelFiles:
        return ModelFiles(b"probe")


def patch_of(target: Target, scale: float, tap: str = "tap") -> Patch:
    affine = Affine(np.full(3, scale, np.float32), np.zeros(3, np.float32))
    return Patch({tap: affine}, target.sha256, "", "x", 1, 0.0)


X = np.random.default_rng(0).normal(0, 1, (11, 3, 4)).astype(np.float32)


def test_an_observer_is_kept_for_a_baseline_until_the_model_runs() -> None:
    backend = CountingBackend()
    target = Target(backend)
    baseline = target.observe(X).moments
    for prior in (0.0, 0.5):
        target.observe(X, Normalisation(baseline, prior))
    assert backend.observers == [None, baseline]
    target.runner()
    target.observe(X, Normalisation(baseline))
    assert backend.observers == [None, baseline, baseline]


def test_a_patch_that_changes_nothing_gives_the_files_themselves() -> None:
    target = Target(CountingBackend())
    assert target.patched(patch_of(target, 1.0)).files == ModelFiles(b"model", b"weights")
    done = target.patched(patch_of(target, 2.0))
    assert (done.data, done.left_alone) == (b"corrected", {"tap": 2})


@pytest.mark.parametrize(("shape", "sizes"), [((4, 3, 4), [4, 4, 4]), ((None, 3, None), [8, 3])])
def test_a_fixed_batch_is_filled_up_and_cut_again(shape: tuple[int | None, ...], sizes: list[int]) -> None:
    backend = CountingBackend(shape)
    outputs = Target(backend).runner()(X)
    np.testing.assert_array_equal(outputs["same"], X)
    assert backend.sizes == sizes
    assert "of 3" not in outputs


def test_a_model_whose_batches_share_no_output_is_refused() -> None:
    backend = CountingBackend()
    backend.shared_outputs = ()
    with pytest.raises(ModelError) as caught:
        Target(backend).runner()(X)
    assert caught.value.fix


def test_bytes_of_a_batch_bound_the_frames_run_together() -> None:
    backend = CountingBackend(batch_bytes=2 * X[0].nbytes)
    Target(backend).runner()(X[:4])
    assert backend.sizes == [2, 2]


def test_a_shape_that_the_file_does_not_tell_fits_all_pictures() -> None:
    target = Target(CountingBackend(None))
    assert target.input_shape == (None, None)
    assert target.observe(X).moments[INPUT_TAP].mean.shape == (3,)


def test_strange_samples_baselines_and_patches_are_refused() -> None:
    target = Target(CountingBackend())
    baseline = target.observe(X).moments
    with pytest.raises(DataError):
        target.observe(X[:, :2])
    with pytest.raises(TapMismatch):
        target.observe(X, Normalisation(Moments({INPUT_TAP: baseline[INPUT_TAP]})))
    with pytest.raises(PatchError):
        target.runner(patch_of(target, 2.0, "other"))
