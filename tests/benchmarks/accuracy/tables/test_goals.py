import pytest

from benchmarks.accuracy.poison_records import PoisonRow
from benchmarks.accuracy.records import CANDIDATE, GATE, IID, NOTHING, TENT, TENT_LONG, Case, Row
from benchmarks.accuracy.tables.goals import MEASURES, POISON, goals
from benchmarks.goals import goals_of


def gated(
    after: float,
    track: str = "fashion_mnist",
    drift: str = "fog",
    n: int = 64,
    stream: str = IID,
    seed: int = 0,
) -> Row:
    severity = {"none": 0, "fog": 3, "snow": 3}.get(drift, 5)
    before = 0.9 if drift == "none" else 0.5
    return Row(
        Case(track, seed, drift, severity, n, stream), GATE, 0.9, before, after, "input", accepted=True
    )


def measured(rows: list[Row], poisoned: list[PoisonRow] | None = None) -> dict[str, str]:
    """The page's table as key of the goal -> measured."""
    return {key: text for key, (text, _) in judged(rows, poisoned).items()}


def judged(rows: list[Row], poisoned: list[PoisonRow] | None = None) -> dict[str, tuple[str, bool]]:
    """The same with whether the goal is met."""
    keys = {goal.what: goal.key for goal in goals_of("accuracy")}
    table = goals(rows, poisoned or []).splitlines()[2:]
    lines = [[cell.strip() for cell in line.split("|")] for line in table]
    return {keys[line[1]]: (line[3], line[4] == "met") for line in lines}


def test_every_goal_has_a_measure_and_a_limit() -> None:
    found = goals_of("accuracy")
    assert {goal.key for goal in found} == {*MEASURES, *POISON}
    assert all((goal.least is None) != (goal.most is None) for goal in found)


def test_goals_without_cases_are_left_out() -> None:
    assert measured([]) == {}
    assert list(measured([gated(0.7, n=16)])) == ["corruptions_16"]


def test_shares_are_pooled_with_their_spread_over_seeds() -> None:
    found = judged([gated(0.7), gated(0.85, drift="snow", seed=1)])
    assert found["corruptions_64"] == ("0.69 ± 0.27 (2 cases)", False)
    assert found["single_shares"] == ("0.69 over 2", True)


def test_camera_drifts_of_a_track_tell_how_many_were_harmed() -> None:
    rows = [gated(0.8, "photo_cutouts", "camera:haze", 128), gated(0.46, "photo_cutouts", "camera:dark", 128)]
    found = judged(rows)
    assert found["photo_cutouts"] == ("0.33 (2 cases)", False)
    assert found["photo_cutouts_harmed"] == ("1 of 2; worst -4.0 points", False)
    assert judged(rows[:1])["photo_cutouts"] == ("0.75 (1 cases)", True)
    assert judged(rows[:1])["photo_cutouts_harmed"][1]


def test_healthy_cases_are_listed_track_by_track_and_the_worst_mean_counts() -> None:
    rows = [
        gated(0.9, drift="none"),
        gated(0.89, drift="none", seed=1),
        gated(0.9, "photo_cutouts", "none", 128),
    ]
    text = "fashion_mnist: mean -0.5, worst -1.0 of 2; photo_cutouts: mean +0.0, worst +0.0 of 1"
    assert judged(rows)["healthy"] == (text, False)
    assert judged(rows[2:])["healthy"][1]


def test_skewed_streams_are_held_against_iid_references_of_the_same_cases() -> None:
    rows = [
        gated(0.7),
        gated(0.69, stream="2-class"),
        gated(0.9, drift="snow"),
        gated(0.48, stream="class-sorted"),
    ]
    found = judged(rows)
    assert found["skewed_harmed"] == ("1 of 2; worst -2.0 points", False)
    assert found["class_sorted_gain"] == ("fashion_mnist -10%", False)
    assert found["two_class_gain"] == ("fashion_mnist 95%", True)


def test_gate_is_counted_over_candidates() -> None:
    case = gated(0.7).case
    nothing = Row(case, NOTHING, 0.9, 0.5, 0.5)
    candidates = [
        Row(
            case, CANDIDATE, 0.9, 0.5, after, name, accepted=name == "input", detail={"accepted_alone": alone}
        )
        for name, after, alone in (("input", 0.7, 1.0), ("first tap", 0.6, 0.0), ("all taps", 0.3, 0.0))
    ]
    found = judged([nothing, gated(0.7), *candidates])
    assert found["harmful_candidates"] == ("0.0% of 1 alone, 0 chosen (3 candidates)", True)
    assert found["helpful_candidates"] == ("50.0% of 2 alone; 1 of 1 cases that could be helped were", False)


def tent(gain: float, method: str = TENT) -> Row:
    return Row(gated(0.7).case, method, 0.92, 0.52, 0.52 + gain)


@pytest.mark.parametrize(("gain", "is_met"), [(0.2, True), (0.25, False), (-0.1, True)])
def test_our_gain_is_held_against_that_of_tent_on_its_own_net(gain: float, is_met: bool) -> None:
    assert judged([gated(0.7), tent(gain)])["tent_fashion_mnist"][1] is is_met


def test_the_best_way_to_run_tent_counts() -> None:
    text, is_met = judged([gated(0.7), tent(0.1), tent(0.4, TENT_LONG)])["tent_fashion_mnist"]
    assert not is_met
    assert text.startswith("TENT 200%: +20.0 points against +10.0 (1 cases); TENT, 5 passes 50%:")


def test_poison_is_counted_track_by_track() -> None:
    row = PoisonRow("photo_cutouts", 0, "black", "none", "input", "", 0.9, 0.9)
    harmful = PoisonRow("fashion_mnist", 0, "white", "none", "input", "", 0.9, 0.8)
    found = judged([], [row, harmful])
    assert found["poison_photo_cutouts"] == ("0 of 1 (1 patches accepted)", True)
    assert found["poison_fashion_mnist"] == ("1 of 1 (1 patches accepted)", True)
    assert not judged([], [harmful, harmful])["poison_fashion_mnist"][1]


def test_patch_is_held_against_the_float_model_after_re_estimation() -> None:
    case = gated(0.7).case
    rows = [Row(case, "all taps, prior 0", 0.9, 0.5, 0.8), Row(case, "float, fvcore", 0.91, 0.5, 0.804)]
    text = "mean -0.4, mean absolute 0.4, lowest -0.4 (1 cases)"
    assert judged(rows)["against_float"] == (text, True)
