"""A supervised thread runs its work again after a failure, counts it, and ends the daemon when it only fails."""

import threading

import pytest
import structlog

from edge_runtime.system.supervised_thread import (
    CRASHES_IN_A_ROW,
    WORKED_S,
    Contained,
    Crashes,
    SupervisedThread,
    pause_s,
)
from tests.support.waiting import until

LONG_S = 10.0


class Work:
    """Fails as the script says (True fails), then returns; ``step_s`` passes on its clock at each run."""

    def __init__(self, *fails, step_s=0.0):
        self.fails, self.step_s, self.runs, self.now_s = list(fails), step_s, 0, 0.0

    def __call__(self):
        self.runs += 1
        self.now_s += self.step_s
        if self.fails and self.fails.pop(0):
            raise RuntimeError("bug")


def start(work, crashes, **options):
    thread = SupervisedThread("worker", work, crashes, **{"pause_s": lambda _: 0.0, **options})
    thread.start()
    return thread


@pytest.fixture
def reasons():
    return []


@pytest.fixture
def crashes(reasons):
    return Crashes(reasons.append)


def test_work_that_returns_ends_the_thread(crashes):
    thread = start(Work(), crashes)
    assert thread.join(LONG_S)
    assert not thread.is_alive
    assert (crashes.total, crashes.by_thread()) == (0, {})


def test_work_that_fails_now_and_then_goes_on_and_is_counted(crashes, reasons):
    work = Work(True, True, False)
    with structlog.testing.capture_logs() as logged:
        assert start(work, crashes).join(LONG_S)
    assert work.runs == 3
    assert crashes.by_thread() == {"worker": 2}
    assert [(entry["thread"], entry["in_a_row"], entry["exc_info"]) for entry in logged] == [
        ("worker", 1, True),
        ("worker", 2, True),
    ]
    assert reasons == []


def test_the_row_is_known_while_it_lasts(crashes):
    broken = threading.Event()
    broken.set()

    def work():
        if broken.is_set():
            raise RuntimeError("bug")
        thread.succeeded()
        thread.stopping.wait()

    thread = SupervisedThread("worker", work, crashes, pause_s=lambda _: 0.005)
    thread.start()
    assert until(lambda: crashes.in_a_row().get("worker", 0) > 2)
    broken.clear()
    assert until(lambda: crashes.in_a_row() == {})
    assert crashes.total > 2
    thread.stop()
    assert thread.join(LONG_S)


def test_a_success_between_ends_the_row(crashes, reasons):
    rounds = iter(range(3 * CRASHES_IN_A_ROW))

    def work():
        for number in rounds:
            thread.succeeded()
            if number % 2:
                raise RuntimeError("bug")

    thread = SupervisedThread("worker", work, crashes, pause_s=lambda _: 0.0)
    thread.start()
    assert thread.join(LONG_S)
    assert crashes.total == 3 * CRASHES_IN_A_ROW // 2
    assert reasons == []


@pytest.mark.parametrize(("step_s", "ends"), [(WORKED_S, False), (WORKED_S / 2, True)])
def test_work_that_ran_long_before_it_failed_has_worked(crashes, reasons, step_s, ends):
    work = Work(*[True] * CRASHES_IN_A_ROW, step_s=step_s)
    assert start(work, crashes, clock=lambda: work.now_s).join(LONG_S)
    assert bool(reasons) is ends


@pytest.mark.parametrize("is_vital", [True, False])
def test_only_vital_work_that_always_fails_ends_the_daemon_and_that_once(crashes, reasons, is_vital):
    work = Work(*[True] * (CRASHES_IN_A_ROW + 5))
    assert start(work, crashes, is_vital=is_vital).join(LONG_S)
    assert len(reasons) == is_vital
    assert crashes.total == CRASHES_IN_A_ROW + 5


def test_a_stop_ends_the_pause_and_the_work_that_is_left_is_done(crashes):
    work = Work(True)
    thread = start(work, crashes, pause_s=lambda _: 3600.0)
    assert until(lambda: crashes.total)
    assert thread.is_alive
    thread.stop()
    assert thread.join(LONG_S)
    assert work.runs == 2


