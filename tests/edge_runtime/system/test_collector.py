import gc

import pytest

from edge_runtime.system.collector import keep_what_is_made


@pytest.fixture(autouse=True)
def _let_go():
    yield
    gc.unfreeze()
    gc.freeze()  # as tests/conftest.py left it


class Node:
    """Refers to itself: only the collector can tell that nobody needs it."""

    def __init__(self):
        self.me = self


def test_nothing_is_collected_inside_and_what_was_made_there_is_looked_at_no_more():
    with keep_what_is_made():
        assert not gc.isenabled()
        kept = Node()
    assert gc.isenabled()
    assert not any(one is kept for one in gc.get_objects())


def test_a_start_that_fails_leaves_the_collector_on():
    with pytest.raises(OSError), keep_what_is_made():
        raise OSError
    assert gc.isenabled()
