"""Requests and results survive their JSON, and what is malformed is refused with the name of the field."""

from dataclasses import replace
from pathlib import Path

import pytest

from calibration import FrameCounts, Verdict
from calibration.baseline.metadata import BaselineFacts
from edge_runtime.config import RecalibrationConfig, ReferenceConfig
from edge_runtime.errors import StateError
from edge_runtime.recalibration.job.messages import (
    MOST_VALUES,
    REQUEST,
    RESULT,
    CommissioningResult,
    JobFailure,
    JobRequest,
    make_report,
)
from edge_runtime.recalibration.reference.reservoir import InputMoments
from edge_runtime.recalibration.task import Cause, ChosenReference, Kind
from tools.document.event_examples import a_report

SETTINGS = RecalibrationConfig(
    schedule="0 3 * * *", memory_mib=1024, reference=ReferenceConfig(folder="/r", pictures="never")
)
JOB = JobRequest(
    Kind.RECALIBRATE,
    Cause.DRIFT,
    1.5,
    Path("/b/1"),
    Path("/s/day"),
    ChosenReference(),
    64,
    SETTINGS,
    None,
    (),
    "b" * 64,
)


@pytest.mark.parametrize(
    "request_",
    [
        JOB,
        replace(
            JOB, kind=Kind.COMMISSION, facts=BaselineFacts("day", streams=("a", "b"), blessed_wall_s=1.0)
        ),
        replace(
            JOB,
            reference=ChosenReference("night", Path("/r")),
            is_dry_run=True,
            settings=RecalibrationConfig(strictness=2.0, margin=0.1),
        ),
        replace(JOB, further_input=(InputMoments((0.1, 0.2), (1.0, 2.0)),)),
    ],
)
def test_a_request_is_the_same_on_the_other_side(tmp_path, request_):
    REQUEST.write(tmp_path, request_)
    assert REQUEST.read(tmp_path) == request_


@pytest.mark.parametrize(
    "result",
    [
        CommissioningResult(16, 5, 12.5),
        a_report(),
        a_report(accepted=False),
        JobFailure("too dark", is_lasting=True),
    ],
)
def test_a_result_is_the_same_on_the_other_side(tmp_path, result):
    RESULT.write(tmp_path, result)
    assert RESULT.read(tmp_path) == result


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"frames": "many"}'])
@pytest.mark.parametrize("file", [REQUEST, RESULT])
def test_what_is_malformed_is_refused(tmp_path, data, file):
    (tmp_path / file.name).write_bytes(data)
    with pytest.raises(StateError, match=file.name):
        file.read(tmp_path)


@pytest.mark.parametrize("file", [REQUEST, RESULT])
def test_more_values_than_a_message_has_are_refused_before_they_are_parsed(tmp_path, file):
    many = b",".join([b"{}"] * MOST_VALUES)
    (tmp_path / file.name).write_bytes(b'{"further_input": [%s]}' % many)
    with pytest.raises(StateError, match=str(MOST_VALUES)):
        file.read(tmp_path)


def test_a_request_with_as_many_moments_as_the_configuration_allows_is_read(tmp_path):
    moments = InputMoments((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    request = replace(JOB, further_input=(moments,) * 4096)
    REQUEST.write(tmp_path, request)
    assert len(REQUEST.read(tmp_path).further_input) == 4096


def test_a_refusal_names_the_field(tmp_path):
    REQUEST.write(tmp_path, JOB)
    path = tmp_path / "job.json"
    path.write_bytes(path.read_bytes().replace(b"1024", b'"much"'))
    with pytest.raises(StateError, match="memory_mib"):
        REQUEST.read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b'"at_wall_s":1.5', b'"at_wall_s":"1.5"', "at_wall_s"),
        (b'"further_input":[]', b'"other":[]', "further_input"),
        (b'"facts":null,', b"", "facts"),
    ],
)
def test_a_field_that_is_missing_or_of_another_type_is_refused(tmp_path, old, new, field):
    REQUEST.write(tmp_path, JOB)
    path = tmp_path / "job.json"
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with pytest.raises(StateError, match=field):
        REQUEST.read(tmp_path)


def test_a_report_has_every_count_of_the_verdict():
    counts = FrameCounts(64, {"repeated": 3}, observed=45, judged=16, healthy_samples=48)
    verdict = Verdict(False, "identity", None, (), {}, {}, counts)
    assert make_report(verdict, JOB).frames == counts
