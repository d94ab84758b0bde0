"""set_aside: which rows go, wait or are given up, against a destination that follows rules; nothing here takes time."""

import random
from dataclasses import dataclass, field

import pytest

from edge_runtime.messaging.outbox.set_aside import LONGEST_PAUSE_S, Choice, SetAside

WINDOW = 20
REFUSED, CUT, TAKEN = "refused", "cut", "taken"


@dataclass
class Link:
    """Rows (id, topic) through a policy to a destination; ``decide`` gives TAKEN, REFUSED or CUT for each try."""

    rows: dict
    decide: object
    window: int = WINDOW
    now_s: float = 0.0
    delivered: list = field(default_factory=list)
    given_up: list = field(default_factory=list)
    tries: list = field(default_factory=list)
    gone: list = field(default_factory=list)
    cuts: int = 0

    def __post_init__(self):
        self.policy, self.in_flight, self.after_id = SetAside(), {}, 0
        self.waiting = dict(sorted(self.rows.items()))

    def end(self, row_id, ends):
        ends.append(row_id)
        del self.waiting[row_id]

    def run_for(self, seconds, step_s=1.0):
        end_s = self.now_s + seconds
        while self.now_s < end_s and (self.waiting or self.policy.causes()):
            self.tick()
            self.now_s += step_s
        return self

    def tick(self):
        for _ in range(10_000):
            if not self.fill():
                return
            self.answer()
        raise AssertionError("it sends the same rows for ever at one moment")

    def fill(self):
        self.policy.tick(self.now_s)
        rewind_to = self.policy.take_rewind()
        if rewind_to is not None:
            self.after_id = min(self.after_id, rewind_to - 1)
        for row_id, topic in self.waiting.items():
            if row_id <= self.after_id or row_id in self.in_flight:
                continue
            if len(self.in_flight) == self.window:
                break
            choice = self.policy.choose(row_id, topic, self.in_flight)
            if choice is Choice.WAIT:
                break
            self.after_id = row_id
            if choice is Choice.SEND:
                self.in_flight[row_id] = topic
                self.tries.append(row_id)
        else:
            self.gone += self.policy.end_of_rows(self.in_flight)
        return bool(self.in_flight)

    def answer(self):
        """In the order of sending; a cut ends the connection for those behind it too."""
        for row_id, topic in list(self.in_flight.items()):
            match self.decide(row_id, topic):
                case "taken":
                    del self.in_flight[row_id]
                    self.policy.accept(row_id, topic)
                    self.end(row_id, self.delivered)
                case "refused":
                    del self.in_flight[row_id]
                    if self.policy.refuse(row_id, topic, "rules", self.now_s):
                        self.end(row_id, self.given_up)
                case _:
                    self.cuts += 1
                    given_up = self.policy.cut(self.in_flight, True, "cut", self.now_s)
                    if given_up is not None:
                        self.end(given_up, self.given_up)
                    self.in_flight.clear()
                    self.after_id = 0
                    return


def rows(count, topics=("a", "b", "event")):
    return {number: topics[number % len(topics)] for number in range(1, count + 1)}


def assert_in_order(link):
    for topic in set(link.rows.values()):
        ids = [one for one in link.delivered if link.rows[one] == topic]
        assert ids == sorted(ids), topic


@pytest.mark.parametrize("how", [REFUSED, CUT])
@pytest.mark.parametrize(
    "bad", [{1}, {2}, {7}, {60}, {1, 2, 3}, {4, 7, 10}, {30, 31}, {20, 40, 59}, {55, 58}, {1, 60}]
)
def test_a_bad_row_costs_that_row_and_no_other(bad, how):
    link = Link(rows(60), lambda row_id, topic: how if row_id in bad else TAKEN).run_for(3600)
    assert set(link.given_up) | set(link.waiting) == bad
    assert sorted(link.delivered) == sorted(link.rows.keys() - bad)
    assert_in_order(link)
    last_of_topic = {
        max(one for one, topic in link.rows.items() if topic == name) for name in ["a", "b", "event"]
    }
    assert set(link.waiting) <= {one for one in bad if {one + 3 * n for n in range(9)} & last_of_topic}


@pytest.mark.parametrize("how", [REFUSED, CUT])
@pytest.mark.parametrize("closed", ["a", "b", "event"])
def test_a_topic_that_is_closed_waits_whole_and_the_others_flow_at_once(closed, how):
    link = Link(rows(300), lambda _, topic: how if topic == closed else TAKEN).run_for(20)
    assert {link.rows[one] for one in link.waiting} == {closed}
    assert sorted(link.delivered) == [one for one, topic in link.rows.items() if topic != closed]
    assert link.given_up == []
    link.run_for(3600)
    assert link.given_up == []
    assert link.cuts < 60
    assert len([one for one in link.tries if link.rows[one] == closed]) < 600


@pytest.mark.parametrize("how", [REFUSED, CUT])
def test_a_topic_that_is_opened_again_is_delivered_whole_in_order(how):
    link = Link(rows(200), lambda *_: TAKEN)
    link.decide = lambda _, topic: how if topic == "b" and link.now_s < 100 else TAKEN
    link.run_for(100)
    assert len(link.waiting) == 67
    link.run_for(700 if how == CUT else LONGEST_PAUSE_S + 1)
    assert (link.waiting, link.given_up) == ({}, [])
    assert_in_order(link)


