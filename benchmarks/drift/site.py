"""One site under watch: measures its pictures once, then plays streams of them to ``calibration.DriftMonitor``."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import calibration
from benchmarks.drift.scenes import Pixels, Scene, drifted
from calibration.baseline.baseline import Baseline
from calibration.drift.monitor import DriftMonitor, DriftSettings, DriftStatus
from calibration.outputs.read import layout_of, read_answers
from calibration.stats.moments import ANSWERS_TAP, FrameMoments, MeanVar, join
from calibration.stats.output_features import answer_features
from calibration.stats.sensor_features import sensor_features, sensor_features_of_frames

WITHIN = 64
RAMP_FRAMES, RAMP_STEPS, RAMP_PICTURES = 2000, 10, 100
AT_ONCE = 16

Frames = Mapping[str, FrameMoments]


@dataclass(frozen=True, slots=True)
class Found:
    """One drift at one severity."""

    scene: str
    seed: int
    drift: str
    severity: float
    products: int | None
    """How many different ones a stream shows; None is all."""
    cost: float | None
    """Accuracy lost, as a share of all pictures; None: not known."""
    found: float
    """Share of streams that alarm within 64 frames."""
    score: float
    """Median over the streams of the last score; 1 is alarming."""
    sign: str


@dataclass(frozen=True, slots=True)
class Alarms:
    """Healthy streams."""

    scene: str
    seed: int
    products: int | None
    """How many different ones a stream shows; None is all."""
    is_fresh: bool
    """Every frame another picture; else those that the drifts are measured on, three a product on the cut-outs."""
    streams: int
    frames: int
    """In each stream."""
    alarms: int
    content: int
    """Streams that ended with the verdict ``content``."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A drift that grows from nothing over 2,000 frames."""

    scene: str
    seed: int
    drift: str
    severity: float | None
    """When the alarm came; None: never."""
    cost: float | None
    """Accuracy lost at that severity."""


