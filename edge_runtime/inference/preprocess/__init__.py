"""Pictures and tensors of any kind -> what one model wants, driven by its bundle; see ``prepare``."""

from edge_runtime.inference.preprocess.limits import PictureLimits
from edge_runtime.inference.preprocess.prepare import Preprocessor
from edge_runtime.inference.preprocess.tensors import channels_first

__all__ = ["PictureLimits", "Preprocessor", "channels_first"]
