"""The preprocessing of a bundle with the limits of the configuration."""

from edge_runtime.config import Config
from edge_runtime.inference.preprocess import PictureLimits, Preprocessor
from edge_runtime.inference.specs import PreprocessSpec
from edge_runtime.system.supervised_thread import Crashes


def make_preprocessor(config: Config, spec: PreprocessSpec, crashes: Crashes) -> Preprocessor:
    """Prepares the pictures of one model."""
    return Preprocessor(
        spec,
        PictureLimits(config.pictures.max_pixels, config.pictures.max_file_mib << 20),
        lambda err: crashes.note_once(f"picture-{type(err).__name__}"),
    )
