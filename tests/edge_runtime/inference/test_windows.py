import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.signals.windows import Windower
from edge_runtime.inference.specs import SignalSpec

RATE_HZ = 10.0
BEGAN_S = 1_700_000_000.0


def spec_of(length=4, hop=None, late_s=0.0, *, timed=True, rate_hz=RATE_HZ):
    return SignalSpec.model_validate({
        "kind": "signal", "channels": [{"name": "x"}, {"name": "y"}], "rate_hz": rate_hz, "length": length,
        "hop": hop or length, "late_s": late_s, "payload": {"time": "t" if timed else None},
    })  # fmt: skip


def row(number):
    return [number, -number]


def readings(slots, offsets=None):
    """Samples whose numbers say their slots."""
    slots = np.asarray(slots, np.float64)
    times = BEGAN_S + (slots + (0 if offsets is None else np.asarray(offsets))) / RATE_HZ
    return Readings(np.array([row(slot) for slot in slots]), times)


def left_out(counts):
    return counts.late + counts.duplicates, counts.gaps, counts.clock_jumps


def numbers_of(windows):
    return [window.numbers[:, 0].tolist() for window in windows]


def feed(windower, *messages):
    return [window for message in messages for window in windower.add(message, None, BEGAN_S)]


def cut(slots, offsets, at):
    ends = [*sorted({one for one in at if 0 < one < len(slots)}), len(slots)]
    begins = [0, *ends[:-1]]
    return [readings(slots[a:b], offsets[a:b]) for a, b in zip(begins, ends, strict=True)]


def expected(slots, length, hop, late):
    """The windows of samples in the order of their times, by the formula and not by the way."""
    newest, first, found = max(slots), min(slots), []
    for begin in range(first, newest + 1, hop):
        window = [float(slot) if slot in set(slots) else None for slot in range(begin, begin + length)]
        is_complete = newest - late >= begin + length - 1
        is_full = None not in window and (not late or newest - late >= first)
        if not (is_complete or is_full):
            break
        if any(one is not None for one in window):
            found.append(window)
    return found


def as_none(windows):
    return [[None if np.isnan(one) else one for one in window] for window in numbers_of(windows)]


@st.composite
def streams(draw):
    """Samples of increasing slots with some missing, each a little off its slot, and the window they go to."""
    length, hop, late = draw(st.integers(1, 6)), draw(st.integers(1, 8)), draw(st.integers(0, 5))
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 1, 2, 3, 7]), min_size=1, max_size=60))
    slots = np.cumsum(steps).tolist()
    offsets = draw(st.lists(st.floats(-0.2, 0.2), min_size=len(slots), max_size=len(slots)))
    return length, hop, late, slots, offsets


cuts = st.lists(st.integers(0, 60), max_size=12)


@settings(max_examples=150, deadline=None)
@given(streams(), cuts)
def test_any_cut_of_a_stream_into_messages_gives_the_windows_of_the_formula(stream, at):
    length, hop, late, slots, offsets = stream
    windower = Windower(spec_of(length, hop, late / RATE_HZ))
    found = as_none(feed(windower, *cut(slots, offsets, at)))
    assert found == expected(slots, length, hop, late + 1 if late else 0)
    assert windower.counts.samples == len(slots)
    assert (windower.counts.late, windower.counts.duplicates, windower.counts.clock_jumps) == (0, 0, 0)


@settings(max_examples=150, deadline=None)
@given(streams(), cuts, st.data())
def test_samples_that_are_late_by_less_than_late_s_change_nothing(stream, at, data):
    length, hop, late, slots, offsets = stream
    waits = data.draw(st.lists(st.integers(0, late), min_size=len(slots), max_size=len(slots)))
    order = sorted(range(len(slots)), key=lambda i: (slots[i] + waits[i], -waits[i]))
    spec = spec_of(length, hop, late / RATE_HZ)
    shuffled = [slots[i] for i in order], [offsets[i] for i in order]
    in_order, other = Windower(spec), Windower(spec)
    wanted = feed(in_order, readings(slots, offsets)) + list(in_order.finish())
    found = feed(other, *cut(*shuffled, at)) + list(other.finish())
    assert as_none(found) == as_none(wanted)
    assert other.counts.late == 0


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 8),
    st.integers(0, 4),
    st.lists(st.integers(-3, 3) | st.integers(-60, 60) | st.just(100_000), min_size=1, max_size=60),
    cuts,
)
def test_any_cut_gives_the_same_whatever_the_times_are(length, hop, late, steps, at):
    slots = np.cumsum(steps).tolist()
    spec = spec_of(length, hop, late / RATE_HZ)
    one_by_one, other = Windower(spec), Windower(spec)
    wanted = feed(one_by_one, *[readings([slot]) for slot in slots])
    found = feed(other, *cut(slots, [0.0] * len(slots), at))
    assert as_none(found) == as_none(wanted)
    # Of a sample that comes to a window that was full, and so is gone, nothing tells that it came twice.
    assert left_out(other.counts) == left_out(one_by_one.counts)


