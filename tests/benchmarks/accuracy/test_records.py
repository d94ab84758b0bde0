from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.accuracy.records import (
    CANDIDATE,
    GATE,
    NOTHING,
    Case,
    Records,
    RecordsDamaged,
    Row,
    from_line,
    to_line,
)

CASE = Case("fashion_mnist", 0, "fog", 3, 64)
ROW = Row(CASE, GATE, 0.9, 0.5, 0.75, "input", accepted=True, seconds=1.5, detail={"gain": 0.25})
DONE = replace(ROW, method=NOTHING, after=0.5, chosen="identity", accepted=False, detail={})


def test_a_row_survives_its_line() -> None:
    assert from_line(to_line(ROW)) == ROW


def test_rows_come_back_in_order_from_a_file_a_track(tmp_path: Path) -> None:
    records = Records(tmp_path / "new")
    other = replace(DONE, case=replace(CASE, track="photo_cutouts"))
    records.append([DONE, ROW])
    records.append([other])
    assert records.load() == [ROW, DONE, other]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "track-fashion_mnist.jsonl",
        "track-photo_cutouts.jsonl",
    ]


def test_a_case_is_done_when_its_last_row_was_written(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.append([ROW])
    assert not records.done()
    assert not records.load()
    records.append([DONE])
    assert records.done() == {CASE}


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.append([ROW, DONE])
    path = tmp_path / "track-fashion_mnist.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert not records.done()
    records.append([ROW, DONE])
    assert records.load() == [ROW, DONE]


def test_a_case_measured_again_counts_once_and_with_its_newer_rows(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.append([ROW, DONE])
    records.append([replace(ROW, after=0.8), DONE])
    assert [row.after for row in records.load()] == [0.8, 0.5]


def test_damage_elsewhere_is_named_with_file_and_line(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.append([ROW, DONE])
    path = tmp_path / "track-fashion_mnist.jsonl"
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(RecordsDamaged, match=r"track-fashion_mnist\.jsonl.*\b1\b.*--fresh"):
        records.load()


def test_clearing_a_track_leaves_the_others(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.append(
        [DONE, replace(DONE, case=replace(CASE, track="photo_cutouts")), replace(ROW, method=CANDIDATE)]
    )
    records.clear(["fashion_mnist"])
    assert [row.case.track for row in records.load()] == ["photo_cutouts"]


def test_records_of_an_older_run_have_letters_for_tracks(tmp_path: Path) -> None:
    old = to_line(DONE).replace(b'"fashion_mnist"', b'"a"')
    (tmp_path / "track-a.jsonl").write_bytes(old)
    records = Records(tmp_path)
    assert records.load() == [DONE]
    records.append([replace(DONE, before=0.4)])
    assert [row.before for row in records.load()] == [0.4]
    records.clear(["fashion_mnist"])
    assert records.load() == []