@pytest.mark.parametrize("before", [1, CRASHES_IN_A_ROW - 1])
def test_work_that_fails_gets_one_more_try_while_stopping_and_never_ends_the_daemon(crashes, reasons, before):
    work = Work(*[True] * 3 * CRASHES_IN_A_ROW)
    thread = start(work, crashes, pause_s=lambda in_a_row: 0.0 if in_a_row < before else 3600.0)
    assert until(lambda: crashes.total == before)
    thread.stop()
    assert thread.join(LONG_S)
    assert (work.runs, crashes.total, reasons) == (before + 1, before + 1, [])


def test_a_failure_while_stopping_is_tried_again_once(crashes, reasons):
    began = threading.Event()

    def work():
        began.set()
        thread.stopping.wait()
        raise RuntimeError("bug")

    thread = SupervisedThread("worker", work, crashes)
    thread.start()
    assert began.wait(LONG_S)
    thread.stop()
    assert thread.join(LONG_S)
    assert (crashes.total, reasons) == (2, [])


@pytest.mark.parametrize("fails", [False, True])
def test_the_end_of_the_work_comes_once_in_any_case(crashes, reasons, fails):
    ends = Work(True)
    work = Work(*[fails] * 3)
    thread = SupervisedThread("worker", work, crashes, at_end=ends)
    thread.stop()
    thread.start()
    assert thread.join(LONG_S)
    assert (work.runs, ends.runs) == (2 if fails else 1, 1)
    assert (crashes.total, reasons) == (work.runs + 1 if fails else 1, [])


def test_a_thread_that_was_never_started_has_ended(crashes):
    thread = SupervisedThread("worker", Work(), crashes)
    thread.stop()
    assert thread.join(0.0)
    assert not thread.is_alive


def test_the_work_may_wait_for_the_stop(crashes):
    began = threading.Event()

    def work():
        began.set()
        thread.stopping.wait()

    thread = SupervisedThread("worker", work, crashes)
    thread.start()
    assert began.wait(LONG_S)
    assert thread.is_alive
    thread.stop()
    assert thread.join(LONG_S)


def test_failures_of_several_threads_are_counted_separately(crashes):
    for name in ("one", "two", "two"):
        thread = SupervisedThread(name, Work(True), crashes, pause_s=lambda _: 0.0)
        thread.start()
        assert thread.join(LONG_S)
    assert crashes.by_thread() == {"one": 1, "two": 2}
    assert crashes.total == 3


def test_a_single_failure_costs_little_and_a_row_no_whole_cpu():
    pauses = [pause_s(in_a_row) for in_a_row in range(1, CRASHES_IN_A_ROW + 1)]
    assert pauses[0] < 0.1
    assert pauses == sorted(pauses)
    assert pauses[-1] == 1.0
    assert pause_s(100_000) == 1.0


@pytest.mark.parametrize("log_once", [False, True])
def test_what_is_contained_is_noted_kept_and_ends_there(crashes, log_once):
    error = KeyError("bug")
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            with crashes.contain("look", log_once=log_once) as failure:
                raise error
    assert failure.error is error
    assert crashes.by_thread() == {"look": 3}
    assert len(logged) == (1 if log_once else 3)


def test_work_that_succeeds_is_not_noted():
    noted = []
    with Contained(noted.append) as failure:
        pass
    assert (failure.error, noted) == (None, [])


def test_an_end_of_the_process_is_not_contained(crashes):
    with pytest.raises(KeyboardInterrupt), crashes.contain("look"):
        raise KeyboardInterrupt
    assert crashes.total == 0


def test_a_failure_is_handed_on_before_it_is_counted(crashes):
    seen = []
    thread = start(Work(True), crashes, on_failure=lambda err: seen.append((str(err), crashes.total)))
    assert thread.join(LONG_S)
    assert seen == [("bug", 0)]
