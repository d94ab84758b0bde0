"""Which samples run together, and when: micro-batches, age limit, fairness, shedding. Pure.

No thread, lock or clock lives here: ``now_s`` is an argument and ``pipeline`` holds the lock. The rules:

1. Each stream has its own queue. A live stream's full queue drops its *oldest* sample; a file's full queue
   refuses the new one, and its reader waits.
2. A batch is ready when ``max_batch_size`` samples wait, or the oldest has waited ``max_queue_delay_s``.
3. A batch takes one sample from each stream in turn, oldest first, beginning behind the stream that was
   served last: one busy camera cannot starve the others. Streams of higher priority come before all of that: under
   overload it is the others whose samples grow old and are dropped.
4. A live sample older than ``max_age_s`` is dropped when its turn comes: stale answers are not published.
5. Samples of one batch have the same shape (raw tensors may differ) and belong to the same group.
6. As many batches are under way as there are workers, whichever threads run them. A stream has a second one under way
   only on a worker that is left when every other stream has one: a quiet camera finds its worker free. One that is
   lost, or a file that has ended, keeps none (:meth:`BatchScheduler.rest`).
   Batches of one stream are answered in the order they were taken (:meth:`BatchScheduler.may_answer`), so its results
   stay in order however many workers there are.
7. Samples with an asker are one more stream, with a limit of its own, so that many requests take no more than
   the share of one camera. It keeps no worker free, and what nobody waits for any more is dropped when its turn comes.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_runtime.datatypes import Frame, Sample


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Limits of a :class:`BatchScheduler`."""

    max_batch_size: int
    max_queue_delay_s: float
    """How long a sample may wait for company; 0 runs at once."""
    max_age_s: float
    """From capture; live streams only."""
    queue_limit: int
    """Samples a stream may have waiting."""
    request_limit: int = 8
    """Samples with an asker that may wait, of all callers together."""
    priorities: Mapping[str, int] = field(default_factory=dict)
    """By stream; higher comes first, a stream that is not named has 0."""

    def limit_of(self, sample: Sample) -> int:
        """How many like it may wait."""
        return self.queue_limit if sample.asker is None else self.request_limit


@dataclass(frozen=True, slots=True, eq=False)
class Queued:
    """A sample and when it was queued; equal to itself alone."""

    sample: Sample
    is_live: bool
    queued_at_s: float
    group: object = None
    """Samples of one group run together: what is to answer them."""
    frame: Frame | None = None
    """It was made from; kept while a candidate is tried. Its picture lasts only where the candidate prepares another
    sample of it."""


@dataclass(slots=True)
class SchedulerCounters:
    """Counters of the samples offered: ``offered = taken + dropped_oldest + dropped_stale + waiting``."""

    offered: int = 0
    taken: int = 0
    dropped_oldest: int = 0
    dropped_stale: int = 0


