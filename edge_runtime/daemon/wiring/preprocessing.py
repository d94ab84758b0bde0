"""The preprocessing of a bundle with the limits of the configuration."""

from edge_runtime.config import Config
from edge_runtime.inference.preprocess import PictureLimits, Preprocessor, make_preprocessor
from edge_runtime.inference.specs import PreprocessSpec
from edge_runtime.system.supervised_thread import Crashes


def make_limited_preprocessor(config: Config, spec: PreprocessSpec, crashes: Crashes) -> Preprocessor:
    """Prepares the frames of one model."""
    return make_preprocessor(
        spec,
        PictureLimits(config.pictures.max_pixels, config.pictures.max_file_mib << 20),
        lambda err: crashes.note_once(f"{spec.noun}-{type(err).__name__}"),
    )
