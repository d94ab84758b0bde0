from pathlib import Path

import pytest

from benchmarks.accuracy.poison_records import PoisonRecords, PoisonRow
from benchmarks.accuracy.records import RecordsDamaged

ROW = PoisonRow(
    "photo_cutouts", 3, "burnt out", "camera:haze", "input", "", 0.9, 0.8, spoilt_before=0.2, spoilt_after=0.1
)


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    records = PoisonRecords(tmp_path / "new")
    assert records.load() == []
    records.append(ROW)
    records.append(ROW)
    assert PoisonRecords(tmp_path / "new").load() == [ROW, ROW]


def test_a_line_that_was_not_finished_is_left_out_and_written_over(tmp_path: Path) -> None:
    records = PoisonRecords(tmp_path)
    records.append(ROW)
    path = tmp_path / "poison.jsonl"
    path.write_bytes(path.read_bytes() + b'{"track": "pho')
    assert records.load() == [ROW]
    records.append(ROW)
    assert records.load() == [ROW, ROW]


@pytest.mark.parametrize("line", [b"{}\n", b"[1]\n", b"nothing\n"])
def test_a_line_that_is_no_row_is_refused_with_its_place(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "poison.jsonl").write_bytes(line)
    with pytest.raises(RecordsDamaged, match="line 1"):
        PoisonRecords(tmp_path).load()


def test_harm_of_a_whole_set_is_counted_on_pictures_spoilt_alike() -> None:
    assert ROW.harm == pytest.approx(0.1)
    assert ROW.is_harmful
    assert not PoisonRow("fashion_mnist", 0, "black", "none", "refused", "", 0.9, 0.9).is_harmful
