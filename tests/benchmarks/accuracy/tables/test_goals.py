from benchmarks.accuracy.records import CANDIDATE, GATE, IID, NOTHING, Case, Row
from benchmarks.accuracy.tables.goals import MEASURES, goals
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


def measured(rows: list[Row]) -> dict[str, str]:
    """The page's table as key of the goal -> measured."""
    keys = {goal.what: goal.key for goal in goals_of("accuracy")}
    lines = [[cell.strip() for cell in line.split("|")] for line in goals(rows).splitlines()[2:]]
    return {keys[line[1]]: line[3] for line in lines}


def test_every_goal_has_a_measure() -> None:
    assert [goal.key for goal in goals_of("accuracy")] == list(MEASURES)


def test_goals_without_cases_are_left_out() -> None:
    assert measured([]) == {}
    assert list(measured([gated(0.7, n=16)])) == ["corruptions_16"]


def test_shares_are_pooled_with_their_spread_over_seeds() -> None:
    found = measured([gated(0.7), gated(0.8, drift="snow", seed=1)])
    assert found["corruptions_64"] == "0.62 ± 0.18 pooled, 0.62 mean over the corruptions"


def test_camera_drifts_of_a_track_tell_the_worst_too() -> None:
    rows = [gated(0.7, "photo_cutouts", "camera:haze", 128), gated(0.46, "photo_cutouts", "camera:dark", 128)]
    assert measured(rows)["photo_cutouts"] == "0.20; worst -4.0 points, 1 of 2 harmed"


def test_healthy_cases_are_listed_track_by_track() -> None:
    rows = [
        gated(0.9, drift="none"),
        gated(0.89, drift="none", seed=1),
        gated(0.9, "photo_cutouts", "none", 128),
    ]
    assert (
        measured(rows)["healthy"]
        == "fashion_mnist: mean -0.5, worst -1.0 of 2; photo_cutouts: mean +0.0, worst +0.0 of 1"
    )


def test_skewed_streams_are_held_against_iid_references_of_the_same_cases() -> None:
    rows = [
        gated(0.7),
        gated(0.65, stream="2-class"),
        gated(0.9, drift="snow"),
        gated(0.48, stream="class-sorted"),
    ]
    found = measured(rows)
    assert found["skewed_loss"] == "worst -2.0, 1 of 2 harmed"
    assert found["skewed_gain"] == "class-sorted -10%, 2-class 75%"


def test_gate_is_counted_over_candidates() -> None:
    case = gated(0.7).case
    nothing = Row(case, NOTHING, 0.9, 0.5, 0.5)
    candidates = [
        Row(
            case, CANDIDATE, 0.9, 0.5, after, name, accepted=name == "input", detail={"accepted_alone": alone}
        )
        for name, after, alone in (("input", 0.7, 1.0), ("first tap", 0.6, 0.0), ("all taps", 0.3, 0.0))
    ]
    found = measured([nothing, gated(0.7), *candidates])
    assert found["harmful_candidates"] == "0.0% of 1 alone, 0 chosen (3 candidates)"
    assert found["helpful_candidates"] == "50.0% of 2 alone; 1 of 1 cases that could be helped were"


def test_patch_is_held_against_the_float_model_after_re_estimation() -> None:
    case = gated(0.7).case
    rows = [Row(case, "all taps, prior 0", 0.9, 0.5, 0.8), Row(case, "float, fvcore", 0.91, 0.5, 0.804)]
    assert measured(rows)["against_float"] == "mean -0.4, mean absolute 0.4, lowest -0.4 (1 cases)"
