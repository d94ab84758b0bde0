"""Where reports are kept: bounded, by id, and never outside their folder."""

import orjson
import pytest

from edge_runtime.deployment.reports import KEPT, LARGEST_PAGE_BYTES, Reports


def finished(tmp_path, text="<p>page</p>", **figures):
    folder = tmp_path / "job" / "report"
    folder.mkdir(parents=True)
    (folder / "report.json").write_bytes(orjson.dumps({"accepted": False, **figures}))
    (folder / "report.html").write_text(text)
    return folder


@pytest.fixture
def reports(tmp_path):
    kept = Reports.of(tmp_path / "state", "parts")
    kept.folder.mkdir(parents=True)
    return kept


def test_a_refused_one_is_kept_with_its_own_id(tmp_path, reports):
    folder = finished(tmp_path, candidate="identity")
    assert reports.keep(folder) == "r1"
    assert not folder.exists()
    assert reports.read_page("r1") == b"<p>page</p>"
    assert reports.read_figures("r1") == {"accepted": False, "candidate": "identity"}
    assert reports.list_ids() == ["r1"]


def test_only_the_newest_stay(tmp_path, reports):
    given = [reports.keep(finished(tmp_path)) for _ in range(KEPT + 3)]
    assert given[-1] == f"r{KEPT + 3}"
    assert len(reports.list_ids()) == KEPT
    assert reports.read_page("r3") is None
    assert reports.read_page("r4") is not None


def test_accepted_ones_are_found_with_their_patches(tmp_path, reports):
    finished(tmp_path).rename(reports.folder / "p2-unfinished")
    (reports.folder / "patches").mkdir()
    finished(tmp_path).rename(reports.folder / "patches" / "p2")
    reports.keep(finished(tmp_path))
    assert sorted(reports.list_ids()) == ["p2", "r1"]
    assert reports.has_page("p2")


@pytest.mark.parametrize(
    "report_id", ["", "..", "p1/../../../secret", "r0", "x1", "r1\n", "r\u0661", "p" + "9" * 40]
)
def test_an_id_that_cannot_be_one_reads_nothing(tmp_path, reports, report_id):
    (tmp_path / "state" / "report.html").write_text("secret")
    assert reports.read_page(report_id) is None
    assert reports.read_figures(report_id) is None


def test_what_is_missing_damaged_or_far_too_large_is_no_report(tmp_path, reports):
    assert reports.list_ids() == []
    assert reports.keep(tmp_path / "missing") is None
    reports.keep(finished(tmp_path, text="x" * (LARGEST_PAGE_BYTES + 1)))
    (reports.folder / "reports" / "r1" / "report.json").write_bytes(b"[1")
    assert (reports.read_page("r1"), reports.read_figures("r1")) == (None, None)


def test_a_disk_that_refuses_costs_the_report_and_nothing_else(tmp_path, reports):
    reports.folder.mkdir(parents=True, exist_ok=True)
    (reports.folder / "reports").symlink_to(tmp_path / "a disk that is not mounted")
    assert reports.keep(finished(tmp_path)) is None


def test_trials_of_versions_have_ids_of_their_own(tmp_path, reports):
    reports.keep(finished(tmp_path))
    assert reports.keep(finished(tmp_path, candidate="parts/2"), "t") == "t1"
    assert sorted(reports.list_ids()) == ["r1", "t1"]
    assert reports.read_figures("t1") == {"accepted": False, "candidate": "parts/2"}
    assert reports.has_page("t1")
