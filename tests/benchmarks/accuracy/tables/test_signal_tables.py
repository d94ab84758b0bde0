"""The table about signals."""

from benchmarks.accuracy.records import GATE, NOTHING, Case, Row
from benchmarks.accuracy.tables.signal_tables import sections


def rows(drift: str, seed: int, before: float, after: float, stream: str = "iid") -> list[Row]:
    case = Case("signals", seed, f"set: {drift}", 5, 64, stream)
    nothing = Row(case, NOTHING, 0.9, before, before, "identity")
    return [nothing, Row(case, GATE, 0.9, before, after, "input", accepted=after != before)]


def test_a_data_set_is_a_section_and_a_drift_a_line() -> None:
    found = [*rows("gain", 0, 0.5, 0.9), *rows("gain", 1, 0.7, 0.8), *rows("another machine", 0, 0.1, 0.1)]
    [text] = sections(found)
    gain, other = text.splitlines()[-2:]
    assert [cell.strip() for cell in gain.split("|")[1:-1]] == [
        "gain", "0.900", "0.600", "0.850", "0.83 ± 0.25", "+10.0", "2 of 2", "-",
    ]  # fmt: skip
    assert "0 of 1" in other


def test_a_drift_that_costs_nothing_has_nothing_to_recover() -> None:
    [text] = sections(rows("soft", 0, 0.9, 0.9))
    assert "±" not in text
