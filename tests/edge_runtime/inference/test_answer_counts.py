"""Counts of answers: by class, by confidence, bounded, and nothing of raw outputs."""

import pytest

from edge_runtime.datatypes import Anomaly, Detection, Generation, Label, Value
from edge_runtime.inference.answer_counts import BOUNDS, MOST_CLASSES, OTHER, AnswerCounts
from edge_runtime.inference.answers import ANOMALOUS, INSIDE, NORMAL, NOTHING
from edge_runtime.inference.durations import MOST_KEPT
from edge_runtime.inference.postprocess.postprocessor import Answer

BASE = Generation("parts/1")


def classified(label, score=0.5):
    return Answer(top=(Label(0, label, score), Label(1, "rest", 0.1)))


def detected(*scores):
    boxes = tuple(Detection(0, f"d{score}", score, (0.0, 0.0, 1.0, 1.0)) for score in scores)
    return Answer(detections=boxes)


def counts_of(*answers):
    counts = AnswerCounts()
    for answer in answers:
        counts.note_answer(BASE, "active", answer)
    return counts


def test_an_answer_counts_for_its_best_class_or_its_strongest_box():
    counts = counts_of(classified("bolt"), classified("bolt"), detected(0.3, 0.9), detected())
    assert counts.read_classes() == {"bolt": 2, "d0.9": 1, NOTHING: 1}


@pytest.mark.parametrize(("score", "bucket"), [(-1.0, 0), (0.2, 0), (0.21, 1), (0.9, 4), (0.95, 5), (7.0, 5)])
def test_confidence_is_counted_in_the_bucket_that_it_does_not_exceed(score, bucket):
    found = counts_of(classified("bolt", score)).read_confidences()[BASE, "active"]
    assert found.counts == tuple(int(at == bucket) for at in range(len(BOUNDS) + 1))
    assert found.sum == min(max(score, 0.0), 1.0)


def test_the_confidence_of_boxes_is_their_mean_and_without_a_box_there_is_none():
    found = counts_of(detected(0.2, 0.6), detected()).read_confidences()[BASE, "active"]
    assert (sum(found.counts), found.sum) == (1, pytest.approx(0.4))


def test_raw_outputs_have_no_class():
    counts = counts_of(Answer(outputs={}))
    assert (counts.read_classes(), counts.read_confidences()) == ({}, {})


def test_values_and_scores_are_counted_by_where_they_are():
    hot, fine = (Answer(values=(Value("heat", 1.0, limits=limits),)) for limits in ("above", "inside"))
    anomalies = [
        Answer(anomaly=Anomaly(score, threshold)) for score, threshold in ((2, 1), (0, 1), (2, None))
    ]
    found = counts_of(hot, fine, fine, *anomalies, Answer(values=(Value("load", 1.0),)))
    assert found.read_classes() == {"heat above": 1, INSIDE: 2, ANOMALOUS: 1, NORMAL: 1}
    assert found.read_confidences() == {}


def test_classes_after_the_first_ones_are_counted_together():
    counts = counts_of(*(classified(f"c{number}") for number in range(MOST_CLASSES + 5)), classified("c0"))
    found = counts.read_classes()
    assert (found["c0"], found[OTHER], len(found)) == (2, 5, MOST_CLASSES + 1)


def test_of_generations_those_that_answered_last_are_kept():
    counts = counts_of(classified("bolt"))
    for number in range(MOST_KEPT + 3):
        counts.note_answer(Generation("parts/1", f"p{number}"), "active", classified("bolt"))
        counts.note_answer(BASE, "active", classified("bolt"))
    found = counts.read_confidences()
    assert len(found) == MOST_KEPT
    assert sum(found[BASE, "active"].counts) == MOST_KEPT + 4
