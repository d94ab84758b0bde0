"""A source of pictures and charts for the HTTP server: a new frame whenever one is asked for, or none at all."""

from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from calibration.report.window_chart import WindowAxes, WindowChart, draw_window
from edge_runtime.datatypes import Frame
from edge_runtime.inference.preprocess import PictureLimits
from edge_runtime.inference.preprocess.snapshot import Snapshot, make_snapshot
from edge_runtime.serving.refusals import Refusal
from tests.support.pipeline_bench import make_frame
from tests.support.waiting import WAIT_S

WIDTH, HEIGHT = 160, 80
CAPTURED_AT_S = 1_790_000_000.25
"""All frames, seconds since 1970."""


class StillCamera:
    """Gives numbered frames at once; those of ``gate`` may not leave, ``silent`` gives none, ``pump`` is a sensor."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self.wait_s = wait_s
        self.asked: list[str] = []
        """Streams, in the order of the requests that were allowed; the sequence number is the count."""
        self.coming: Future[Frame] = Future()
        """Of ``silent``."""

    def ask(self, stream: str, max_side: int) -> Future[Frame]:
        if stream == "gate":
            raise Refusal(403, "cameras.gate.snapshots: true allows it")
        if stream == "silent":
            return self.coming
        self.asked.append(stream)
        given: Future[Frame] = Future()
        given.set_result(self.frame())
        return given

    def frame(self) -> Frame:
        level = 40 * len(self.asked) % 256
        frame = make_frame(len(self.asked), picture=np.full((HEIGHT, WIDTH, 3), level, np.uint8))
        return replace(frame, captured_at_wall_s=CAPTURED_AT_S)

    def make(self, stream: str, frame: Frame, max_side: int, quality: int) -> Snapshot | WindowChart:
        if stream == "pump":
            at_s = np.arange(256) / 100
            wave = [np.sin(6 * at_s + frame.seq), 0.1 * np.cos(40 * at_s)]
            return draw_window(np.array(wave), WindowAxes(("axial", "radial <b>"), ("g", "g"), 100.0), 360)
        return make_snapshot(frame, max_side, quality, PictureLimits(10**6, 10**6))

    def describe_silence(self, stream: str) -> Refusal:
        return Refusal(503, f"{stream} has given none yet")
