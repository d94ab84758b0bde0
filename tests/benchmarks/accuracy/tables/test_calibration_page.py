"""Tables go between their marks, and the prose around them stays."""

from pathlib import Path

import pytest

from benchmarks.accuracy.records import GATE, NOTHING, Case, Row
from benchmarks.accuracy.tables.calibration_page import NAME, PageDamaged, fill, parts
from benchmarks.accuracy.tables.pages import write_pages

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[4] / "docs" / "results" / NAME
CASE = Case("photo_cutouts", 0, "camera:haze", 5, 128)
ROWS = [Row(CASE, NOTHING, 0.9, 0.5, 0.5), Row(CASE, GATE, 0.9, 0.5, 0.7123, "distilled", accepted=True)]


def test_the_page_has_a_place_for_every_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    tables = parts(ROWS, [])
    once = fill(page, tables)
    assert fill(once, tables) == once
    assert "0.712" in once
    assert all(once.count(f"<!-- /{name} -->") == 1 for name in tables)


def test_prose_stays_and_old_tables_go() -> None:
    page = "before\n<!-- a: by hand no more -->\nold\n<!-- /a -->\nafter \\1\n"
    assert fill(page, {"a": "| \\g<0> |"}) == (
        "before\n<!-- a: by hand no more -->\n\n| \\g<0> |\n\n<!-- /a -->\nafter \\1\n"
    )


@pytest.mark.parametrize("page", ["", "<!-- a: x -->\n", "<!-- a: x -->\n<!-- /a -->\n" * 2])
def test_a_table_without_one_place_is_refused(page: str) -> None:
    with pytest.raises(PageDamaged, match="a"):
        fill(page, {"a": "new"})


def test_the_page_is_filled_where_it_is_and_not_made_elsewhere(tmp_path: Path) -> None:
    assert NAME not in [path.name for path in write_pages(ROWS, tmp_path, "today")]
    (tmp_path / NAME).write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    assert tmp_path / NAME in write_pages(ROWS, tmp_path, "today")
    assert "0.712" in (tmp_path / NAME).read_text(encoding="utf-8")
