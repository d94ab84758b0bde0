"""Which rows may be sent now, when the destination refuses some or ends the connection over them. Pure.

One bad row costs one row, and one refused topic costs that topic; all others flow, in order for each topic.

* A refused row sets its **topic aside**: its rows wait in the outbox. After a pause that grows, the topic is *probed*:
  its oldest rows are sent one after the other, as many as there were probes. A row that is taken opens the topic, and
  so does a probe that finds no row of it: they were dropped, or acknowledged late.
* A row is **given up** (dropped and counted) only when it is refused, another row of its topic is taken right after
  that, and it is refused again: then the row is the fault and not the topic. Until then it waits, and the limits of
  the outbox apply.
* A connection that ends over unacknowledged rows makes these **suspects**: a quarter of them may be in flight
  together, in the end one. A row over which the connection ends twice while it is alone in flight counts as refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from edge_runtime.system.supervised_thread import pause_s

FIRST_PAUSE_S = 5.0
"""Before the first probe of a refused topic; doubled each time."""
LONGEST_PAUSE_S = 60.0
"""An operator who mends the rules of the broker waits no longer than this."""
FIRST_PAUSE_AFTER_CUT_S, LONGEST_PAUSE_AFTER_CUT_S = 30.0, 600.0
"""A probe of a topic over which the broker ends the connection costs all others a reconnection."""
MAX_PROBE_ROWS = 8
MAX_PROBE_ROWS_AFTER_CUT = 4
CUTS_ALONE = 2
"""Once may be chance: the network, or a broker that was restarted."""
SHARE_IN_FLIGHT = 4
_MAX_REMEMBERED = 1024


class Choice(Enum):
    """What to do with the next row."""

    SEND = auto()
    SKIP = auto()
    """Its topic is set aside: look at the row behind it."""
    WAIT = auto()
    """Send nothing until a row that is in flight has ended."""


@dataclass(slots=True)
class _Doubt:
    """A row that was refused, or alone in flight when the connection ended."""

    topic: str
    by_cut: bool
    strikes: int = 0
    probe: int = 0
    """The probe of its topic in which it was refused last."""
    is_proven: bool = False
    """Another row of its topic was taken right after it was refused."""


@dataclass(slots=True)
class _Topic:
    """A topic that is set aside."""

    cause: str
    by_cut: bool
    oldest_id: int
    retry_at_s: float
    probes: int = 0
    rows_left: int = 0
    """That the probe under way may still send."""
    next_id: int = 0
    """The probe goes on at this row."""
    is_gone: bool = False
    """No row of the topic was seen since the last probe began."""

    def begin_probe(self, now_s: float) -> None:
        """Send the oldest rows again, one more than last time."""
        most = MAX_PROBE_ROWS_AFTER_CUT if self.by_cut else MAX_PROBE_ROWS
        self.retry_at_s = now_s + _pause_s(self.by_cut, self.probes + 1)
        self.probes += 1
        self.rows_left, self.next_id = min(self.probes, most), self.oldest_id
        self.is_gone = True


def _pause_s(by_cut: bool, probes: int) -> float:
    if by_cut:
        return pause_s(probes + 1, FIRST_PAUSE_AFTER_CUT_S, LONGEST_PAUSE_AFTER_CUT_S)
    return pause_s(probes + 1, FIRST_PAUSE_S, LONGEST_PAUSE_S)


class SetAside:
    """See the module. ``in_flight`` is always the topics of the rows that were sent and have not ended, by row id."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._doubts: dict[int, _Doubt] = {}
        self._suspects: set[int] = set()
        self._most_in_flight = 1
        self._taken: set[str] = set()
        """Topics of which a row was taken, and none refused since then."""
        self._rewind_to: int | None = None

    def takes_other_than(self, topics: frozenset[str]) -> bool:
        """Whether the destination is known to take rows of a topic that is not one of these."""
        return not self._taken <= topics

    def is_waiting(self, topic: str) -> bool:
        """Whether a topic is set aside."""
        return topic in self._topics

    def causes(self) -> dict[str, str]:
        """Every topic that is set aside now, and why."""
        return {topic: aside.cause for topic, aside in tuple(self._topics.items())}

    def take_rewind(self) -> int | None:
        """The id of a row that must be looked at again, with all behind it; None when there is none."""
        rewind_to, self._rewind_to = self._rewind_to, None
        return rewind_to

    def tick(self, now_s: float) -> None:
        """Begin the probes that are due."""
        for aside in self._topics.values():
            if now_s >= aside.retry_at_s:
                aside.begin_probe(now_s)
                self._rewind(aside.oldest_id)

    def choose(self, row_id: int, topic: str, in_flight: Mapping[int, str]) -> Choice:
        """Decide about the next row; with ``SEND`` it counts as in flight from now on."""
        if self._suspects:  # those that are neither in flight nor ahead are gone
            self._suspects = {one for one in self._suspects if one in in_flight or one >= row_id}
        aside, doubt = self._topics.get(topic), self._doubts.get(row_id)
        if aside is not None:
            aside.is_gone, aside.oldest_id = False, min(aside.oldest_id, row_id)
        if aside is not None and not self._probes(aside, row_id, topic, in_flight):
            return Choice.SKIP
        needs_all = (aside is not None and aside.by_cut) or (doubt is not None and doubt.by_cut)
        if in_flight and (needs_all or self._has_lone_row(in_flight)):
            return Choice.WAIT
        if self._suspects and len(in_flight) >= self._most_in_flight:
            return Choice.WAIT
        if aside is not None:
            aside.rows_left, aside.next_id = aside.rows_left - 1, row_id + 1
        return Choice.SEND

    @staticmethod
    def _probes(aside: _Topic, row_id: int, topic: str, in_flight: Mapping[int, str]) -> bool:
        """Whether the row is the next one of a probe; one row of the topic at a time."""
        return aside.rows_left > 0 and row_id >= aside.next_id and topic not in in_flight.values()

    def _has_lone_row(self, in_flight: Mapping[int, str]) -> bool:
        """Whether the row in flight must stay alone, so that its end says something about it."""
        if len(in_flight) > 1:
            return False
        ((one, topic),) = in_flight.items()
        doubt, aside = self._doubts.get(one), self._topics.get(topic)
        return (doubt is not None and doubt.by_cut) or (aside is not None and aside.by_cut)

    def accept(self, row_id: int, topic: str) -> None:
        """The destination took a row: its topic is open."""
        self._taken.add(topic)
        self._suspects.discard(row_id)
        self._doubts.pop(row_id, None)
        aside = self._topics.pop(topic, None)
        if aside is None:
            return
        for one in [one for one, doubt in self._doubts.items() if doubt.topic == topic]:
            if self._doubts[one].probe == aside.probes:
                self._doubts[one].is_proven = True
            else:  # the rules may have been mended since then
                del self._doubts[one]
        self._rewind(aside.oldest_id)

    def accept_late(self, row_id: int) -> None:
        """The destination took a row that had counted as refused: it was only slow with all of the topic."""
        doubt = self._doubts.get(row_id)
        if doubt is not None:
            self._forget_doubts(doubt.topic)
            self.accept(row_id, doubt.topic)

    def end_of_rows(self, in_flight: Mapping[int, str]) -> list[str]:
        """Every row that waits was looked at: open the topics of which a probe found none, and name them."""
        sent = set(in_flight.values())
        gone = [topic for topic, aside in self._topics.items() if aside.is_gone and topic not in sent]
        for topic in gone:
            del self._topics[topic]
            self._forget_doubts(topic)
        return gone

    def _forget_doubts(self, topic: str) -> None:
        self._doubts = {one: doubt for one, doubt in self._doubts.items() if doubt.topic != topic}

    def refuse(
        self, row_id: int, topic: str, cause: str, now_s: float, *, may_be_the_row: bool = True
    ) -> bool:
        """The destination refused a row; True when the row is to be given up.

        ``may_be_the_row`` is False for a quota: that other rows are taken then says nothing about this one.
        """
        is_given_up = self._strike(row_id, topic, cause, now_s, by_cut=False)
        if not may_be_the_row:
            self._doubts.pop(row_id, None)
        return is_given_up and may_be_the_row

    def cut(self, in_flight: Mapping[int, str], is_certain: bool, cause: str, now_s: float) -> int | None:
        """The other side ended the connection over these rows.

        Args:
            in_flight: As it was then.
            is_certain: Nothing else (an answer, the state) was unacknowledged.
            cause: For people.
            now_s: Monotonic seconds.

        Returns:
            The id of a row that is to be given up.
        """
        self._suspects = set(in_flight)
        self._most_in_flight = max(1, len(in_flight) // SHARE_IN_FLIGHT)
        if len(in_flight) != 1 or not is_certain:
            return None
        ((row_id, topic),) = in_flight.items()
        return row_id if self._strike(row_id, topic, cause, now_s, by_cut=True) else None

    def _strike(self, row_id: int, topic: str, cause: str, now_s: float, *, by_cut: bool) -> bool:
        doubt = self._doubts.setdefault(row_id, _Doubt(topic, by_cut))
        doubt.strikes, doubt.by_cut = doubt.strikes + 1, by_cut
        if doubt.is_proven:
            del self._doubts[row_id]
            self._suspects.discard(row_id)
            return True
        if len(self._doubts) > _MAX_REMEMBERED:
            del self._doubts[next(iter(self._doubts))]
        aside = self._topics.get(topic)
        doubt.probe = 0 if aside is None else aside.probes
        if aside is not None:
            aside.cause, aside.by_cut, aside.oldest_id = cause, by_cut, min(aside.oldest_id, row_id)
            if aside.rows_left:
                self._rewind(aside.next_id)
        elif not by_cut or doubt.strikes >= CUTS_ALONE:
            aside = self._topics[topic] = _Topic(cause, by_cut, row_id, now_s + _pause_s(by_cut, 0))
            self._taken.discard(topic)
            if by_cut:  # at once the next one: is it the row or the topic?
                aside.rows_left, aside.next_id = 1, row_id + 1
        if aside is not None:
            self._suspects.discard(row_id)
        return False

    def _rewind(self, row_id: int) -> None:
        self._rewind_to = row_id if self._rewind_to is None else min(row_id, self._rewind_to)