def test_a_quota_gives_up_nothing():
    """Ten messages a second, of any topic; the rest is refused."""
    taken_at = []

    def decide(*_):
        if sum(at_s > link.now_s - 1 for at_s in taken_at) >= 10:
            return REFUSED
        taken_at.append(link.now_s)
        return TAKEN

    link = Link(rows(200), decide)
    refuse = link.policy.refuse
    link.policy.refuse = lambda *args: refuse(*args, may_be_the_row=False)
    link.run_for(7200)
    assert (link.waiting, link.given_up) == ({}, [])


@pytest.mark.parametrize("seed", range(12))
def test_a_network_that_breaks_at_random_gives_up_nothing(seed):
    random_ = random.Random(seed)
    link = Link(
        rows(150), lambda *_: CUT if random_.random() < 0.02 else TAKEN, window=random_.choice([1, 2, 20])
    )
    link.run_for(3600)
    assert link.given_up == []
    assert sorted(link.delivered) == sorted(link.rows)
    assert_in_order(link)


def test_a_restarted_broker_costs_a_few_round_trips():
    link = Link(rows(100), lambda *_: TAKEN)
    link.fill()
    link.policy.cut(link.in_flight, True, "cut", 0.0)
    link.in_flight.clear()
    link.after_id, rounds = 0, 0
    while link.fill():
        link.answer()
        rounds += 1
    assert sorted(link.delivered) == sorted(link.rows)
    assert rounds <= 10


def test_a_row_is_not_suspected_when_something_else_was_unanswered():
    link = Link({1: "a"}, lambda *_: TAKEN)
    for _ in range(5):
        assert link.policy.choose(1, "a", {}) is Choice.SEND
        assert link.policy.cut({1: "a"}, False, "cut", 0.0) is None
    assert link.policy.causes() == {}


def test_the_causes_name_every_topic_that_waits_until_it_is_open():
    link = Link(rows(9), lambda _, topic: REFUSED if topic == "event" else TAKEN)
    link.run_for(1)
    assert link.policy.causes() == {"event": "rules"}
    link.decide = lambda *_: TAKEN
    link.run_for(LONGEST_PAUSE_S)
    assert link.policy.causes() == {}


def test_suspects_that_left_the_outbox_hold_up_nobody():
    link = Link(rows(40), lambda *_: TAKEN)
    link.fill()
    link.policy.cut(link.in_flight, True, "cut", 0.0)
    link.in_flight.clear()
    link.after_id = 0
    for one in range(1, 15):
        del link.waiting[one]  # dropped by age
    link.run_for(5)
    assert len(link.delivered) == 26


@pytest.mark.parametrize("how", [REFUSED, CUT])
@pytest.mark.parametrize("count", [1, 2, 9, 60])
def test_a_topic_whose_rows_are_gone_is_open_after_the_next_probe(how, count):
    link = Link(rows(count, ("event",)), lambda *_: how)
    link.run_for(3600)
    assert list(link.policy.causes()) == ["event"]
    link.waiting.clear()  # dropped by age, by size, or with a stream that was removed
    link.run_for(601)
    assert (link.policy.causes(), link.gone) == ({}, ["event"])


@pytest.mark.parametrize("how", [REFUSED, CUT])
def test_a_topic_of_which_one_row_is_left_stays_set_aside(how):
    link = Link(rows(60, ("a", "event")), lambda _, topic: TAKEN if topic == "a" else how).run_for(60)
    link.waiting = {59: "event"}
    link.run_for(3600)
    assert (list(link.policy.causes()), link.gone) == (["event"], [])


def test_a_probe_that_is_in_flight_is_not_gone():
    link = Link({1: "a"}, lambda *_: REFUSED).run_for(1)
    link.now_s += LONGEST_PAUSE_S
    assert link.fill()
    assert link.policy.end_of_rows(link.in_flight) == []
    link.policy.tick(link.now_s + 2 * LONGEST_PAUSE_S)
    assert link.policy.end_of_rows(link.in_flight) == []


@pytest.mark.parametrize("others", [0, 1, 5])
def test_a_late_acknowledgement_opens_the_topic_and_accuses_no_other_row(others):
    policy, ids = SetAside(), range(1, others + 2)
    for one in ids:
        assert not policy.refuse(one, "a", "unanswered", 0.0)
    policy.accept_late(1)
    assert policy.causes() == {}
    assert not any(policy.refuse(one, "a", "unanswered", 1.0) for one in ids if one > 1)


def test_a_late_acknowledgement_of_a_row_that_is_not_in_doubt_changes_nothing():
    policy = SetAside()
    policy.refuse(1, "a", "rules", 0.0)
    policy.accept_late(2)
    assert policy.causes() == {"a": "rules"}


def test_a_row_in_front_of_the_first_refused_one_is_sent_with_the_probe():
    """It was in flight, and the network broke before it was acknowledged."""
    link = Link({1: "a", 2: "a", 3: "a"}, lambda *_: TAKEN)
    link.fill()
    link.policy.refuse(2, "a", "rules", 0.0)
    link.in_flight.clear()
    link.after_id = 0
    link.run_for(10)
    assert link.delivered == [1, 2, 3]
