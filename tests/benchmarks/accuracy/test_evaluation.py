from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.accuracy import evaluation
from benchmarks.accuracy.drifts.streams import STREAMS
from benchmarks.accuracy.evaluation import CASES_A_TASK, TRACKS, main, tasks
from benchmarks.accuracy.records import CANDIDATE, GATE, NOTHING, Case, Records, Row
from benchmarks.accuracy.tables.figures import is_main
from benchmarks.accuracy.tracks import fashion_mnist, parity, pedestrians, photo_cutouts, signals

pytestmark = pytest.mark.integration


def test_every_case_is_planned_once() -> None:
    for plan in (fashion_mnist.plan, photo_cutouts.plan, pedestrians.plan, parity.plan, signals.plan):
        cases = plan(range(20, 25))
        assert len(set(cases)) == len(cases)
        assert {case.seed for case in cases} == set(range(20, 25))


def test_every_planned_stream_can_be_drawn() -> None:
    for plan in (fashion_mnist.plan, photo_cutouts.plan, pedestrians.plan):
        assert {case.stream for case in plan(range(20, 25))} <= set(STREAMS)


def test_main_setting_is_planned_for_every_track() -> None:
    nothing = {"healthy": 0.9, "before": 0.5, "after": 0.5}
    for plan in (fashion_mnist.plan, photo_cutouts.plan, pedestrians.plan):
        assert any(is_main(Row(case, NOTHING, **nothing)) for case in plan([20]))


def test_quick_is_a_part_of_the_whole() -> None:
    for plan in (fashion_mnist.plan, photo_cutouts.plan, pedestrians.plan, parity.plan, signals.plan):
        assert 0 < len(plan([20], quick=True)) < len(plan([20]))
        assert set(plan([20], quick=True)) <= set(plan([20]))


def test_goals_are_a_part_of_the_whole_and_have_every_main_case() -> None:
    nothing = {"healthy": 0.9, "before": 0.5, "after": 0.5}
    for plan in (fashion_mnist.plan, photo_cutouts.plan, pedestrians.plan):
        seeds = range(50, 55)
        asked, whole = plan(seeds, goals=True), plan(seeds)
        assert set(asked) < set(whole)
        corruptions_and_photos = [
            case
            for case in whole
            if is_main(Row(case, NOTHING, **nothing))
            and (case.track != "fashion_mnist" or case.severity == 3)
        ]
        assert set(corruptions_and_photos) <= set(asked)


def test_fashion_mnist_tries_enough_candidates_to_judge_the_gate() -> None:
    looked_at = [case for case in fashion_mnist.plan(range(5)) if CANDIDATE in fashion_mnist.methods(case)]
    assert len(looked_at) * 10 >= 500


def test_the_cases_of_every_track_are_shared_out() -> None:
    cases = evaluation.plan(list(TRACKS), [20, 21], quick=True)
    assert [case for task in tasks(cases) for case in task] == cases
    assert {case.track for case in cases} == set(TRACKS)


def test_a_task_holds_cases_of_one_seed() -> None:
    cases = fashion_mnist.plan([0, 1])
    found = list(tasks(cases))
    assert [case for task in found for case in task] == cases
    assert all(
        len(task) <= CASES_A_TASK["fashion_mnist"] and len({case.seed for case in task}) == 1
        for task in found
    )


def test_pages_are_drawn_again_without_measuring(tmp_path: Path) -> None:
    row = Row(Case("fashion_mnist", 0, "fog", 3, 64), NOTHING, 0.9, 0.5, 0.5, "identity")
    gated = Row(row.case, GATE, 0.9, 0.5, 0.7, "input", accepted=True)
    Records(tmp_path).append([row, gated])
    arguments = [
        "--results",
        str(tmp_path),
        "--docs",
        str(tmp_path / "pages"),
        "--pages-only",
        "--date",
        "today",
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "0.700" in (tmp_path / "pages" / "accuracy.md").read_text()


@pytest.mark.parametrize("arguments", [["--tracks", "a,z"], ["--seeds", "0,x"]])
def test_refuses_what_it_does_not_know(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert arguments[1][-1] in result.output


def test_a_letter_names_its_track(tmp_path: Path) -> None:
    row = Row(Case("fashion_mnist", 0, "fog", 3, 64), NOTHING, 0.9, 0.5, 0.5, "identity")
    Records(tmp_path).append([row])
    arguments = ["--results", str(tmp_path), "--docs", str(tmp_path), "--pages-only", "--fresh"]
    result = CliRunner().invoke(main, [*arguments, "--tracks", "a"])
    assert result.exit_code == 0, result.output
    assert Records(tmp_path).load() == []


def test_another_model_is_only_for_the_photo_cutouts(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"")
    result = CliRunner().invoke(main, ["--model", str(model), "--tracks", "photo_cutouts,parity"])
    assert result.exit_code == 2
    assert "--model" in result.output
