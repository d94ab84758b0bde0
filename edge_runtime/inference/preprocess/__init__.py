"""Pictures, windows and tensors of any kind -> what one model wants, driven by its bundle; see ``prepare``."""

from edge_runtime.inference.preparation import Preprocessor
from edge_runtime.inference.preprocess.limits import PictureLimits
from edge_runtime.inference.preprocess.make import make_preprocessor
from edge_runtime.inference.preprocess.prepare import PicturePreprocessor
from edge_runtime.inference.preprocess.tensors import channels_first

__all__ = ["PictureLimits", "PicturePreprocessor", "Preprocessor", "channels_first", "make_preprocessor"]
