"""The errors that a caller meets, split by who must act. Facts are attributes, the text is derived from them.

A "no" of the gate is not an error: it is a :class:`calibration.verdict.Verdict`. Targets translate the
exceptions of their framework into these at their border.
"""

from collections.abc import Sequence
from typing import ClassVar


class CalibrationError(Exception):
    """Root of these errors."""

    exit_code: ClassVar[int] = 65  # EX_DATAERR of sysexits(3)


class ModelError(CalibrationError):
    """The model cannot be read or recalibrated as it is; its exporter must act."""

    def __init__(self, model: str, found: str, expected: str, fix: str, layers: Sequence[str] = ()) -> None:
        self.model, self.found, self.expected, self.fix = model, found, expected, fix
        self.layers = tuple(layers)
        named = f" (layers: {_shorten(self.layers)})" if self.layers else ""
        super().__init__(f"{model}: {found}{named}; expected {expected}. {fix}")


class DataError(CalibrationError):
    """Samples, a baseline or an array file cannot be used; the recorder of them must act."""

    def __init__(
        self, where: str, found: str, expected: str, fix: str = "", frames: Sequence[int] = ()
    ) -> None:
        self.where, self.found, self.expected, self.fix = where, found, expected, fix
        self.frames = tuple(frames)
        """Indices along the first axis of the frames meant; empty when the whole file is."""
        named = f" (frames: {_shorten([str(i) for i in self.frames])})" if self.frames else ""
        super().__init__(f"{where}: {found}{named}; expected {expected}.{' ' + fix if fix else ''}")


class BaselineError(DataError):
    """A baseline is damaged, has expired, or is of another model; ``fix`` says what helps."""


class TapMismatch(CalibrationError):
    """Two sets of moments (or a patch and a model) do not speak of the same taps and channels."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            f"{len(self.problems)} tap(s) do not match: {_shorten(self.problems)}. "
            "Record the baseline again with this very model."
        )


class PatchError(CalibrationError):
    """A patch is damaged or made for another model; ``fix`` says what helps."""

    def __init__(self, patch: str, found: str, expected: str, fix: str) -> None:
        self.patch, self.found, self.expected, self.fix = patch, found, expected, fix
        super().__init__(f"{patch}: {found}; expected {expected}. {fix}")


def _shorten(names: Sequence[str], most: int = 8) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
