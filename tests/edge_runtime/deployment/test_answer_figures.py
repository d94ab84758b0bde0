"""Figures of what is answered: by version, patch and arm, bounded, and in the pipeline from the first frame on."""

import numpy as np

from edge_runtime.datatypes import Detection, Generation, Label, Sample
from edge_runtime.deployment.answer_figures import MOST_KEPT, AnswerFigures
from edge_runtime.inference.postprocess.postprocessor import Answer
from tests.support.pipeline_bench import NEVER, make_frame, make_pipeline

BASE = Generation("parts/1")
SAMPLE = Sample("belt", 0, np.zeros((3, 8, 8), np.float32), None, None, 0.0, 0.0, 0.0, 0.0, 0.0)


def labelled(label, score=0.9):
    return Answer(top=(Label(0, label, score), Label(1, "other", (1 - score) / 2)))


def test_it_counts_labels_changes_and_how_sure_they_are():
    figures = AnswerFigures()
    for label, score in (("bolt", 0.9), ("bolt", 0.9), ("nut", 0.4), ("bolt", 0.9)):
        figures.note_answer(BASE, "active", SAMPLE, labelled(label, score))
    (one,) = figures.status()
    assert (one.bundle, one.patch, one.arm, one.answers) == ("parts/1", None, "active", 4)
    assert one.labels == {"bolt": 3, "nut": 1}
    assert (one.switching_rate, one.confident_share) == (2 / 3, 0.75)
    assert sum(one.margins) == sum(one.entropies) == 4
    assert one.margins[8] == 3


def test_every_patch_and_arm_is_counted_by_itself():
    figures = AnswerFigures()
    figures.note_answer(BASE, "active", SAMPLE, labelled("bolt"))
    figures.note_answer(Generation("parts/1", "p1"), "active", SAMPLE, labelled("bolt"))
    figures.note_answer(Generation("parts/2"), "candidate", SAMPLE, labelled("bolt"))
    figures.note_answer(BASE, "active", SAMPLE, labelled("bolt"))
    found = [(one.bundle, one.patch, one.arm, one.answers) for one in figures.status()]
    assert found == [
        ("parts/1", "p1", "active", 1),
        ("parts/2", None, "candidate", 1),
        ("parts/1", None, "active", 2),
    ]


def test_those_that_answered_last_are_kept():
    figures = AnswerFigures()
    for number in range(20):
        figures.note_answer(BASE, "active", SAMPLE, labelled("bolt"))
        figures.note_answer(Generation("parts/1", f"p{number}"), "active", SAMPLE, labelled("bolt"))
    found = figures.status()
    assert len(found) == MOST_KEPT
    assert [one.answers for one in found if one.patch is None] == [20]


def test_boxes_count_by_the_strongest_one_and_raw_outputs_do_not():
    figures = AnswerFigures()
    box = Detection(0, "person", 0.8, (0, 0, 1, 1))
    figures.note_answer(BASE, "active", SAMPLE, Answer(detections=(box,)))
    figures.note_answer(BASE, "active", SAMPLE, Answer(detections=()))
    figures.note_answer(BASE, "active", SAMPLE, Answer(outputs={}))
    (one,) = figures.status()
    assert (one.answers, len(one.labels), one.labels["person"]) == (2, 2, 1)


def test_a_pipeline_tells_it_what_was_published():
    pipeline, results, _ = make_pipeline()
    pipeline.answers = AnswerFigures()
    for seq in range(3):
        pipeline.accept(make_frame(seq), is_live=True, stop=NEVER)
    while not pipeline.is_empty():
        pipeline.step(0.0)
    (one,) = pipeline.answers.status()
    assert (one.answers, one.arm) == (len(results), "active")
