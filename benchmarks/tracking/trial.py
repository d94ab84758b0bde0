"""Object events on a street with labels: ``python -m benchmarks run tracking --video FILE | --detections FILE``.

Prints how many events there are for how many people, how often a person changes the event, and the time a frame costs.
``--truth`` is a MOTChallenge file of labels. OpenCV's ``vtest.avi`` is its sequence PETS09-S2L1, at 7 frames a second.
"""

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import cv2
import numpy as np

from benchmarks.tracking.truth import Comparison, Row, read_rows
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.config import CameraConfig, Config, ModelConfig, TrackingConfig
from edge_runtime.daemon.object_events import ObjectEvents, make_rules
from edge_runtime.daemon.object_pictures import ObjectPictures
from edge_runtime.daemon.open_objects import OpenObjects
from edge_runtime.daemon.running import Running
from edge_runtime.datatypes import Detection, Frame, Rejected, Result, Timings
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.postprocess.postprocessor import Postprocessor
from edge_runtime.inference.preprocess import PictureLimits, make_preprocessor
from edge_runtime.inference.preprocess.snapshot import Mark
from edge_runtime.inference.tracking.life import StreamObjects
from edge_runtime.inference.tracking.trackforge_tracker import TrackforgeTracker
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.system.supervised_thread import Crashes

Frames = list[list[Detection]]


@click.command()
@click.option("--video", type=click.Path(path_type=Path, exists=True))
@click.option("--bundle", type=click.Path(path_type=Path, exists=True), help="Of a detector, for --video.")
@click.option(
    "--detections", type=click.Path(path_type=Path, exists=True), help="Instead, as MOTChallenge's det.txt."
)
@click.option("--truth", type=click.Path(path_type=Path, exists=True))
@click.option("--fps", default=7.0, show_default=True)
@click.option("--lost", "lost_s", default=TrackingConfig().lost_s, show_default=True)
def main(
    video: Path | None,
    bundle: Path | None,
    detections: Path | None,
    truth: Path | None,
    fps: float,
    lost_s: float,
) -> None:
    """Print the figures."""
    if video is not None and bundle is not None:
        frames = list(detect(video, bundle))
    elif detections is not None:
        frames = read_detections(detections)
    else:
        raise click.UsageError("--video with --bundle, or --detections")
    labels = {} if truth is None else read_rows(truth)
    settings = TrackingConfig(lost_s=lost_s)
    compared, events = follow(frames, labels, settings, fps)
    boxes = sum(map(len, frames))
    click.echo(f"{len(frames)} frames, {boxes} boxes, {events} events")
    if labels:
        own = compared.own_events()
        rows = sum(map(len, labels.values()))
        found = sum(map(len, compared.events.values()))
        click.echo(f"{len(compared.labelled)} people, found in {found / rows:.0%} of their frames")
        click.echo(f"changes of the event of a person: {compared.switches()}")
        click.echo(f"events of a person: {', '.join(str(own[one]) for one in sorted(compared.labelled))}")
    for objects in (1, 20):
        us, on_path_us = measure_us(objects), measure_note_us(objects)
        click.echo(
            f"{objects} objects: {us:.0f} us a frame in the thread, {on_path_us:.0f} us on the frame's path"
        )


def follow(
    frames: Frames, labels: dict[int, list[Row]], settings: TrackingConfig, fps: float
) -> tuple[Comparison, int]:
    """The events of a clip compared with its labels, and their number."""
    objects, tracker = StreamObjects(make_rules(settings)), TrackforgeTracker(int(settings.lost_s * fps) + 1)
    compared, events = Comparison(), 0
    for number, found in enumerate(frames, 1):
        wanted = [one for one in found if one.score >= settings.min_score]
        seen = [(n, one) for n, one in zip(tracker.update(wanted), wanted, strict=True) if n is not None]
        at_s = number / fps
        changes = objects.update(str(number), seen, at_s, at_s)
        events += sum(one.kind == "new" for one in changes)
        shown = {name: one.box for name, one in objects.states().items() if one.seen_at_wall_s == at_s}
        compared.add(labels.get(number, []), shown)
    return compared, events


