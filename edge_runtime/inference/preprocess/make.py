"""The preprocessor of a bundle: of pictures or of signals, as its specification says."""

from collections.abc import Callable

from edge_runtime.inference.preparation import Preprocessor
from edge_runtime.inference.preprocess.limits import PictureLimits
from edge_runtime.inference.preprocess.prepare import PicturePreprocessor
from edge_runtime.inference.specs import PreprocessSpec, SignalSpec


def make_preprocessor(
    spec: PreprocessSpec,
    limits: PictureLimits | None = None,
    note_failure: Callable[[Exception], object] = lambda _: None,
) -> Preprocessor:
    """Prepares the frames of one model; the arguments are those of :class:`PicturePreprocessor`."""
    limits = limits or PictureLimits()
    if isinstance(spec, SignalSpec):
        # Here: a box with cameras needs neither the formats of sensors nor a resampler.
        from edge_runtime.inference.signals.prepare import SignalPreprocessor

        return SignalPreprocessor(spec, limits.max_bytes, note_failure)
    return PicturePreprocessor(spec, limits, note_failure)
