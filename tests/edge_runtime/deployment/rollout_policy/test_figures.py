import math

import numpy as np
import pytest

from edge_runtime.datatypes import Detection, Label
from edge_runtime.deployment.rollout_policy.figures import BINS, ArmFigures
from edge_runtime.inference.answers import NOTHING
from edge_runtime.inference.postprocess.postprocessor import Answer

NAN = math.nan


def classes(*scores: float, best: str = "ok") -> Answer:
    names = (best, *(f"other {i}" for i in range(1, len(scores))))
    return Answer(
        top=tuple(Label(i, name, score) for i, (name, score) in enumerate(zip(names, scores, strict=True)))
    )


def boxes(*found: tuple[str, float]) -> Answer:
    return Answer(
        detections=tuple(Detection(0, label, score, (0.0, 0.0, 9.0, 9.0)) for label, score in found)
    )


def test_nothing_noted_is_no_number_and_no_error():
    summary = ArmFigures().summary()
    assert (summary.frames, summary.failures, summary.answers) == (0, 0, 0)
    measured = (summary.latency_p50_ms, summary.latency_p99_ms, summary.confidence, summary.confident_share)
    assert measured == (None,) * 4
    assert (summary.label_entropy, summary.agreement, summary.failure_share) == (None, None, None)
    assert (summary.switching_rate, summary.most_frequent) == (None, None)


def test_failures_are_counted_in_all_and_in_a_row():
    figures = ArmFigures()
    for _ in range(3):
        figures.note_failure("engine_error")
    figures.note_answer(classes(0.9), 1.0)
    figures.note_failure("bad_output")
    summary = figures.summary()
    assert (summary.frames, summary.failures, summary.answers) == (5, 4, 1)
    assert (summary.failures_in_a_row, summary.worst_in_a_row) == (1, 3)
    assert summary.reasons == (("engine_error", 3), ("bad_output", 1))
    assert summary.failure_share == 0.8


@pytest.mark.parametrize(
    ("answer", "latency_ms"),
    [
        (classes(NAN), 1.0),
        (classes(math.inf, 0.1), 1.0),
        (boxes(("a", NAN)), 1.0),
        (Answer(detections=(Detection(0, "a", 0.9, (0.0, 0.0, NAN, 9.0)),)), 1.0),
        (Answer(outputs={"x": np.array([1.0, NAN], np.float32)}), 1.0),
        (classes(0.9), NAN),
        (classes(0.9), math.inf),
    ],
)
def test_what_is_not_finite_is_a_failure_and_poisons_nothing(answer, latency_ms):
    figures = ArmFigures()
    figures.note_answer(classes(0.9, 0.1), 2.0)
    before = figures.summary()
    figures.note_answer(answer, latency_ms)
    after = figures.summary()
    assert (after.frames, after.failures) == (2, 1)
    assert (after.latency_p50_ms, after.confidence, after.labels, after.entropies) == (
        before.latency_p50_ms,
        before.confidence,
        before.labels,
        before.entropies,
    )


def test_latency_is_given_as_percentiles():
    figures = ArmFigures()
    for ms in range(1, 102):
        figures.note_answer(classes(0.9), float(ms))
    summary = figures.summary()
    assert (summary.latency_p50_ms, summary.latency_p99_ms) == (51.0, 100.0)


def test_confidence_is_the_best_score_or_the_mean_of_the_boxes():
    figures = ArmFigures()
    figures.note_answer(classes(0.9, 0.05), 1.0)
    figures.note_answer(classes(0.5, 0.4), 1.0)
    assert figures.summary().confidence == pytest.approx(0.7)
    assert figures.summary().confident_share == 0.5
    detector = ArmFigures()
    detector.note_answer(boxes(("a", 0.9), ("b", 0.5)), 1.0)
    detector.note_answer(boxes(), 1.0)
    assert detector.summary().confidence == pytest.approx(0.7)


def test_labels_are_counted_and_a_frame_without_boxes_is_one():
    figures = ArmFigures()
    for answer in (boxes(("a", 0.5), ("b", 0.9)), boxes(), boxes()):
        figures.note_answer(answer, 1.0)
    summary = figures.summary()
    assert (summary.labels, summary.labelled) == (((NOTHING, 2), ("b", 1)), 3)
    assert summary.most_frequent == (NOTHING, 2)
    shares = (2 / 3, 1 / 3)
    assert summary.label_entropy == pytest.approx(-sum(p * math.log2(p) for p in shares))


def test_entropy_of_labels_is_0_for_one_and_1_for_equal_ones():
    figures = ArmFigures()
    figures.note_answer(classes(0.9, best="a"), 1.0)
    assert figures.summary().label_entropy == 0.0
    for label in "bcd":
        figures.note_answer(classes(0.9, best=label), 1.0)
    assert figures.summary().label_entropy == pytest.approx(1.0)


def test_switches_are_counted_within_a_stream():
    figures = ArmFigures()
    for stream, label in [("one", "a"), ("two", "b"), ("one", "a"), ("two", "c"), ("one", "b")]:
        figures.note_answer(classes(0.9, best=label), 1.0, stream=stream)
    summary = figures.summary()
    assert (summary.switches, summary.comparisons) == (2, 3)
    assert summary.switching_rate == pytest.approx(2 / 3)


def test_histograms_hold_margins_and_entropies_of_class_scores():
    figures = ArmFigures()
    figures.note_answer(classes(1.0, 0.0), 1.0)
    figures.note_answer(classes(1 / 3, 1 / 3), 1.0)  # the rest is another third
    figures.note_answer(classes(0.55, 0.2), 1.0)
    summary = figures.summary()
    assert (len(summary.margins), len(summary.entropies)) == (BINS, BINS)
    assert (summary.margins[-1], summary.margins[0], summary.margins[3]) == (1, 1, 1)
    assert (summary.entropies[0], summary.entropies[-1]) == (1, 2)


def test_independent_labels_whose_scores_exceed_1_have_an_entropy():
    figures = ArmFigures()
    figures.note_answer(classes(0.9, 0.9, 0.8), 1.0)
    assert sum(figures.summary().entropies) == 1


def test_raw_outputs_have_no_label_and_no_confidence():
    figures = ArmFigures()
    figures.note_answer(Answer(outputs={"x": np.arange(3)}), 1.0)
    summary = figures.summary()
    assert (summary.answers, summary.labelled, summary.confidence) == (1, 0, None)
    assert (sum(summary.margins), sum(summary.entropies)) == (0, 0)


def test_agreement_is_a_mean_and_no_number_is_none():
    figures = ArmFigures()
    for value in (1.0, 0.5, NAN, 7.0):
        figures.note_agreement(value)
    summary = figures.summary()
    assert (summary.agreements, summary.agreement, summary.agreement_squares) == (4, 0.625, 2.25)


def test_streams_beyond_any_configuration_are_not_compared():
    figures = ArmFigures()
    for i in (*range(300), *range(300)):
        figures.note_answer(classes(0.9), 1.0, stream=str(i))
    summary = figures.summary()
    assert (summary.labelled, summary.comparisons) == (600, 256)


def test_memory_is_bounded_whatever_the_model_answers():
    figures = ArmFigures()
    for i in range(6000):
        figures.note_answer(classes(0.9, best=str(i)), 1.0, stream=str(i))
        figures.note_failure(f"reason {i}")
    summary = figures.summary()
    assert summary.labelled == 6000
    assert summary.most_frequent is not None
    assert summary.most_frequent[1] > 1000  # all those beyond the bound
    assert len(summary.labels) == len(summary.reasons) == 10
