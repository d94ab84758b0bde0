import numpy as np

from edge_runtime.datatypes import Result, Sample, Timings
from edge_runtime.recalibration.inbox import CAPACITY, SampleInbox

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