@pytest.mark.parametrize("at", [[], [1], [2], [3], [1, 2, 3]])
def test_a_gap_counts_once_whatever_number_of_messages_tell_its_length(at):
    windower = Windower(spec_of(1, 1, 2 / RATE_HZ))
    feed(windower, *cut([0, 3, 4, 5, 9], [0.0] * 5, at))
    list(windower.finish())
    assert windower.counts.gaps == 2


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 60), cuts)
def test_samples_without_times_are_counted_on(length, hop, count, at):
    windower, numbers = Windower(spec_of(length, hop, timed=False)), np.arange(count * 2.0).reshape(count, 2)
    ends = [*sorted({one for one in at if 0 < one < count}), count]
    found, begin = [], 0
    for end in ends:
        found += windower.add(Readings(numbers[begin:end]), end / RATE_HZ, BEGAN_S + end / RATE_HZ)
        begin = end
    begins = range(0, count - length + 1, hop)
    assert [window.numbers.tolist() for window in found] == [
        numbers[one : one + length].tolist() for one in begins
    ]
    last_s = [BEGAN_S + (one + length) / RATE_HZ for one in begins]
    assert [window.ended_at_wall_s for window in found] == pytest.approx(last_s, abs=1e-6)


def test_a_window_ends_with_the_time_of_its_last_sample():
    (window,) = feed(Windower(spec_of(3)), readings([0, 1, 2]))
    assert window.ended_at_wall_s == pytest.approx(BEGAN_S + 0.2, abs=1e-6)


def test_of_two_samples_of_one_time_the_first_counts():
    windower, message = Windower(spec_of(3)), readings([0, 1, 1, 2])
    message.numbers[2] = row(9)
    assert numbers_of(feed(windower, message)) == [[0, 1, 2]]
    assert windower.counts.duplicates == 1


def test_a_clock_a_little_off_the_rate_loses_few_samples():
    rng, count = np.random.default_rng(0), 20_000
    drifting = np.arange(count) * 1.0002  # four whole samples over all of them
    times = BEGAN_S + (drifting + rng.uniform(-0.1, 0.1, count)) / RATE_HZ
    windower = Windower(spec_of(100))
    windows = list(windower.add(Readings(np.ones((count, 2)), times), None, 0.0))
    missing = sum(int(np.isnan(window.numbers[:, 0]).sum()) for window in windows)
    assert missing <= 20
    assert windower.counts.duplicates + windower.counts.late <= 20


def test_a_late_sample_is_left_out_and_counted():
    windower = Windower(spec_of(4))
    assert numbers_of(feed(windower, readings([0, 1, 3, 4, 2]))) == [
        [0, 1, pytest.approx(np.nan, nan_ok=True), 3]
    ]
    assert windower.counts.late == 1


def test_a_sample_that_is_late_for_one_window_still_counts_in_the_next():
    windows = feed(Windower(spec_of(4, hop=2)), readings([0, 1, 3, 4, 2, 5]))
    assert as_none(windows) == [[0, 1, None, 3], [2, 3, 4, 5]]


def test_a_full_window_does_not_wait_for_late_samples():
    windower = Windower(spec_of(40, late_s=1.0))
    assert as_none(feed(windower, readings(range(40)))) == [list(range(40))]
    assert as_none(feed(windower, readings([40, *range(42, 80)]))) == []
    assert as_none(feed(windower, readings([41]))) == [list(range(40, 80))]


def test_a_gap_longer_than_a_window_begins_anew():
    windower = Windower(spec_of(20))
    windows = feed(windower, readings([*range(30), *range(1000, 1020)]))
    assert numbers_of(windows) == [list(range(20)), list(range(1000, 1020))]
    assert windower.counts.gaps == 1


