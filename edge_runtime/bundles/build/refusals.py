"""Errors of libraries and engines as refusals of an author's model, in one line; several formats tried in turn.

Pure.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_runtime.errors import BundleError, EngineError
from edge_runtime.inference.engines.parts import PartMisfit

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOISE = re.compile(
    r"Exception from \S+:\d+:\s*"
    r"|\[ONNXRuntimeError\] : \d+ : \w+ : "
    r"|FrontEnd API failed with \w+:\s*"
    r"|Check '[^']*' failed at \S+:\d+:\s*"
    r"|Please check if the model format is supported and model is correct\.?"
)
"""Places in a library's own sources, codes, and advice that says nothing."""


def shorten(said: BaseException | str, most: int = 220) -> str:
    """What was said in one line of at most ``most`` characters, without terminal colours and source places."""
    text = " ".join(_NOISE.sub("", _COLOUR.sub("", str(said))).split()).rstrip(" .;:")
    if not text and isinstance(said, BaseException):
        return type(said).__name__
    return text if len(text) <= most else f"{text[: most - 1].rsplit(' ', 1)[0]}…"


def make_refusal(at: Path | str, err: EngineError) -> BundleError:
    """An author's model that an engine cannot run is bad data, not a failure of this program."""
    if isinstance(err, PartMisfit):
        return BundleError(at, err.found, "the inputs of the model", f"{err.fix[0].upper()}{err.fix[1:]}.")
    text = shorten(err, 400)
    expected = "a model of one picture or window that runs"
    if "no batch axis" in text:
        fix = (
            "Export it with a batch axis on every output. Where the number of boxes depends on the picture, export "
            "a fixed number of the best, or those before NMS, and set nms_iou."
        )
    elif "model inputs:" in text:
        expected = (
            "one float32, float16 or uint8 input: pictures (N, C, H, W) or (N, H, W, C), windows (N, C, T), (N, T, C) "
            "or (N, F)"
        )
        text = text.partition("; expected ")[0]
        fix = (
            "Export the part of the model that takes them alone, with such an input; or, where several take parts of "
            "one window, name them under preprocess.inputs."
        )
    elif "forward() is missing value" in text:
        fix = (
            "Wrap the net so that forward takes the picture or window alone, and save that; or, where its arguments "
            "take parts of one window, name them under preprocess.inputs."
        )
    elif "Half" in text or "BFloat16" in text:
        fix = "Save the module with float32 weights (module.float()): inputs are float32."
    elif text.startswith("torch failed"):
        fix = (
            "Check preprocess (width, height, layout, colour; or channels, length, layout): TorchScript files do not "
            "say what they take."
        )
    else:
        fix = "Run it once in the library that is named here, and export it again."
    return BundleError(at, text, expected, fix)


@contextmanager
def refuse_engine_errors(at: Path | str) -> Iterator[None]:
    """What an engine says of the author's model becomes a refusal; that a library is not installed stays as it is."""
    try:
        yield
    except EngineError as err:
        if isinstance(err.__cause__, ModuleNotFoundError):
            raise
        raise make_refusal(at, err) from err


@contextmanager
def refuse_own_model(form: str) -> Iterator[None]:
    """As ``refuse_engine_errors``, for a model that was made here: its author can only go round the fault.

    ``form`` says what was made: ``as int8 onnx``.
    """
    try:
        yield
    except EngineError as err:
        if isinstance(err.__cause__, ModuleNotFoundError):
            raise
        found = f"{form} it does not run: {shorten(err, 400)}"
        fix = (
            "The fault is in the conversion, not in the model: take another of the formats or quantize: none, or "
            "export the net in another way and give that file."
        )
        raise BundleError("model", found, "a conversion that runs", fix) from err


class FormatAttempts:
    """What failed, by the name of the attempt (a format)."""

    def __init__(self) -> None:
        self._failures: dict[str, BundleError] = {}

    @contextmanager
    def trying(self, name: str) -> Iterator[None]:
        """Note a refusal inside instead of passing it on; a library that is not installed still ends everything."""
        try:
            with refuse_engine_errors("model"):
                yield
        except BundleError as err:
            self._failures[name] = err

    @property
    def reasons(self) -> dict[str, str]:
        """A short line each."""
        return {name: shorten(f"{err.path}: {err.found}", 300) for name, err in self._failures.items()}

    def refusal(self) -> BundleError:
        """The one refusal, when nothing is left."""
        errors = list(self._failures.values())
        assert errors, "something was tried"
        if len({str(err) for err in errors}) == 1:
            return errors[0]
        listed = "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items())
        fixes = " ".join(dict.fromkeys(err.fix for err in errors))
        return BundleError("formats", f"none can be built. {listed}", "one that can", fixes)
