"""The counters of a stream: what it owes."""

from edge_runtime.inference.metrics import StreamMetrics


def unanswered_since(*steps: object) -> float | None:
    """What is owed after frames at these times; a word is what became of those before."""
    metrics = StreamMetrics()
    for step in steps:
        match step:
            case float():
                metrics.note_frame(step)
            case "result":
                metrics.note_result()
            case "rejected":
                metrics.note_rejection("bad_output")
            case _:
                metrics.forget_unanswered()
    return metrics.unanswered_since_s


def test_a_stream_owes_answers_for_one_run_of_frames() -> None:
    assert unanswered_since(1.0, 2.0, 3.0) == 1.0
    assert unanswered_since(1.0, "result", 2.0) == 2.0
    assert unanswered_since(1.0, "rejected", 2.0, "result") is None
    assert unanswered_since(1.0, 500.0) == 500.0  # lost before a pause
    assert unanswered_since(1.0, "closed", 2.0) == 2.0
