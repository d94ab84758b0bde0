from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.accuracy.datasets.street_video import (
    ORDERS,
    VIDEO,
    VideoMissing,
    find_video,
    frames_of,
    load_street,
    prepare,
)
from benchmarks.accuracy.tracks.pedestrians import hard_f1
from calibration.outputs.detections import Detections, collect


def frames(*scores: float, shift: float = 0.0) -> Detections:
    """A frame with one object a score, side by side."""
    left = np.arange(len(scores)) * 20.0 + shift
    boxes = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1).astype(np.float32)
    return collect([(boxes, np.asarray(scores, np.float32), np.ones(len(scores), np.int32))])


@pytest.mark.parametrize(
    ("found", "f1"),
    [
        (frames(0.9, 0.8), 1.0),
        (frames(0.9, 0.8, shift=2), 1.0),  # IoU 0.67
        (frames(0.9, 0.8, shift=4), 0.0),  # IoU 0.43
        (frames(0.9, 0.4), 2 / 3),
        (frames(0.9, 0.8, 0.7), 0.8),
        (frames(), 0.0),
    ],
)
def test_f1_counts_sure_boxes_that_overlap_by_half(found: Detections, f1: float) -> None:
    assert hard_f1(found, frames(0.9, 0.8)) == pytest.approx(f1)


def test_two_boxes_on_one_object_are_one_hit_and_one_false_alarm() -> None:
    one = frames(0.9)
    double = Detections(
        *(np.concatenate([part, part], axis=1) for part in (one.boxes, one.scores, one.classes))
    )
    assert hard_f1(double, one) == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """795 small frames, each as bright as it is late."""
    path = tmp_path_factory.mktemp("video") / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 24))
    for i in range(795):
        writer.write(np.full((24, 32, 3), i // 4, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("seed", range(len(ORDERS)))
def test_the_parts_share_no_second(video: Path, seed: int) -> None:
    street = load_street(seed, video)
    levels = [part[:, 12, 16, 0].astype(int) for part in (street.baseline, street.reference, street.test)]
    assert all(len(part) >= 64 for part in levels)
    spans = sorted((part.min(), part.max()) for part in levels)
    assert spans[0][1] < spans[1][0]
    assert spans[1][1] < spans[2][0]


def test_pictures_are_prepared_for_the_detector(video: Path) -> None:
    x = prepare(load_street(0, video).test[:2])
    assert (x.shape, x.dtype) == ((2, 3, 300, 300), np.float32)


def test_frames_that_are_not_asked_for_are_not_kept(video: Path) -> None:
    pixels, numbers = frames_of(video, 5, 16)
    assert numbers.tolist() == list(range(5, 795, 16))
    assert abs(int(pixels[10, 12, 16, 0]) - numbers[10] // 4) <= 2


def test_an_unpacked_video_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / VIDEO.relative_to("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert find_video(tmp_path) in (VIDEO, path)


def test_a_missing_or_short_video_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(VideoMissing, match="opencv-doc"):
        load_street(0, tmp_path / "none.avi")
    path = tmp_path / "short.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 24))
    for _ in range(100):
        writer.write(np.zeros((24, 32, 3), np.uint8))
    writer.release()
    with pytest.raises(VideoMissing, match="25"):
        load_street(0, path)
