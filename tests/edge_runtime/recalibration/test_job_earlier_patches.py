"""A job and the patches of before: a known one is used again, one that cannot be used is named and left out."""

from dataclasses import replace

import pytest

from calibration import Patch
from calibration.baseline.metadata import BaselineFacts
from edge_runtime.config import RecalibrationConfig, ReferenceConfig
from edge_runtime.recalibration.job.messages import PROGRESS, RESULT, CommissioningResult, JobRequest
from edge_runtime.recalibration.task import Cause, ChosenReference, Kind
from tests.support.jobs import run_job
from tests.support.onnx_nets import hazy
from tests.support.small_site import frames_of, small_bundle

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A request for a site whose drift was answered before, and that patch's file."""
    folder = tmp_path_factory.mktemp("site")
    bundle = small_bundle(folder)
    request = JobRequest(
        Kind.COMMISSION,
        Cause.DRIFT,
        0.0,
        bundle.path,
        folder / "healthy" / "baseline.safetensors",
        ChosenReference(),
        48,
        RecalibrationConfig(reference=ReferenceConfig(frames=48)),
        BaselineFacts(),
        (),
        bundle.manifest.sha256,
    )
    assert isinstance(run_job(folder / "healthy", request, frames_of(96, 1)), CommissioningResult)
    request = replace(request, kind=Kind.RECALIBRATE)
    report = run_job(folder / "first", request, frames_of(48, 2, hazy))
    assert (report.accepted, report.is_known) == (True, False)
    return request, folder / "first" / "patch" / "patch.safetensors"


def test_a_known_patch_is_used_again_and_no_other_one_is_made(site, tmp_path):
    request, patch = site
    report = run_job(tmp_path / "job", replace(request, known={"p7": patch}), frames_of(48, 3, hazy))
    assert (report.accepted, report.is_known, report.candidate) == (True, True, "p7")
    assert report.patch.id == Patch.load(patch).id
    assert report.model_sha256 == load_model_sha256(patch)
    assert report.frames.distilled_from == 0
    assert not (tmp_path / "job" / "patch").exists()
    assert (tmp_path / "job" / "report" / "report.html").is_file()
    assert PROGRESS.read(tmp_path / "job").phase == "writing"


def load_model_sha256(patch):
    return RESULT.read(patch.parent.parent).model_sha256


def damaged(patch, folder):
    path = folder / "damaged"
    path.write_bytes(patch.read_bytes()[:-7])
    return path


def of_another_baseline(patch, folder):
    path = folder / "other"
    replace(Patch.load(patch), baseline_id="f" * 16).save(path)
    return path


def missing(patch, folder):
    return folder / "missing"


@pytest.mark.parametrize("spoil", [damaged, of_another_baseline, missing])
@pytest.mark.parametrize("use", ["known", "start"])
def test_a_patch_that_cannot_be_used_is_named_and_left_out(site, tmp_path, spoil, use):
    request, patch = site
    bad = spoil(patch, tmp_path)
    given = {"known": {"p1": bad, "p7": patch}} if use == "known" else {"start": bad}
    report = run_job(tmp_path / "job", replace(request, **given), frames_of(48, 3, hazy))
    assert report.accepted
    assert report.is_known is (use == "known")
    assert sum(str(bad) in note or "ffffffffffffffff" in note for note in report.notes) == 1
