"""The page of a trial: everything in it, nothing injected, small, and without pictures where those are taken out."""

import numpy as np
import pytest

from calibration.report.template import without_pictures
from edge_runtime.datatypes import Detection, Geometry, Label, Sample
from edge_runtime.deployment.disagreements import MOST_KEPT, MOST_URI_BYTES, Disagreements
from edge_runtime.deployment.rollout_policy.figures import ArmFigures
from edge_runtime.deployment.rollout_policy.plan import Stage
from edge_runtime.deployment.rollout_policy.verdict import Finding, VerdictKind
from edge_runtime.deployment.sample_views import PictureView
from edge_runtime.deployment.trial_page import StageRecord, TrialOutcome, make_page
from edge_runtime.inference.postprocess.postprocessor import Answer
from tests.support.html_tags import parse

EVIL = '"><script>alert(1)</script>'
MOST_BYTES = 500_000


def sample(seq=0, size=(224, 300), geometry=None):
    pixels = np.random.default_rng(seq).integers(0, 255, (*size, 3), np.uint8)
    tensor = np.zeros((3, *size), np.float32)
    return Sample("belt", seq, tensor, pixels, geometry, 0.0, 0.0, 0.0, 0.0, 0.0)


def labelled(label, score=0.9):
    return Answer(top=(Label(0, label, score), Label(1, "other", (1 - score) / 2)))


def summary(label, count=20):
    figures = ArmFigures()
    for i in range(count):
        figures.note_answer(labelled(f"{label}{i % 12}"), 5.0)
    figures.note_agreement(0.5)
    return figures.summary()


def outcome(is_promoted=False, label="bolt"):
    finding = Finding("agreement", 0.5, 0.8, VerdictKind.FAIL, is_dry_run=False, text=f"agreement {label}")
    stages = (
        StageRecord(Stage.STAGED, 0.0, 0.4, "opened and self-tested"),
        StageRecord(Stage.SHADOW, 1.0, 400.0, "agreement 0.5", (finding,), summary(label), summary("bolt")),
    )
    return TrialOutcome("parts", "parts/3", "parts/2", is_promoted, f"agreement {label}", stages)


@pytest.mark.parametrize(
    ("decision", "commands"),
    [
        ({"is_promoted": True}, ["rollback"]),
        ({"is_promoted": False, "waits": True}, ["approve-patch", "reject-patch"]),
        ({"is_promoted": False}, ["recalibrate"]),
    ],
)
def test_the_page_of_a_patch_names_generations_and_what_a_person_can_do(decision, commands):
    stages = (StageRecord(Stage.SHADOW, 1.0, 4.0, "all pass", (), summary("bolt"), summary("bolt")),)
    of_patch = TrialOutcome(
        "parts", "parts/1+p2", "parts/1+p1", reason="all pass", stages=stages, patch="p2", **decision
    )
    text = make_page(of_patch, ())
    parse(text)
    assert all(name in text for name in ("parts/1+p1", "p2"))
    sent = [
        verb
        for verb in ("rollback", "approve-patch", "reject-patch", "recalibrate")
        if f"send {verb} " in text
    ]
    assert sent == commands
    assert "ersion" not in text


def kept(are_kept=True, answer=labelled, count=100):
    disagreements = Disagreements(PictureView(is_bgr=False))
    disagreements.set_pictures(are_kept=are_kept)
    for seq in range(count):
        disagreements.add(sample(seq), answer("one"), answer("two"), seq % 5 / 10)
    return disagreements


def test_the_page_names_stages_findings_and_both_versions():
    text = make_page(outcome(), kept().worst())
    for words in ("version 2", "version 3", "Shadow", "7 minutes", "bolt3", "refused", "agreement 0.5"):
        assert words in text, words
    assert "promoted" in make_page(outcome(is_promoted=True), ())


def test_labels_and_reasons_are_escaped_and_nothing_is_loaded():
    evil = lambda _: labelled(EVIL)  # noqa: E731
    tags = parse(make_page(outcome(label=EVIL), kept(answer=evil).worst()))
    assert "script" not in tags.seen
    assert tags.styles == []
    assert tags.links
    assert all(link.startswith("data:image/") for link in tags.links)


def test_it_stays_small_and_can_lose_its_pictures():
    text = make_page(outcome(), kept().worst())
    assert len(text.encode()) < MOST_BYTES
    bare = without_pictures(text)
    assert "data:image" in text
    assert "data:image" not in bare
    parse(bare)


def test_a_version_that_was_never_opened_has_a_page_as_well():
    stages = (StageRecord(Stage.STAGED, 0.0, 0.1, "labels.txt is damaged"),)
    text = make_page(TrialOutcome("parts", "parts/3", "parts/2", False, "damaged", stages), ())
    parse(text)
    assert "labels.txt is damaged" in text


def test_the_least_agreement_is_kept_first_and_no_more_than_some():
    found = kept().worst()
    assert len(found) == MOST_KEPT
    assert {one.agreement for one in found} == {0.0}
    assert len({one.seq for one in found}) == MOST_KEPT
    assert all(one.picture is not None and len(one.picture) <= MOST_URI_BYTES for one in found)


def test_frames_that_agree_are_not_kept():
    disagreements = kept(count=0)
    disagreements.add(sample(), labelled("one"), labelled("one"), 1.0)
    assert disagreements.worst() == ()


def test_where_no_picture_may_be_kept_there_is_none_and_those_of_before_go():
    assert all(one.picture is None for one in kept(are_kept=False).worst())
    disagreements = kept()
    disagreements.set_pictures(are_kept=False)
    assert disagreements.worst() == ()


@pytest.mark.parametrize("pixels", [(224, 300), (40, 20)])
def test_boxes_are_drawn_where_the_model_saw_them(pixels):
    geometry = Geometry(600, 448, 0.5, 0.5, 10.0, 0.0)
    answer = Answer(detections=(Detection(0, "person", 0.8, (100.0, 40.0, 200.0, 240.0)),))
    disagreements = Disagreements(PictureView(is_bgr=False))
    disagreements.set_pictures(are_kept=True)
    disagreements.add(sample(size=pixels, geometry=geometry), answer, Answer(detections=()), 0.0)
    (one,) = disagreements.worst()
    assert one.active.boxes == ((60.0, 20.0, 50.0, 100.0),)
    assert one.candidate.lines == ("nothing",)
    assert one.size == pixels[::-1]
    parse(make_page(outcome(), (one,)))
