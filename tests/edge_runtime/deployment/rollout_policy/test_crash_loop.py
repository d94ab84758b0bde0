from edge_runtime.deployment.rollout_policy.crash_loop import (
    StartChoice,
    choose_start,
    clear_starts,
    count_start,
)


def test_the_first_one_is_started_when_nothing_went_wrong():
    assert choose_start([5, 4], {}) == StartChoice(5, ())


def test_a_version_that_ended_the_process_once_is_tried_again():
    assert choose_start([5, 4], {5: 1}) == StartChoice(5, ())


def test_a_version_that_ended_the_process_twice_is_passed_over():
    assert choose_start([5, 4], {5: 2, 4: 1}) == StartChoice(4, (5,))


def test_when_all_did_none_is_started():
    assert choose_start([5, 4], {5: 2, 4: 9}) == StartChoice(None, (5, 4))
    assert choose_start([], {5: 2}) == StartChoice(None, ())


def test_starts_are_counted_until_one_is_ready():
    starts: dict[str, int] = {"other": 1}
    tried = []
    for _ in range(4):
        choice = choose_start(["m/5+p1", "m/5"], starts)
        assert choice.chosen is not None
        tried.append(choice.chosen)
        starts = count_start(starts, choice.chosen)
    assert tried == ["m/5+p1", "m/5+p1", "m/5", "m/5"]
    assert clear_starts(starts, "m/5") == {"other": 1, "m/5+p1": 2}
    assert starts["m/5"] == 2
