"""What ``check`` says of the certificate of the servers, and ``doctor`` by its id."""

import datetime

import pytest
import trustme

from edge_runtime.cli.check_certificate import EXPIRED, UNUSABLE, look_at_certificate
from edge_runtime.cli.doctor.configuration import judge_check
from edge_runtime.config import Config

NOW = datetime.datetime.now(datetime.UTC)
MINIMAL = {
    "device": "box",
    "state_dir": "/nowhere",
    "models": {"m": {"bundle": "demo:efficientnet-lite0"}},
    "cameras": {"belt": {"path": "demo:conveyor", "model": "m"}},
}


def days(count: float) -> datetime.timedelta:
    return datetime.timedelta(days=count)


@pytest.fixture
def look(tmp_path):
    def look(begins=-9.0, ends=99.0, mode=0o600, key=None):
        issued = trustme.CA().issue_cert("box", not_before=NOW + days(begins), not_after=NOW + days(ends))
        tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
        issued.cert_chain_pems[0].write_to_path(tls["cert"])
        (key or issued).private_key_pem.write_to_path(tls["key"])
        (tmp_path / "key.pem").chmod(mode)
        problems, notes = look_at_certificate(Config.model_validate({**MINIMAL, "http": {"tls": tls}}))
        return [one.where for one in problems], [note.partition(": ")[0] for note in notes]

    return look


def test_one_that_lasts_is_no_finding(look):
    assert look() == ([], [])


def test_one_that_expires_soon_is_a_note(look):
    assert look(ends=13) == ([], ["http.tls.cert"])


def test_one_that_has_expired_is_a_problem(look):
    assert look(ends=-1) == ([EXPIRED], [])


def test_one_of_the_future_is_a_note_since_the_clock_may_be_wrong(look):
    assert look(begins=1) == ([], ["http.tls.cert"])


def test_a_key_that_every_user_may_read_is_a_note(look):
    assert look(mode=0o644) == ([], ["http.tls.key"])


def test_a_key_of_another_certificate_is_a_problem(look):
    assert look(key=trustme.CA().issue_cert("box")) == ([UNUSABLE], [])


@pytest.mark.parametrize(
    ("where", "found"), [(EXPIRED, "certificate.expired"), (UNUSABLE, "certificate.unusable")]
)
def test_the_doctor_knows_them_by_their_ids(where, found):
    problem = {"where": where, "line": 3, "problem": "it is bad", "exit_code": 78}
    checked = {"config": "box.yaml", "problems": [problem], "notes": [], "models": {}}
    assert [one.id for one in judge_check(checked)] == [found]


def test_a_problem_of_the_whole_file_names_no_key():
    problem = {"where": "", "line": None, "problem": "it is bad", "exit_code": 78}
    (one,) = judge_check({"config": "box.yaml", "problems": [problem], "notes": [], "models": {}})
    assert one.found == "box.yaml: it is bad"


def test_without_tls_nothing_is_looked_at():
    assert look_at_certificate(Config.model_validate(MINIMAL)) == ([], [])
