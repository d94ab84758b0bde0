"""Confident answers that are kept with their pictures: how many, which, and none where pictures are forbidden."""

import cv2
import numpy as np
import orjson
import pytest

from edge_runtime.config import AuditConfig
from edge_runtime.datatypes import Generation, Label, Sample
from edge_runtime.deployment.audit import MOST_WAITING, Audit
from edge_runtime.deployment.sample_views import PictureView
from edge_runtime.inference.postprocess.postprocessor import Answer
from edge_runtime.system.supervised_thread import Crashes
from tests.support.waiting import until

GENERATION = Generation("parts/1", "p2")


def sample(seq=0, has_pixels=True):
    pixels = np.zeros((8, 12, 3), np.uint8)
    pixels[:, :, 0] = 200  # red
    tensor = np.zeros((3, 8, 12), np.float32)
    return Sample("belt", seq, tensor, pixels if has_pixels else None, None, 0.0, 0.0, 0.0, 0.0, 0.0)


def answer(score=0.9):
    return Answer(top=(Label(3, "bolt", score),))


def make(folder, keeps_pictures=True, **settings):
    given = AuditConfig(**{"share": 1.0, **settings})
    return Audit(
        "parts",
        given,
        folder,
        Crashes(),
        view=PictureView(is_bgr=False),
        keeps_pictures=keeps_pictures,
        seed=0,
    )


def kept(folder):
    return sorted(int(path.stem[1:]) for path in (folder / "audit").glob("a*.json"))


def test_a_confident_answer_is_kept_with_its_picture(tmp_path):
    audit = make(tmp_path)
    audit.start()
    audit.offer(GENERATION, sample(7), answer())
    assert until(lambda: kept(tmp_path) == [1])
    audit.stop(5.0)
    found = orjson.loads((tmp_path / "audit" / "a1.json").read_bytes())
    assert (found["stream"], found["seq"], found["generation"]) == ("belt", 7, "parts/1+p2")
    assert found["top"] == [{"index": 3, "label": "bolt", "score": 0.9}]
    picture = cv2.imread(str(tmp_path / "audit" / "a1.jpg"))
    assert picture.shape == (8, 12, 3)
    assert picture[:, :, 2].mean() > 150 > picture[:, :, 0].mean()  # red in OpenCV's order


@pytest.mark.parametrize(
    ("given", "score"), [(sample(), 0.7), (sample(has_pixels=False), 0.9), (sample(), 0.9)]
)
def test_what_is_unsure_has_no_picture_or_may_not_be_kept_is_not_offered(tmp_path, given, score):
    audit = make(tmp_path, keeps_pictures=score < 0.9 or given.values is None)
    audit.offer(GENERATION, given, answer(score))
    assert audit._waiting.empty()


def test_chance_chooses_the_share(tmp_path):
    audit, chosen = make(tmp_path, share=0.1), 0
    for seq in range(2000):
        audit.offer(GENERATION, sample(seq), answer())
        while not audit._waiting.empty():
            audit._waiting.get()
            chosen += 1
    assert 120 < chosen < 280


def test_a_slow_disk_delays_no_frame(tmp_path):
    audit = make(tmp_path)
    for seq in range(100):
        audit.offer(GENERATION, sample(seq), answer())
    assert audit._waiting.qsize() == MOST_WAITING


def test_the_newest_stay_over_a_restart(tmp_path):
    for _ in range(2):
        audit = make(tmp_path, keep=3)
        for seq in range(4):
            audit.keep(GENERATION, sample(seq), answer())
    assert kept(tmp_path) == [6, 7, 8]
    assert len(list((tmp_path / "audit").iterdir())) == 6


def test_an_edit_to_no_pictures_removes_all_and_one_back_begins_anew(tmp_path):
    audit = make(tmp_path)
    audit.keep(GENERATION, sample(), answer())
    audit.set_pictures(are_kept=False)
    audit.keep(GENERATION, sample(), answer())
    assert not (tmp_path / "audit").exists()
    audit.set_pictures(are_kept=True)
    audit.keep(GENERATION, sample(), answer())
    assert kept(tmp_path) == [1]


def test_a_disk_that_refuses_costs_the_picture(tmp_path):
    tmp_path.joinpath("models").write_bytes(b"")
    make(tmp_path / "models").keep(GENERATION, sample(), answer())
    assert kept(tmp_path) == []
