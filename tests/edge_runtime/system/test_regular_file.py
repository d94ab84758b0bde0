from pathlib import Path

from edge_runtime.system.regular_file import read_marks


def test_marks_change_when_a_file_is_written_replaced_or_removed(tmp_path: Path) -> None:
    path, other, still = tmp_path / "file", tmp_path / "other", tmp_path / "still"
    still.write_text("as it is")
    seen = [read_marks(path, still)]
    path.write_text("one")
    seen.append(read_marks(path, still))
    path.write_text("longer")
    seen.append(read_marks(path, still))
    other.write_text("longer")
    other.replace(path)
    seen.append(read_marks(path, still))
    path.unlink()
    seen.append(read_marks(path, still))
    assert seen[0] == seen[-1]
    assert len({marks[0] for marks in seen}) == 4
    assert len({marks[1] for marks in seen}) == 1
    assert seen[0][0] is None
