"""Pictures and tensors of any kind -> what one model wants, driven by its bundle; see ``prepare``."""

from edge_runtime.preprocess.decode import PictureLimits
from edge_runtime.preprocess.prepare import Preprocessor

__all__ = ["PictureLimits", "Preprocessor"]
