"""The life of an object: by the frames in which it is seen, with the clock as an argument."""

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.datatypes import Detection
from edge_runtime.inference.tracking.life import LifeRules, StreamObjects

RULES = LifeRules(min_frames=3, lost_s=2.0, update_every_s=5.0, most=2)


def person(score=0.9, label="person", x=0.0):
    return Detection(0, label, score, (x, 0.0, x + 10.0, 20.0))


class Street:
    """A stream of one frame a second."""

    def __init__(self, rules=RULES):
        self.objects, self.now_s, self.told = StreamObjects(rules), 0.0, []

    def show(self, *found, frames=1):
        for _ in range(frames):
            self.now_s += 1.0
            changes = self.objects.update(f"f{self.now_s:g}", found, self.now_s, 1000.0 + self.now_s)
            self.told += changes
        return [(one.kind, one.after.label) for one in changes]


def test_an_object_is_new_once_it_was_seen_often_enough():
    street = Street()
    assert street.show((1, person(0.6)), frames=2) == []
    assert street.show((1, person(0.8))) == [("new", "person")]
    (new,) = street.told
    assert (new.before, new.why, new.after.frames) == (None, None, 3)
    assert (new.after.started_at_wall_s, new.after.seen_at_wall_s) == (1001.0, 1003.0)
    assert (new.after.score, new.after.top_score) == (0.8, 0.8)
    assert new.after.id == "f3/1"


def test_a_slip_of_the_model_is_never_announced():
    street = Street()
    street.show((1, person()), frames=2)
    street.show(frames=4)
    assert street.told == []
    assert street.objects.is_empty


def test_it_is_told_of_again_only_after_the_interval_and_ends_when_it_is_lost():
    street = Street()
    street.show((1, person(0.9)), frames=7)
    assert [one.kind for one in street.told] == ["new"]
    assert street.show((1, person(0.5, x=5.0))) == [("update", "person")]
    update = street.told[-1]
    assert (update.before, update.after.score, update.after.top_score) == (street.told[0].after, 0.5, 0.9)
    assert street.show(frames=2) == []
    assert street.show() == [("end", "person")]
    end = street.told[-1]
    assert (end.why, end.before, end.after.seen_at_wall_s) == ("lost", update.after, 1008.0)


def test_a_short_gap_makes_no_second_object():
    street = Street()
    street.show((1, person()), frames=3)
    street.show()
    street.show((1, person()), frames=2)
    assert [one.kind for one in street.told] == ["new"]


def test_a_track_that_comes_back_after_the_end_is_another_object():
    street = Street()
    for _ in range(2):
        street.show((1, person()), frames=3)
        street.show(frames=3)
    assert [one.kind for one in street.told] == ["new", "end", "new", "end"]
    assert len({one.after.id for one in street.told}) == 2


def test_the_label_is_that_of_the_most_and_best_boxes():
    street = Street(LifeRules(3, 2.0, 1.0, 2))
    street.show((1, person(0.6, "dog")), (2, person(0.6, "dog")))
    street.show((1, person(0.5)), (2, person(0.9, "dog")))
    assert street.show((1, person(0.5)), (2, person(0.9))) == [("new", "person"), ("new", "dog")]


def test_labels_that_nobody_wants_are_not_announced():
    street = Street(LifeRules(1, 2.0, 5.0, 9, frozenset({"car"})))
    assert street.show((1, person()), (2, person(label="car"))) == [("new", "car")]
    assert set(street.objects.states()) == {street.told[0].after.id}


def test_no_more_objects_than_may_be():
    street = Street()
    many = [(n, person(x=20.0 * n)) for n in range(5)]
    street.show(*many, frames=4)
    assert len(street.told) == 2
    street.show(*many[2:], frames=3)
    assert [one.kind for one in street.told] == ["new", "new", "end", "end", "new", "new"]


def test_all_end_when_nothing_is_followed_any_more():
    street = Street()
    street.show((1, person()), frames=3)
    street.show((1, person()), (2, person()))
    (end,) = street.objects.end_all("off")
    assert (end.kind, end.why) == ("end", "off")
    assert street.objects.is_empty
    assert street.objects.end_all("off") == []


@given(st.lists(st.sets(st.integers(0, 4)), max_size=60))
def test_every_object_is_new_once_then_ends_once(frames):
    street = Street()
    for numbers in frames:
        street.show(*((n, person(x=20.0 * n)) for n in sorted(numbers)))
    told = street.told + street.objects.end_all("stopped")
    for name in {one.after.id for one in told}:
        kinds = [one.kind for one in told if one.after.id == name]
        assert (kinds[0], kinds[-1], set(kinds[1:-1]) <= {"update"}) == ("new", "end", True)
        assert len(kinds) >= 2
