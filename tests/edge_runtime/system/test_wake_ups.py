"""Wake-ups: a thread sleeps until a time that is ahead, and not for one that is over."""

from edge_runtime.system.wake_ups import sleep_until


def test_it_sleeps_until_a_time_that_is_ahead_and_not_for_one_that_is_over(monkeypatch):
    slept = []
    monkeypatch.setattr("edge_runtime.system.wake_ups.time", Clock(100.0, slept))
    for at_s in (99.0, 100.0, 100.5):
        sleep_until(at_s)
    assert slept == [0.5]


class Clock:
    """Stands still."""

    def __init__(self, now_s, slept):
        self.monotonic, self.sleep = (lambda: now_s), slept.append
