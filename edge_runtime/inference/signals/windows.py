"""Samples of one sensor, as they come in, -> complete windows. Pure: no clock, no thread; the arrival is an argument.

Samples with times lie on a grid of the sensor's rate, each in the nearest slot. Samples without times are counted on.
The slots from the begin of the next window on are kept, and nothing before it. See docs/decisions/0043.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from edge_runtime.inference.signals.clock_jumps import Strays
from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.signals.slots import Slots
from edge_runtime.inference.specs.signals import SignalSpec

SILENCE_S = 2.0
"""Samples without times that come after a longer pause, and at least two windows, begin a new window."""
LEAST_GAP = 16
"""Slots that may be empty in a row without a new beginning, however short a window is."""
LATEST_S = 1e11
"""No clock shows a later time; it also keeps slots in 64 bits."""
LEAST_AT_ONCE, MOST_AT_ONCE = 32, 1024
"""Samples that are looked at in one step: few after one that fits nothing, so that many of those take no long time."""
PIECE = 8192
"""Slots that are looked at in one step, in addition to those of a window and of late samples."""


@dataclass(frozen=True, slots=True)
class Window:
    """One complete window."""

    numbers: NDArray[np.float64]
    """(samples, channels) as in the payload; NaN where nothing came."""
    ended_at_wall_s: float
    """Unix time of its last sample: by the sensor's clock, or by the arrival where samples have no times."""
    slots: range
    """Of its samples; a new beginning goes on behind all slots before it."""


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """What became of the samples so far; all numbers only grow."""

    samples: int = 0
    """That came."""
    late: int = 0
    """Left out: their windows were complete, or their time fits no neighbour's."""
    duplicates: int = 0
    """Left out: another sample of the same time came before."""
    gaps: int = 0
    """How often a new window was begun, since nothing had come for longer than a window."""
    clock_jumps: int = 0
    """How often the times of the samples went back, and a new window was begun."""

    def plus(self, other: "WindowCounts") -> "WindowCounts":
        """The counts of both."""
        return WindowCounts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


def measure_most_bytes(spec: SignalSpec) -> int:
    """Memory that the samples of one stream take at most, while windows wait for late or missing ones."""
    longest_gap = max(spec.input_length, spec.late_slots, LEAST_GAP)
    slots = spec.input_length + spec.late_slots + longest_gap + PIECE
    return 2 * slots * (8 * len(spec.channels) + 9)  # twice, where kept slots have to move: see Slots