def detect(video: Path, bundle: Path) -> Iterator[list[Detection]]:
    """The boxes that a bundle finds in each frame."""
    model = load_bundle(bundle)
    engine = open_bundle_engine(model, ThreadPlan(1, 1, "benchmark"))
    prepare = make_preprocessor(model.manifest.preprocess, PictureLimits(50_000_000, 64 << 20)).prepare
    postprocessor = Postprocessor(model.manifest, model.labels)
    capture, number = cv2.VideoCapture(str(video)), 0
    while True:
        is_there, picture = capture.read()
        if not is_there:
            break
        sample = prepare(Frame("street", number, picture.astype(np.uint8, copy=False), 0.0, 0.0))
        assert not isinstance(sample, Rejected), sample.detail
        outputs = engine.infer(sample.tensor[np.newaxis])
        answer = postprocessor.read(sample, {name: array[0] for name, array in outputs.items()})
        assert not isinstance(answer, Rejected), answer.detail
        yield list(answer.detections or ())
        number += 1
    capture.release()
    engine.close()


def read_detections(file: Path) -> Frames:
    """Those of a file, by frame."""
    rows = read_rows(file)
    return [
        [Detection(0, "person", one.score, one.box) for one in rows.get(number, [])]
        for number in range(1, max(rows) + 1)
    ]


def measure_us(count: int, frames: int = 1000) -> float:
    """Median time of one frame with so many objects that move, in microseconds."""
    rng = random.Random(1)
    places = [(rng.uniform(0, 1800), rng.uniform(0, 900), rng.uniform(-5, 5)) for _ in range(count)]
    objects, tracker = StreamObjects(make_rules(TrackingConfig())), TrackforgeTracker(90)
    spent = []
    for number in range(frames):
        found = [Detection(0, "person", 0.9, (x + number * v / 5, y, x + 60 + number * v / 5, y + 150))
                 for x, y, v in places]  # fmt: skip
        began_s = time.perf_counter()
        numbers = tracker.update(found)
        seen = [(n, one) for n, one in zip(numbers, found, strict=True) if n is not None]
        objects.update(str(number), seen, number / 10, number / 10)
        spent.append(time.perf_counter() - began_s)
    return float(np.median(spent)) * 1e6


class _NoPictures:
    """No picture leaves."""

    def ask(self, _camera: str) -> None:
        """None will come."""

    def send(self, _camera: str, _frame: Frame, _marks: Sequence[Mark]) -> None:
        """Nobody calls it."""


def measure_note_us(count: int, frames: int = 300) -> float:
    """Median time that the answer of a frame waits for ``ObjectEvents.note``, with its thread at work."""
    boxes = tuple(Detection(0, "person", 0.9, (90.0 * n, 0.0, 90.0 * n + 60, 150.0)) for n in range(count))
    camera = CameraConfig(path="rtsp://street/1", model="people", tracking=TrackingConfig())
    config = Config(device="box", models={"people": ModelConfig(bundle="people")}, cameras={"street": camera})
    crashes, spent = Crashes(), []
    with tempfile.TemporaryDirectory() as folder:
        running, delivery, file = Running(config), Delivery("box", lambda _: None), OpenObjects(Path(folder))
        events = ObjectEvents(
            running, delivery, file, TrackforgeTracker, ObjectPictures(_NoPictures()), crashes
        )
        events.start()
        for number in range(frames):
            timings = Timings(0, 0, 0, 0, 0)
            result = Result("box", "street", number, number, "people", "people/1", timings, detections=boxes)
            began_s = time.perf_counter()
            events.note(result)
            spent.append(time.perf_counter() - began_s)
            time.sleep(0.005)
        events.stop()
    assert crashes.total == 0, "the thread failed"
    return float(np.median(spent)) * 1e6


if __name__ == "__main__":
    main()
