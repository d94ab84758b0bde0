"""The tables of ``calibration.md``, the page that explains the method; its prose is by hand.

A table stands between ``<!-- NAME: ... -->`` and ``<!-- /NAME -->``. Pure text.
"""

import re
from collections.abc import Mapping, Sequence

from benchmarks.accuracy.poison_records import PoisonRow
from benchmarks.accuracy.records import FASHION_MNIST, PEDESTRIANS, PHOTO_CUTOUTS, Row
from benchmarks.accuracy.tables import markdown
from benchmarks.accuracy.tables.goals import goals

NAME = "calibration.md"
NOT_MEASURED = "Not measured yet."


class PageDamaged(Exception):
    """The page has no place for a table; the message names it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{NAME}: no lines '<!-- {name}: ... -->' and '<!-- /{name} -->', in that order, once each"
        )


def parts(rows: Sequence[Row], poisoned: Sequence[PoisonRow]) -> dict[str, str]:
    """Every table by its name."""
    photos, small, detector = (
        [row for row in rows if row.case.track == track]
        for track in (PHOTO_CUTOUTS, FASHION_MNIST, PEDESTRIANS)
    )
    found = {
        "goals": goals(rows, poisoned),
        "photo drifts": markdown.by_drift(photos),
        "photo methods": markdown.by_method(photos),
        "photo sizes": markdown.by_size(photos),
        "photo streams": markdown.by_stream(photos),
        "photo severities": markdown.by_severity(photos),
        "fashion methods": markdown.by_method(small),
        "fashion sizes": markdown.by_size(small),
        "fashion streams": markdown.by_stream(small),
        "pedestrian drifts": markdown.by_drift(detector),
        "healthy": markdown.healthy(rows),
        "gate": markdown.gate(rows),
        "poison": markdown.poison(poisoned),
    }
    return {name: text or NOT_MEASURED for name, text in found.items()}


def fill(page: str, tables: Mapping[str, str]) -> str:
    """The page with these tables in their places.

    Raises:
        PageDamaged: a table has no place, or several.
    """
    for name, text in tables.items():
        end = f"<!-- /{name} -->"
        found = re.findall(rf"<!-- {re.escape(name)}:[^\n]*-->\n.*?{re.escape(end)}", page, re.DOTALL)
        if len(found) != 1:
            raise PageDamaged(name)
        head = found[0].split("\n", 1)[0]
        page = page.replace(found[0], f"{head}\n\n{text}\n\n{end}")
    return page
