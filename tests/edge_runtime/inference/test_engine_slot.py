import threading

import numpy as np
import pytest

from edge_runtime.datatypes import Generation
from edge_runtime.errors import EngineError
from edge_runtime.inference.engine_slot import EngineSlot
from tests.support.fake_engine import FakeEngine
from tests.support.slots import answer
from tests.support.waiting import WAIT_S

A, B = Generation("m/1"), Generation("m/1", "p1")
BATCH = np.zeros((1, 3), np.float32)


class GatedEngine:
    """Answers with its value, after ``gate`` opens; remembers whether it was used after close."""

    def __init__(self, value, gate=None, error=None):
        self.value, self.gate, self.error, self.is_closed = value, gate, error, False
        self.entered = threading.Event()

    def infer(self, batch):
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(WAIT_S)
        assert not self.is_closed, "engine was used after it was freed"
        if self.error:
            raise self.error
        return {"out": np.full((len(batch), 1), self.value)}

    def close(self):
        self.is_closed = True


def test_answers_name_the_generation_that_made_them():
    slot = EngineSlot(A, GatedEngine(1))
    assert answer(slot, BATCH)[1] == A
    assert slot.swap(B, GatedEngine(2)) == A
    outputs, generation = answer(slot, BATCH)
    assert (float(outputs["out"][0, 0]), generation) == (2.0, B)


def test_a_running_batch_keeps_its_engine_and_frees_it_at_the_end():
    gate = threading.Event()
    old, answers = GatedEngine(1, gate), []
    slot = EngineSlot(A, old)
    thread = threading.Thread(target=lambda: answers.append(answer(slot, BATCH)))
    thread.start()
    assert old.entered.wait(WAIT_S)
    slot.swap(B, GatedEngine(2))
    assert not old.is_closed
    gate.set()
    thread.join(WAIT_S)
    assert answers[0][1] == A
    assert old.is_closed


def test_a_batch_taken_before_a_swap_runs_on_the_engine_of_its_time():
    old = GatedEngine(1)
    slot = EngineSlot(A, old)
    lease = slot.acquire()
    slot.swap(B, GatedEngine(2))
    assert float(slot.infer(lease, BATCH)["out"][0, 0]) == 1.0
    assert (lease.generation, old.is_closed) == (A, False)
    slot.release(lease)
    assert old.is_closed


def test_an_idle_engine_is_freed_at_the_swap():
    old = GatedEngine(1)
    EngineSlot(A, old).swap(B, GatedEngine(2))
    assert old.is_closed


def test_failures_in_a_row_are_counted_and_forgotten_after_a_success():
    engine = GatedEngine(1, error=EngineError("broken"))
    slot = EngineSlot(A, engine)
    for _ in range(3):
        with pytest.raises(EngineError):
            answer(slot, BATCH)
    assert slot.failures_in_a_row == 3
    engine.error = None
    answer(slot, BATCH)
    assert slot.failures_in_a_row == 0


def test_waits_until_the_last_batch_has_freed_the_old_engine():
    gate = threading.Event()
    old, new = FakeEngine(gate=gate), FakeEngine()
    slot = EngineSlot(Generation("parts/1"), old)
    batch = np.zeros((1, 3, 8, 8), np.float32)
    busy = threading.Thread(target=answer, args=(slot, batch))
    busy.start()
    while not old.batch_sizes:
        busy.join(0.005)
    slot.swap(Generation("parts/1", "p1"), new)
    assert not slot.wait_for_freeing(0.01)
    slot.swap(Generation("parts/1"), FakeEngine())
    gate.set()
    busy.join(WAIT_S)
    assert (old.is_closed, new.is_closed) == (True, True)
    assert slot.wait_for_freeing(0.0)
    assert slot.wait_for_freeing(0.0), "nothing is waited for twice"


def test_a_pause_begins_when_the_last_running_batch_ends():
    slot = EngineSlot(A, GatedEngine(1))
    assert not slot.wait_for_pause(60), "a slot that never ran is not waited for"
    slot.release(slot.acquire())
    first, second = slot.acquire(), slot.acquire()
    found = []
    waiting = threading.Thread(target=lambda: found.append(slot.wait_for_pause(10)))
    waiting.start()
    slot.release(first)
    waiting.join(0.05)
    assert not found, "another batch still runs"
    slot.release(second)
    while waiting.is_alive():  # a pause that began before it listened does not count: give it others
        slot.release(slot.acquire())
        waiting.join(0.01)
    assert found == [True]


def test_no_pause_in_time_is_said():
    slot = EngineSlot(A, GatedEngine(1))
    slot.release(slot.acquire())
    assert not slot.wait_for_pause(0.01)


def test_a_batch_that_fails_on_the_old_engine_is_not_held_against_the_new_one():
    slot = EngineSlot(A, GatedEngine(1, error=EngineError("broken")))
    running = slot.acquire()
    slot.swap(B, GatedEngine(2))
    with pytest.raises(EngineError):
        slot.infer(running, BATCH)
    assert slot.failures_in_a_row == 0
    slot.release(running)
