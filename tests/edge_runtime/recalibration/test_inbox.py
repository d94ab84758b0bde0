import numpy as np
import pytest

from edge_runtime.datatypes import Result, Sample, Timings
from edge_runtime.errors import CommandError
from edge_runtime.recalibration.inbox import CAPACITY, RequestInbox, SampleInbox
from edge_runtime.recalibration.task import TaskRequest
from tests.support.waiting import WAIT_S

PIXELS = np.zeros((4, 4, 3), np.uint8)


def sample(seq, at_s, stream="belt", pixels=PIXELS):
    tensor = np.zeros((3, 4, 4), np.float32)
    return Sample(stream, seq, tensor, pixels, None, at_s, at_s, at_s, 0.0, 0.0)


def answer(seq):
    return Result("box", "belt", seq, 0.0, "parts", "parts/1", Timings(0, 0, 0, 0, 0), ())


def taken(inbox):
    found = []
    while (one := inbox.take(0.0)) is not None:
        found.append((one[0].stream, one[0].seq))
    return found


def test_takes_one_sample_of_each_stream_in_its_interval():
    inbox = SampleInbox(every_s=1.0)
    for seq in range(20):
        inbox.offer(sample(seq, seq * 0.25), answer(seq))
        inbox.offer(sample(seq, seq * 0.5, "bench"), answer(seq))
    assert [seq for stream, seq in taken(inbox) if stream == "belt"] == [0, 4, 8, 12, 16]


def test_counts_what_does_not_fit_and_never_waits():
    inbox = SampleInbox(every_s=0.0)
    for seq in range(CAPACITY + 3):
        inbox.offer(sample(seq, float(seq)), answer(seq))
    assert (len(taken(inbox)), inbox.skipped) == (CAPACITY, 3)


def test_raw_tensors_are_no_reference():
    inbox = SampleInbox(every_s=0.0)
    inbox.offer(sample(0, 0.0, pixels=None), answer(0))
    assert taken(inbox) == []


def test_a_wake_up_ends_the_wait_and_hides_no_sample():
    inbox = SampleInbox(every_s=0.0)
    inbox.wake()
    assert inbox.take(WAIT_S) is None
    inbox.wake()
    inbox.offer(sample(0, 0.0), answer(0))
    assert taken(inbox) == [("belt", 0)]


def test_an_unexpected_error_reaches_the_caller_and_the_thread():
    inbox = RequestInbox()
    first, second = inbox.put(TaskRequest("recalibrate")), inbox.put(TaskRequest("baselines"))

    def fail(request):
        raise ZeroDivisionError(request.verb)

    with pytest.raises(ZeroDivisionError, match="recalibrate"):
        inbox.answer_all(fail)
    with pytest.raises(ZeroDivisionError, match="recalibrate"):
        first.result(timeout=0)
    inbox.answer_all(lambda request: {"verb": request.verb})
    assert second.result(timeout=0) == {"verb": "baselines"}


def test_what_was_called_off_is_never_acted_upon():
    inbox, acted = RequestInbox(), []
    first, second = inbox.put(TaskRequest("rollback")), inbox.put(TaskRequest("recalibrate"))
    assert first.cancel()
    inbox.answer_all(lambda request: acted.append(request.verb) or {})
    assert (acted, second.result(timeout=0)) == (["recalibrate"], {})


def test_what_is_being_acted_upon_cannot_be_called_off():
    inbox, called_off = RequestInbox(), []
    answer = inbox.put(TaskRequest("rollback"))
    inbox.answer_all(lambda _: called_off.append(answer.cancel()) or {"done": True})
    assert (called_off, answer.result(timeout=0)) == ([False], {"done": True})


def test_a_refusal_reaches_only_the_caller():
    inbox = RequestInbox()
    answer = inbox.put(TaskRequest("recalibrate"))

    def refuse(request):
        raise CommandError("not now")

    inbox.answer_all(refuse)
    with pytest.raises(CommandError, match="not now"):
        answer.result(timeout=0)


def test_who_asks_an_inbox_that_nobody_answers_any_more_is_told_at_once():
    inbox = RequestInbox()
    waiting, given_up = inbox.put(TaskRequest("commission")), inbox.put(TaskRequest("recalibrate"))
    given_up.cancel()
    inbox.close("parts/2 answers now")
    late = inbox.put(TaskRequest("recalibrate"))
    for answer in (waiting, late):
        with pytest.raises(CommandError, match="parts/2"):
            answer.result(timeout=0)
    inbox.answer_all(lambda request: pytest.fail(f"{request} was acted upon"))
