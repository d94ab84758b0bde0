"""Requests and results survive their JSON, and what is malformed is refused with the name of the field."""

from dataclasses import replace
from pathlib import Path

import pytest

from calibration import FrameCounts, Verdict
from calibration.baseline.metadata import BaselineFacts
from edge_runtime.errors import StateError
from edge_runtime.recalibration.job.messages import (
    CommissioningResult,
    JobFailure,
    JobRequest,
    encode_request,
    encode_result,
    make_report,
    parse_request,
    parse_result,
)
from edge_runtime.recalibration.reference.reservoir import InputMoments
from edge_runtime.recalibration.task import Cause, Kind
from tests.support.event_examples import a_report

REQUEST = JobRequest(Kind.RECALIBRATE, Cause.DRIFT, 1.5, Path("/b/1"), Path("/s/day"), None, 64, True, 1024)


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        replace(
            REQUEST, kind=Kind.COMMISSION, facts=BaselineFacts("day", streams=("a", "b"), blessed_wall_s=1.0)
        ),
        replace(REQUEST, reference_folder=Path("/r"), strictness=2.0, margin=0.1),
        replace(REQUEST, further_input=(InputMoments((0.1, 0.2), (1.0, 2.0)),)),
    ],
)
def test_a_request_is_the_same_on_the_other_side(request_):
    assert parse_request(encode_request(request_)) == request_


@pytest.mark.parametrize(
    "result",
    [
        CommissioningResult(16, 5, 12.5),
        a_report(),
        a_report(accepted=False),
        JobFailure("too dark", is_lasting=True),
    ],
)
def test_a_result_is_the_same_on_the_other_side(result):
    assert parse_result(encode_result(result)) == result


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"frames": "many"}'])
def test_what_is_malformed_is_refused(data):
    with pytest.raises(StateError, match=r"job\.json"):
        parse_request(data)
    with pytest.raises(StateError, match=r"outcome\.json"):
        parse_result(data)


def test_a_refusal_names_the_field():
    with pytest.raises(StateError, match="memory_mib"):
        parse_request(encode_request(REQUEST).replace(b"1024", b'"much"'))


def test_a_report_has_every_count_of_the_verdict():
    counts = FrameCounts(64, {"repeated": 3}, observed=45, judged=16, healthy_samples=48)
    verdict = Verdict(False, "identity", None, (), {}, {}, counts)
    assert make_report(verdict, REQUEST).frames == counts