class Site:
    """A scene with its baseline and a fresh monitor."""

    def __init__(self, scene: Scene, seed: int, streams: int) -> None:
        self.scene, self.seed, self._streams = scene, seed, streams
        self._target = calibration.open_target(scene.model)
        self.baseline: Baseline = calibration.profile(
            scene.model, scene.prepare(scene.baseline), healthy_samples=0
        )
        settings = DriftSettings()
        rng = np.random.default_rng(seed)
        self._new_monitor = DriftMonitor(self.baseline.moments, self.baseline.frames, settings, rng)
        self._rng = np.random.default_rng([seed, 1])
        self.healthy, self._right = self.measured(scene.watched)
        self._fresh_frames = None if scene.fresh is None else self.measured(scene.fresh[0])[0]

    def measured(self, pixels: Pixels) -> tuple[Frames, float | None]:
        """Single-frame moments of the pictures; the accuracy too if they are all that are watched."""
        parts: list[Frames] = []
        predicted = []
        run = self._target.runner()
        for start in range(0, len(pixels), AT_ONCE):
            x = self.scene.prepare(pixels[start : start + AT_ONCE])
            seen = self._target.observe(x, first_taps=3, frames_of_first=4)
            outputs = run(x)
            probabilities = np.asarray(read_answers(outputs, layout_of(outputs)))
            answers = {ANSWERS_TAP: answer_features(probabilities)}
            parts.append({**seen.frames, **sensor_features_of_frames(x), **answers})
            predicted.append(probabilities.argmax(axis=1))
        frames = {tap: join([part[tap] for part in parts]) for tap in parts[0]}
        known = self.scene.accuracy is not None and len(pixels) == len(self.scene.watched)
        return frames, self.scene.accuracy(
            np.concatenate(predicted)
        ) if known and self.scene.accuracy else None

    def play(self, frames: Frames, order: NDArray[np.int64]) -> list[DriftStatus]:
        """What a fresh monitor says to the frames in this order, a second between two."""
        monitor = copy.deepcopy(self._new_monitor)
        return [monitor.update(_one(frames, int(i)), float(second)) for second, i in enumerate(order)]

    def order(self, length: int, among: NDArray[np.int64]) -> NDArray[np.int64]:
        """A stream: pictures drawn at random, or a run of the video from any start."""
        if not self.scene.is_video:
            return self._rng.choice(among, length)
        return int(self._rng.integers(len(among) - length + 1)) + np.arange(length)

    def drift(self, name: str, severity: float, products: Sequence[int | None] = (None,)) -> list[Found]:
        """One cell of the table for each number of products."""
        frames, right = self.measured(drifted(self.scene.watched, name, severity, self.seed))
        cost = None if right is None or self._right is None else self._right - right
        return [self._found(name, severity, few, cost, frames) for few in products]

    def _found(
        self, name: str, severity: float, products: int | None, cost: float | None, frames: Frames
    ) -> Found:
        orders = [self.order(WITHIN, self._among(products, self.scene.content)) for _ in range(self._streams)]
        played = [self.play(frames, order) for order in orders]
        found = float(np.mean([any(status.alarm for status in statuses) for statuses in played]))
        score = float(np.median([statuses[-1].score for statuses in played]))
        signs = [statuses[-1].sign for statuses in played]
        sign = max(set(signs), key=signs.count)
        return Found(self.scene.name, self.seed, name, severity, products, cost, found, score, sign)

    def healthy_streams(
        self, products: int | None, streams: int, length: int = WITHIN, *, is_fresh: bool = False
    ) -> Alarms:
        """Alarms where none should be.

        Raises:
            ValueError: the scene has no fresh pictures.
        """
        frames, content = self.healthy, self.scene.content
        if is_fresh:
            if self.scene.fresh is None or self._fresh_frames is None:
                raise ValueError(f"{self.scene.name} has no fresh pictures")
            frames, content = self._fresh_frames, self.scene.fresh[1]
        alarms = moved = 0
        for _ in range(streams):
            statuses = self.play(frames, self.order(length, self._among(products, content)))
            found = sum(status.alarm for status in statuses)
            alarms += found if length > WITHIN else found > 0
            moved += statuses[-1].verdict == "content"
        return Alarms(self.scene.name, self.seed, products, is_fresh, streams, length, alarms, moved)

    def _among(self, products: int | None, content: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """The pictures of some products, drawn at random; all of them for None."""
        if products is None or content is None:
            return np.arange(len(self.scene.watched) if content is None else len(content))
        return np.flatnonzero(np.isin(content, self._rng.choice(np.unique(content), products, replace=False)))

    def ramp(self, name: str) -> Ramp:
        """Frames of rising severity in steps of a tenth, until the alarm."""
        some = self.scene.watched[:RAMP_PICTURES]
        levels = [
            self.measured(drifted(some, name, s / RAMP_STEPS, self.seed))[0] for s in range(RAMP_STEPS + 1)
        ]
        monitor = copy.deepcopy(self._new_monitor)
        for frame in range(RAMP_FRAMES):
            level = round(RAMP_STEPS * frame / RAMP_FRAMES)
            picture = frame % len(some) if self.scene.is_video else int(self._rng.integers(len(some)))
            if monitor.update(_one(levels[level], picture), float(frame)).alarm:
                severity = frame / RAMP_FRAMES
                return Ramp(self.scene.name, self.seed, name, severity, self._cost_at(name, severity))
        return Ramp(self.scene.name, self.seed, name, None, None)

    def _cost_at(self, name: str, severity: float) -> float | None:
        if self._right is None:
            return None
        right = self.measured(drifted(self.scene.watched, name, severity, self.seed))[1]
        return None if right is None else self._right - right

    def cost_ms(self) -> dict[str, float]:
        """Median time of the monitor's own work per sampled frame, without the probe."""
        x = self.scene.prepare(self.scene.watched[:1])[0]
        monitor, frame = copy.deepcopy(self._new_monitor), _one(self.healthy, 0)
        return {
            "sensor_features_ms": _median_ms(lambda: sensor_features(x)),
            "update_ms": _median_ms(lambda: monitor.update(frame, 0.0)),
        }


def _one(frames: Frames, i: int) -> dict[str, MeanVar]:
    return {tap: (part.mean[i], part.var[i]) for tap, part in frames.items()}


def _median_ms(work: Callable[[], object], runs: int = 200) -> float:
    times = []
    for _ in range(runs):
        began_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - began_s)
    return 1000 * float(np.median(times))
