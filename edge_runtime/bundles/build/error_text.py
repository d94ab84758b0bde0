"""What libraries say, in the few words a person needs, and errors of an engine as refusals of a model.

Pure.
"""

import re
from pathlib import Path

from edge_runtime.errors import BundleError, EngineError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOISE = re.compile(
    r"Exception from \S+:\d+:\s*"
    r"|\[ONNXRuntimeError\] : \d+ : \w+ : "
    r"|FrontEnd API failed with \w+:\s*"
    r"|Check '[^']*' failed at \S+:\d+:\s*"
    r"|Please check if the model format is supported and model is correct\.?"
)
"""Places in a library's own sources, codes, and advice that says nothing."""


def short(said: BaseException | str, most: int = 220) -> str:
    """What was said in one line of at most ``most`` characters, without terminal colours and source places."""
    text = " ".join(_NOISE.sub("", _COLOUR.sub("", str(said))).split()).rstrip(" .;:")
    if not text and isinstance(said, BaseException):
        return type(said).__name__
    return text if len(text) <= most else f"{text[: most - 1].rsplit(' ', 1)[0]}…"


def first_cause(err: BaseException) -> BaseException:
    """What an error goes back to: torch.export wraps its reason several times."""
    while err.__cause__ is not None:
        err = err.__cause__
    return err


def refusal_of_engine(at: Path | str, err: EngineError) -> BundleError:
    """An author's model that an engine cannot run is bad data, not a failure of this program."""
    text = short(err, 400)
    expected = "a picture model that runs"
    if "no batch axis" in text:
        fix = (
            "Export it with a batch axis on every output. Where the number of boxes depends on the picture, export "
            "a fixed number of the best, or those before NMS, and set nms_iou."
        )
    elif "model inputs:" in text:
        expected = "one float32, float16 or uint8 input (N, C, H, W) or (N, H, W, C)"
        text = text.partition("; expected ")[0]
        fix = "Export the picture part of the model alone, with such an input."
    elif "forward() is missing value" in text:
        fix = "Wrap the net so that forward takes the picture alone, and save that."
    elif text.startswith("torch failed"):
        fix = "Check preprocess (width, height, layout, colour): TorchScript files do not say what they take."
    else:
        fix = "Run it once in the library that is named here, and export it again."
    return BundleError(at, text, expected, fix)