class BatchScheduler:
    """Queues of waiting samples, one per stream."""

    def __init__(self, policy: BatchPolicy, workers: int = 1) -> None:
        """``workers``: how many batches may run at once, at least 1."""
        self.policy, self._workers = policy, workers
        self.counters = SchedulerCounters()
        self._queues: OrderedDict[str, deque[Queued]] = OrderedDict()
        self._resting: set[str] = set()
        self._under_way: list[tuple[Queued, ...]] = []  # in the order of taking

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def offer(
        self,
        sample: Sample,
        *,
        is_live: bool,
        now_s: float,
        group: object = None,
        frame: Frame | None = None,
    ) -> bool:
        """Queue a sample; False when a file's queue is full (nothing was changed: offer it again later)."""
        queue = self._queues.setdefault(sample.stream, deque())
        if sample.asker is None:
            self._resting.discard(sample.stream)
        else:
            self._resting.add(sample.stream)
        if len(queue) >= self.policy.limit_of(sample):
            if not is_live:
                return False
            queue.popleft()
            self.counters.dropped_oldest += 1
        queue.append(Queued(sample, is_live, now_s, group, frame))
        self.counters.offered += 1
        return True

    def take(self, now_s: float, *, flush: bool = False) -> tuple[Queued, ...]:
        """The next batch, or an empty tuple when none is ready; give it back with :meth:`finish`.

        ``flush`` does not wait for company (draining).
        """
        self._drop_stale(now_s)
        if not flush and self.wait_s(now_s) != 0.0:
            return ()
        batch: list[Queued] = []
        while len(batch) < self.policy.max_batch_size:
            before = len(batch)
            for stream in self._free_in_turn():
                queue = self._queues[stream]
                if queue and _fits(batch, queue[0]) and len(batch) < self.policy.max_batch_size:
                    batch.append(queue.popleft())
                    self._queues.move_to_end(stream)
            if len(batch) == before:
                break
        taken = tuple(batch)
        if taken:
            self._under_way.append(taken)
            self.counters.taken += len(taken)
        return taken

    def may_answer(self, batch: tuple[Queued, ...]) -> bool:
        """Whether no batch that was taken before this one, and is still under way, holds one of its streams."""
        streams = _streams(batch)
        for earlier in self._under_way:
            if earlier is batch:
                break
            if streams & _streams(earlier):
                return False
        return True

    def finish(self, batch: tuple[Queued, ...]) -> None:
        """A batch was answered (or lost): its worker and its streams may run again."""
        self._under_way = [one for one in self._under_way if one is not batch]

    def has_waiting(self, stream: str) -> bool:
        """Whether a sample of this stream waits."""
        return bool(self._queues.get(stream))

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until :meth:`take` may give something; None when only an offer or ``finish`` changes that."""
        queues = [queue for stream in self._free_in_turn() if (queue := self._queues[stream])]
        if not queues:
            return None
        if sum(map(len, queues)) >= self.policy.max_batch_size:
            return 0.0
        oldest_at_s = min(queue[0].queued_at_s for queue in queues)
        return max(0.0, oldest_at_s + self.policy.max_queue_delay_s - now_s)

    def oldest_queued_at_s(self) -> float | None:
        """Since when the oldest waiting sample waits; None when none does."""
        return min((queue[0].queued_at_s for queue in self._queues.values() if queue), default=None)

    def rest(self, stream: str) -> None:
        """Keep no worker free for a stream until it offers again: its file has ended, or its camera is lost."""
        self._resting.add(stream)

    def forget(self, stream: str) -> int:
        """Remove a stream that was taken out of the configuration; returns the number of samples dropped."""
        dropped = len(self._queues.pop(stream, ()))
        self._resting.discard(stream)
        self.counters.dropped_oldest += dropped
        return dropped

    def _free_in_turn(self) -> list[str]:
        """Streams that may run, in the order in which they are served."""
        if len(self._under_way) >= self._workers:
            return []
        busy = {stream for batch in self._under_way for stream in _streams(batch)}
        idle = self._queues.keys() - busy  # each of them may want a worker
        wanted = sum(bool(self._queues[stream]) or stream not in self._resting for stream in idle)
        has_spare = self._workers - len(self._under_way) > wanted
        free = [stream for stream in self._queues if has_spare or stream not in busy]
        rank = self.policy.priorities
        return sorted(free, key=lambda stream: -rank.get(stream, 0)) if rank else free

    def _drop_stale(self, now_s: float) -> None:
        for queue in self._queues.values():
            while queue and self._is_stale(queue[0], now_s):
                queue.popleft()
                self.counters.dropped_stale += 1

    def _is_stale(self, queued: Queued, now_s: float) -> bool:
        asker = queued.sample.asker
        if asker is not None:
            return now_s >= asker.gives_up_at_s
        return queued.is_live and now_s - queued.sample.captured_at_s > self.policy.max_age_s


def _fits(batch: list[Queued], queued: Queued) -> bool:
    if not batch:
        return True
    first = batch[0]
    return first.group is queued.group and first.sample.tensor.shape == queued.sample.tensor.shape


def _streams(batch: tuple[Queued, ...]) -> set[str]:
    return {queued.sample.stream for queued in batch}
