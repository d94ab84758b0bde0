"""The thread that prepares what callers send."""

import time
from types import SimpleNamespace

from edge_runtime.datatypes import Asked
from edge_runtime.serving.predictions import Predictions, ServedModel
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.supervised_thread import Crashes
from tests.support.waiting import until


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
