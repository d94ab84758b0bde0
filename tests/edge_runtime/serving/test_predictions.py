"""The thread that prepares what callers send."""

import gc
import time
import weakref
from types import SimpleNamespace

import pytest

from edge_runtime.datatypes import Asked
from edge_runtime.serving.predictions import Predictions, ServedModel
from edge_runtime.serving.refusals import Refusal
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.supervised_thread import Crashes
from tests.support.waiting import WAIT_S, until


def test_after_its_deadline_no_more_of_a_request_is_prepared(tmp_path):
    """It may hold as many large pictures as are allowed, and the other callers wait behind it."""
    prepared = []

    def prepare_until_too_late(frame):
        prepared.append(frame.seq)
        assert until(lambda: time.monotonic() >= frame.asker.gives_up_at_s)
        return Asked.TAKEN

    model = ServedModel(SimpleNamespace(ask=prepare_until_too_late), None)
    predictions = Predictions(
        lambda: {"parts": model}, lambda: False, lambda: SequenceNumbers(tmp_path / "seq"), 0.5, Crashes()
    )
    try:
        predictions.ask("parts", lambda _: [b""] * 100)
        assert until(lambda: prepared)
    finally:
        predictions.stop()
    assert len(prepared) == 1


@pytest.mark.parametrize("error", [Refusal(400, "no picture"), OSError("bug")])
def test_a_request_that_was_refused_is_not_kept(tmp_path, error):
    """Its body may be large; whether the collector of cycles comes by is chance."""

    class Read:
        def __call__(self, model):
            raise error

    model = ServedModel(SimpleNamespace(), None)
    predictions = Predictions(
        lambda: {"parts": model}, lambda: False, lambda: SequenceNumbers(tmp_path / "seq"), 60.0, Crashes()
    )
    read = Read()
    kept = weakref.ref(read)
    gc.disable()
    try:
        future = predictions.ask("parts", read)
        del read
        assert isinstance(future.exception(WAIT_S), Refusal)
        error.__traceback__ = None  # of this test, which raises it again and again
        assert until(lambda: kept() is None)
    finally:
        gc.enable()
        predictions.stop()