@pytest.mark.parametrize("wrong_s", [4e9, 0.0])
def test_one_wrong_time_costs_one_sample(wrong_s):
    windower, message = Windower(spec_of(6)), readings(range(12))
    message.times_wall_s[4] = wrong_s
    assert as_none(feed(windower, message)) == [[0, 1, 2, 3, None, 5], [6, 7, 8, 9, 10, 11]]
    assert (windower.counts.late, windower.counts.clock_jumps, windower.counts.gaps) == (1, 0, 0)


def test_a_sensor_that_starts_again_in_1970_is_followed_there_and_back():
    windower, restarted = Windower(spec_of(4)), readings(range(8))
    restarted.times_wall_s[:] -= BEGAN_S
    windows = feed(windower, readings(range(6)), restarted, readings(range(100, 108)))
    assert numbers_of(windows) == [
        [0, 1, 2, 3],
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [100, 101, 102, 103],
        [104, 105, 106, 107],
    ]
    assert (windower.counts.clock_jumps, windower.counts.gaps) == (1, 1)


def test_times_that_no_clock_shows_are_left_out():
    windower, message = Windower(spec_of(2)), readings([0, 5, 5, 5, 1])
    message.times_wall_s[1:4] = np.nan, np.inf, 1e300
    assert numbers_of(feed(windower, message)) == [[0, 1]]
    assert windower.counts.late == 3


def test_silence_begins_a_new_window_where_samples_have_no_times():
    windower = Windower(spec_of(4, timed=False))
    samples = Readings(np.arange(6.0).reshape(3, 2))
    assert not list(windower.add(samples, 10.0, BEGAN_S))
    assert len(list(windower.add(samples, 12.2, BEGAN_S))) == 1
    assert not list(windower.add(samples, 20.0, BEGAN_S))
    assert windower.counts.gaps == 1


def test_lost_messages_begin_a_new_window_only_where_samples_have_no_times():
    for timed, gaps in ((True, 0), (False, 1)):
        windower = Windower(spec_of(4, timed=timed))
        list(windower.add(readings([0, 1]) if timed else Readings(np.zeros((2, 2))), 0.0, BEGAN_S))
        windower.begin_anew()
        assert windower.counts.gaps == gaps


def test_memory_is_bounded_whatever_the_times_are():
    windower, rng = Windower(spec_of(50, hop=20, late_s=2.0)), np.random.default_rng(1)
    for _ in range(200):
        slots = np.cumsum(rng.integers(-40, 50, 500))
        feed(windower, readings(slots))
        assert len(windower._slots._rows) < 40_000


def count_work(count, monkeypatch):
    """Samples that were looked at, of a message whose times are each far from the one before."""
    looked_at, original = [], Windower._find_newest_before

    def spy(self, slots):
        looked_at.append(len(slots))
        return original(self, slots)

    with monkeypatch.context() as patch:
        patch.setattr(Windower, "_find_newest_before", spy)
        feed(Windower(spec_of()), readings(np.arange(count) + np.arange(count) % 2 * 1e8))
    return sum(looked_at)


def test_the_work_of_a_hostile_message_grows_with_its_length_and_not_with_the_square(monkeypatch):
    assert count_work(16_000, monkeypatch) < 2.5 * count_work(8_000, monkeypatch)


def test_a_message_of_many_windows_is_looked_at_in_steps(monkeypatch):
    looked_at, original = [], Windower._find_begins
    monkeypatch.setattr(
        Windower, "_find_begins", lambda self, slots: looked_at.append(len(slots)) or original(self, slots)
    )
    feed(Windower(spec_of(length=256, timed=False)), Readings(np.zeros((100_000, 2))))
    assert sum(looked_at) < 200_000


def test_windows_say_which_samples_they_share():
    windows = feed(Windower(spec_of(length=4, hop=2)), readings(range(8)))
    assert [window.slots for window in windows] == [range(4), range(2, 6), range(4, 8)]


@pytest.mark.parametrize("later", [range(1000, 1004), range(-1000, -996)])  # a pause; a clock that went back
def test_windows_of_a_new_beginning_share_no_samples_with_those_before(later):
    windower = Windower(spec_of(length=4, hop=1))
    before, after = feed(windower, readings(range(6))), feed(windower, readings(later))
    assert len(before) == 3
    assert [window.slots.start >= before[-1].slots.stop for window in after] == [True]
