"""Room for requests in memory."""

import pytest

from edge_runtime.serving.refusals import Refusal
from edge_runtime.serving.room import Room


def test_room_is_given_back_also_after_a_failure():
    room = Room(2, 100)
    with room.enter(60), room.enter(40), pytest.raises(Refusal), room.enter(0):
        pass
    with room.enter(60):
        with pytest.raises(Refusal), room.enter(41):
            pass
        with pytest.raises(ZeroDivisionError), room.enter(40):
            raise ZeroDivisionError
    with room.enter(10) as place, room.enter(40):
        with pytest.raises(Refusal):
            place.resize(61)
        place.resize(60)
        place.resize(5)
    with room.enter(100):
        pass
