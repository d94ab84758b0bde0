from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.records import CANDIDATE, GATE, NOTHING, Case, Row
from benchmarks.accuracy.tables import figures, markdown
from benchmarks.accuracy.tables.pages import write_pages

pytestmark = pytest.mark.integration


def rows(
    seed: int = 0, drift: str = "fog", after: float = 0.7, n: int = 64, stream: str = "iid"
) -> list[Row]:
    """One case: healthy .9, .5 under the drift, two helpful candidates and a harmful one."""
    nothing = Row(Case("fashion_mnist", seed, drift, 3, n, stream), NOTHING, 0.9, 0.5, 0.5, "identity")
    truth = {"input": (0.7, True), "first 3 taps": (0.8, False), "all taps": (0.3, False)}
    candidates = [
        replace(nothing, method=CANDIDATE, chosen=name, after=value, accepted=value == after,
                detail={"accepted_alone": float(alone)})
        for name, (value, alone) in truth.items()
    ]  # fmt: skip
    return [nothing, replace(nothing, method=GATE, after=after, chosen="input", accepted=True), *candidates]


def of_method(found: list[Row], method: str) -> list[Row]:
    return [row for row in found if row.method == method]


def test_recovered_is_pooled_over_cases_not_averaged() -> None:
    small = [
        replace(row, before=0.89, after=0.9 if row.method == GATE else 0.89) for row in rows(drift="snow")
    ]
    pooled = figures.recovered(of_method(rows() + small, GATE))
    assert pooled == pytest.approx((0.2 + 0.01) / (0.4 + 0.01))


def test_nothing_lost_gives_no_share() -> None:
    assert np.isnan(figures.recovered([replace(row, before=0.9) for row in rows()]))


def test_spread_is_taken_over_the_seeds() -> None:
    found = figures.pooled(of_method(rows(0, after=0.7) + rows(1, after=0.6), GATE))
    assert found is not None
    assert found.recovered_spread == pytest.approx(np.std([0.5, 0.25], ddof=1))
    assert figures.pooled([]) is None


def test_a_loss_of_more_than_a_point_is_harm() -> None:
    found = figures.pooled(of_method(rows(after=0.485) + rows(1, after=0.495), GATE))
    assert found is not None
    assert found.harmed == 1
    assert found.worst == pytest.approx(-0.015)


def test_best_candidate_may_be_doing_nothing() -> None:
    worse = [replace(row, after=0.4) if row.method == CANDIDATE else row for row in rows()]
    assert [row.method for row in figures.best_candidates(worse)] == [NOTHING]
    assert [row.after for row in figures.best_candidates(rows())] == [0.8]


def test_gate_is_held_against_the_truth_of_every_candidate() -> None:
    found = figures.gate_figures(rows())
    assert found is not None
    assert (found.candidates, found.helpful, found.harmful) == (3, 2, 1)
    assert (found.helpful_accepted_alone, found.harmful_accepted_alone, found.harmful_chosen) == (1, 0, 0)
    assert (found.cases_with_help, found.helped) == (1, 1)
    assert found.recovered == pytest.approx(0.5)
    assert found.possible == pytest.approx(0.75)


def test_streams_stand_next_to_the_iid_cases_of_the_same_drifts() -> None:
    text = markdown.by_stream(rows() + rows(drift="snow", after=0.9) + rows(stream="2-class", after=0.6))
    lines = text.splitlines()
    assert lines[2].startswith("| 2-class | 1 | 0.500 | 0.600 | 0.25")
    assert lines[3].startswith("| iid, the same cases as 2-class | 1 | 0.500 | 0.700 | 0.50")


def test_page_is_written_from_rows_alone_and_twice_the_same(tmp_path: Path) -> None:
    found = [row for n in (16, 64) for seed in (0, 1) for row in rows(seed, n=n)]
    pages = [write_pages(found, tmp_path / name, "2020-01-02")[0] for name in "xy"]
    text = pages[0].read_text()
    assert "do not edit" in text
    assert "2020-01-02" in text
    plots = sorted(path.name for path in (tmp_path / "x").glob("*.svg"))
    assert plots == ["fashion_mnist-candidates.svg", "fashion_mnist-drifts.svg", "fashion_mnist-sizes.svg"]
    assert all(f"({name})" in text for name in plots)
    for name in ("accuracy.md", *plots):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


def test_sizes_are_compared_where_several_were_tried() -> None:
    found = rows(n=16) + rows(n=64) + rows(1, n=64) + rows(n=32, stream="2-class")
    assert {(row.case.n, row.case.seed, row.case.stream) for row in figures.of_several_sizes(found)} == {
        (16, 0, "iid"),
        (64, 0, "iid"),
    }


def test_every_track_has_its_own_main_size() -> None:
    of_b = [
        replace(row, case=replace(row.case, track="photo_cutouts", drift="camera:haze", severity=5, n=128))
        for row in rows()
    ]
    assert all(map(figures.is_main, of_b))
    assert not any(figures.is_main(replace(row, case=replace(row.case, n=64))) for row in of_b)


def test_the_main_drifts_of_the_small_net_are_corruptions() -> None:
    [corruption, *_] = rows()
    camera = replace(corruption, case=replace(corruption.case, drift="camera:haze", severity=5))
    assert figures.is_main(corruption)
    assert not figures.is_main(camera)


def test_gains_are_compared_in_cases_that_both_methods_have() -> None:
    alone = rows(drift="snow")
    both = rows()
    other = replace(both[0], method="float, TENT", before=0.4, after=0.45)
    ours, theirs = figures.gains([*alone, *both, other], GATE, "float, TENT")
    assert ours == pytest.approx([0.2])
    assert theirs == pytest.approx([0.05])
