from edge_runtime.deployment.rollout_policy.crash_loop import clear_starts, count_start


def test_starts_are_counted_until_one_is_ready():
    starts: dict[str, int] = {"other": 1}
    for _ in range(2):
        starts = count_start(starts, "m/5")
    starts = count_start(starts, "m/4")
    assert starts == {"other": 1, "m/5": 2, "m/4": 1}
    assert clear_starts(starts, "m/5") == {"other": 1, "m/4": 1}
