from edge_runtime.datatypes import Generation
from edge_runtime.inference.batch_times import LOOKED_AT, SHORT_MS, BatchTimes


def note(times, took_ms, count=LOOKED_AT, generation="parts/1"):
    for _ in range(count):
        times.note(took_ms, Generation(generation))


def test_batches_are_short_only_once_enough_were_seen():
    times = BatchTimes()
    note(times, SHORT_MS / 2, LOOKED_AT - 1)
    assert not times.is_short
    note(times, SHORT_MS / 2, 1)
    assert times.is_short


def test_one_quick_batch_says_what_a_batch_takes_where_the_others_waited():
    times = BatchTimes()
    note(times, SHORT_MS * 10, LOOKED_AT - 1)
    note(times, SHORT_MS / 2, 1)
    assert times.is_short


def test_a_model_at_the_bound_stays_as_it_is():
    once_short, never_short = BatchTimes(), BatchTimes()
    note(once_short, SHORT_MS / 2)
    for times in (once_short, never_short):
        note(times, SHORT_MS * 1.5)
    assert (once_short.is_short, never_short.is_short) == (True, False)


def test_a_model_that_grew_longer_goes_back_to_its_workers():
    times = BatchTimes()
    note(times, SHORT_MS / 2)
    note(times, SHORT_MS * 3)
    assert not times.is_short


def test_after_a_failure_it_takes_as_many_batches_again():
    times = BatchTimes()
    note(times, SHORT_MS / 2)
    times.forget()
    note(times, SHORT_MS / 2, LOOKED_AT - 1)
    assert not times.is_short


def test_another_generation_has_to_show_that_its_batches_are_short():
    times = BatchTimes()
    note(times, SHORT_MS / 2)
    note(times, SHORT_MS / 2, 1, generation="parts/2")
    assert not times.is_short
    note(times, SHORT_MS / 2, LOOKED_AT - 1, generation="parts/2")
    assert times.is_short
