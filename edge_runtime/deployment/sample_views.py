"""Samples for people to look at: a picture as a small JPEG, a window of a sensor as a chart. Arrays in, files out."""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.report.window_chart import WindowAxes, draw_window
from edge_runtime.inference.specs import PreprocessSpec, SignalSpec

CHART_WIDTH = 360
"""Of a small chart, in units of its coordinates: letters of 11 units can be read in a card."""


class Shown(NamedTuple):
    """What a page draws of a sample."""

    uri: str
    """``data:`` URI."""
    size: tuple[int, int]
    """Width and height of the coordinates that boxes are in."""


class SampleView(Protocol):
    """How the samples of one model are shown."""

    suffix: str
    """Of a file: ``jpg`` or ``svg``."""

    def encode(self, values: NDArray[Any], most_side: int) -> bytes:
        """A file of it, which stands for itself; ``most_side`` bounds a picture's longer side, in pixels."""

    def show(self, values: NDArray[Any], most_side: int) -> Shown:
        """A small one for a page."""


class PictureView:
    """Of ``Sample.values`` that are pictures, uint8 (H,W,C)."""

    suffix = "jpg"

    def __init__(self, *, is_bgr: bool) -> None:
        """``is_bgr`` tells the order of the colours."""
        self._is_bgr = is_bgr

    def encode(self, values: NDArray[Any], most_side: int) -> bytes:
        """A JPEG."""
        # Here and below: it draws with all that simulates sensors, which no start needs.
        from calibration.report.thumbnails import encode_picture

        return encode_picture(self._as_bgr(values), most_side)

    def show(self, values: NDArray[Any], most_side: int) -> Shown:
        """A thumbnail; boxes are in pixels of the whole picture."""
        from calibration.report.thumbnails import picture_uri

        height, width = values.shape[:2]
        return Shown(picture_uri(self._as_bgr(values), most_side), (width, height))

    def _as_bgr(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        is_bgr = self._is_bgr or pixels.shape[2] != 3
        return np.ascontiguousarray(pixels if is_bgr else pixels[:, :, ::-1])


class WindowView:
    """Of ``Sample.values`` that are windows, float32 (C,T) in their units."""

    suffix = "svg"

    def __init__(self, axes: WindowAxes) -> None:
        self.axes = axes

    def encode(self, values: NDArray[Any], most_side: int) -> bytes:
        """An SVG, as wide as ``most_side`` at most."""
        return draw_window(values, self.axes, min(most_side, 2 * CHART_WIDTH)).svg.encode()

    def show(self, values: NDArray[Any], most_side: int) -> Shown:  # noqa: ARG002 - a chart has a size of its own
        """A small chart."""
        chart = draw_window(values, self.axes, CHART_WIDTH)
        return Shown(chart.uri, (chart.width, chart.height))


def make_view(spec: PreprocessSpec) -> SampleView:
    """The view of the samples that are prepared so."""
    if isinstance(spec, SignalSpec):
        return WindowView(describe_axes(spec))
    return PictureView(is_bgr=spec.is_bgr)


def describe_axes(spec: SignalSpec) -> WindowAxes:
    """The meaning of the windows of a model."""
    return WindowAxes(spec.channel_names, tuple(channel.unit for channel in spec.channels), spec.rate_hz)