class Windower:
    """Makes windows of the samples of one stream.

    Args:
        spec: The input of the model, with what the stream says of its payload.
        first_slot: Number of the first slot.
    """

    def __init__(self, spec: SignalSpec, first_slot: int = 0) -> None:
        self.spec, self._rate_hz = spec, spec.input_rate_hz
        self._length, self._hop = spec.input_length, spec.input_hop
        self._late = spec.late_slots
        self._longest_gap = max(self._length, self._late, LEAST_GAP)
        self._slots = Slots(len(spec.channels))
        self._strays = Strays(min(3, self._length), self._late, self._longest_gap)
        self._origin_s = 0.0
        """Unix time of slot 0 of this beginning."""
        self._base = first_slot
        """Slots before this beginning."""
        self._start = 0
        """First slot of the next window."""
        self._newest: int | None = None
        """The last slot with a sample; None before the first one."""
        self._is_opening = True
        """Whether a sample before ``start`` may still come in time."""
        self._is_in_gap = False
        """Whether the latest window was passed over, since it had no sample."""
        self._is_counted = False
        """Whether the latest samples had no times."""
        self._arrived_at_s: float | None = None
        self.counts = WindowCounts()

    @property
    def duration_s(self) -> float:
        """From the begin of a window to its end."""
        return self._length / self._rate_hz

    @property
    def interval_s(self) -> float:
        """From window to window."""
        return self._hop / self._rate_hz

    @property
    def free_slot(self) -> int:
        """A number behind those of all windows so far, and of late samples before the first one of a new beginning."""
        return self._base + self._start + self._length + self._late

    def add(
        self, readings: Readings, arrived_at_s: float | None, arrived_at_wall_s: float
    ) -> Iterator[Window]:
        """The windows that these samples complete. Take them all before the next call.

        Args:
            readings: In the order of the payload.
            arrived_at_s: Monotonic; None for a file, which knows no pause.
            arrived_at_wall_s: Unix time of the last sample, where samples have no times.
        """
        numbers, times_s = readings.numbers, readings.times_wall_s
        self._count(samples=len(numbers))
        if (times_s is None) != self._is_counted:
            self._begin()
            self._is_counted = times_s is None
        if times_s is None:
            yield from self._add_counted(numbers, arrived_at_s, arrived_at_wall_s)
            return
        is_time = np.abs(times_s) <= LATEST_S
        if not is_time.all():
            self._count(late=int((~is_time).sum()))
            numbers, times_s = numbers[is_time], times_s[is_time]
        yield from self._add_timed(numbers, times_s)

    def begin_anew(self) -> None:
        """Samples were lost on the way: those without times that come next do not continue those before."""
        if self._is_counted and self._newest is not None:
            self._count(gaps=1)
            self._begin()

    def finish(self) -> Iterator[Window]:
        """The windows that still wait for late samples: nothing more comes."""
        yield from self._emit(late=0)

    # --- samples without times ---------------------------------------------------------------------------------------

    def _add_counted(
        self, numbers: NDArray[np.float64], arrived_at_s: float | None, arrived_at_wall_s: float
    ) -> Iterator[Window]:
        if self._is_after_silence(len(numbers), arrived_at_s):
            self.begin_anew()
        first = 0 if self._newest is None else self._newest + 1
        slots = np.arange(first, first + len(numbers))
        self._origin_s = arrived_at_wall_s - (first + len(numbers) - 1) / self._rate_hz
        yield from self._take(slots, slots.astype(np.float64), numbers)

    def _is_after_silence(self, samples: int, arrived_at_s: float | None) -> bool:
        before_s, self._arrived_at_s = self._arrived_at_s, arrived_at_s
        if before_s is None or arrived_at_s is None:
            return False
        silence_s = arrived_at_s - before_s - samples / self._rate_hz
        return silence_s > max(SILENCE_S, 2 * self.duration_s)

    # --- samples with times ------------------------------------------------------------------------------------------

    def _add_timed(self, numbers: NDArray[np.float64], times_s: NDArray[np.float64]) -> Iterator[Window]:
        done, look = 0, MOST_AT_ONCE
        while done < len(numbers):
            if self._newest is None:
                self._origin_s = float(times_s[done])
            exact = (times_s[done : done + look] - self._origin_s) * self._rate_hz
            slots = np.rint(exact).astype(np.int64)
            fits = self._count_fitting(slots)
            if fits:
                self._count(late=self._strays.forget())
                yield from self._take(slots[:fits], exact[:fits], numbers[done : done + fits])
                done, look = done + fits, min(2 * look, MOST_AT_ONCE)
            else:
                look = LEAST_AT_ONCE
                yield from self._set_aside(int(slots[0]), float(times_s[done]), numbers[done])
                done += 1

    def _count_fitting(self, slots: NDArray[np.int64]) -> int:
        """How many samples there are before one that is far from all before it."""
        steps = slots - self._find_newest_before(slots)
        strays = np.flatnonzero((steps > self._longest_gap) | (steps < -self._late - self._length))
        return int(strays[0]) if len(strays) else len(slots)

    def _find_newest_before(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each sample the newest slot before it came; of the very first its own."""
        newest = slots[:1] if self._newest is None else np.array([self._newest])
        return np.maximum.accumulate(np.concatenate([newest, slots[:-1]]))

    def _set_aside(self, slot: int, time_s: float, row: NDArray[np.float64]) -> Iterator[Window]:
        """A sample far from the others: a few in a row that fit each other are the new beginning."""
        self._count(late=self._strays.add(slot, time_s, row))
        if not self._strays.are_enough:
            return
        times_s, rows = self._strays.take()
        assert self._newest is not None, "the first sample is far from none"
        is_back = times_s[0] < self._origin_s + self._newest / self._rate_hz
        self._count(clock_jumps=int(is_back), gaps=int(not is_back))
        yield from self.finish()
        self._begin()
        yield from self._add_timed(rows, times_s)

    # --- both --------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._slots.clear()
        self._base = self.free_slot
        self._start, self._newest, self._is_opening, self._is_in_gap = 0, None, True, False

    def _take(
        self, slots: NDArray[np.int64], exact: NDArray[np.float64], rows: NDArray[np.float64]
    ) -> Iterator[Window]:
        """Put samples, of which each fits those before, into their slots and give what is complete."""
        done = 0
        while done < len(slots):
            if self._newest is None:
                self._start = self._newest = int(slots[done])
            ahead = slots[done : done + MOST_AT_ONCE]
            begins = np.maximum(self._start, self._find_begins(ahead))
            stop = done + self._find_piece(ahead, begins)
            if self._is_opening:
                stop = done + self._open_by(slots[done:stop])
                begins = np.full(stop - done, self._start)
            part = slice(done, stop)
            self._place(slots[part], exact[part], rows[part], begins[: stop - done])
            yield from self._emit(self._late)
            done = stop

    def _find_begins(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each sample the begin of the first window that is not complete before it comes."""
        ready = self._find_newest_before(slots) - self._late - self._length + 1 - self._start
        return self._start + np.maximum(0, ready // self._hop + 1) * self._hop

    def _find_piece(self, slots: NDArray[np.int64], begins: NDArray[np.int64]) -> int:
        """How many samples, at least 1, may be placed before windows are given.

        The slots in memory are bounded; and a sample that is late for a window, but not for one that overlaps it, must
        not be placed before the first of them was given.
        """
        most = self._start + self._length + self._late + self._longest_gap + PIECE
        is_mixed = (begins > self._start) & (slots >= begins) & (slots < begins + self._length - self._hop)
        stops = np.flatnonzero((slots >= most) | is_mixed)
        return max(1, int(stops[0])) if len(stops) else len(slots)

    def _open_by(self, slots: NDArray[np.int64]) -> int:
        """How many samples, at least 1, come while one of them may still be before the first window."""
        assert self._newest is not None
        newest, begin = self._newest, self._start
        for count, slot in enumerate(slots.tolist()):
            if count and newest - self._late >= begin:
                break
            newest, begin = max(newest, slot), min(begin, slot)
        else:
            count = len(slots)
        if begin < self._start:
            self._slots.move_up(self._start - begin)
            self._start = begin
        return count

    def _place(
        self,
        slots: NDArray[np.int64],
        exact: NDArray[np.float64],
        rows: NDArray[np.float64],
        begins: NDArray[np.int64],
    ) -> None:
        assert self._newest is not None
        self._newest = max(self._newest, int(slots.max()))
        is_open = slots >= begins
        if not is_open.all():
            is_between = (slots - self._start) % self._hop >= self._length
            self._count(late=int((~is_open & ~is_between).sum()))
            slots, exact, rows = slots[is_open], exact[is_open], rows[is_open]
        if len(slots):
            self._count(duplicates=self._slots.place(slots - self._start, exact - self._start, rows))
        self._is_opening = self._is_opening and self._newest - self._late < self._start

    def _emit(self, late: int) -> Iterator[Window]:
        """The windows that are complete: no sample of theirs is waited for, or none is missing."""
        while self._newest is not None:
            ahead = self._newest - self._start - self._length + 1
            is_full = ahead >= 0 and not self._is_opening and self._slots.is_full(self._length)
            if ahead < late and not is_full:
                return
            if self._slots.is_empty(self._length):
                self._skip_empty(ahead - late)
                continue
            numbers, end = self._slots.copy(self._length), self._start + self._length
            slots = range(self._base + self._start, self._base + end)
            self._advance(1)
            self._is_in_gap = False
            yield Window(numbers, self._origin_s + (end - 1) / self._rate_hz, slots)

    def _skip_empty(self, ahead: int) -> None:
        """Pass over windows without one sample, of those that are ``ahead`` of the next one at most."""
        first = self._slots.find_first()
        empty = ahead if first < 0 else min(ahead, first - self._length)
        self._count(gaps=int(not self._is_in_gap))
        self._is_in_gap = True
        self._advance(1 + max(0, empty // self._hop))

    def _advance(self, windows: int) -> None:
        self._slots.drop(windows * self._hop)
        self._start += windows * self._hop

    def _count(self, **more: int) -> None:
        if any(more.values()):
            now = {name: getattr(self.counts, name) + count for name, count in more.items()}
            self.counts = replace(self.counts, **now)
