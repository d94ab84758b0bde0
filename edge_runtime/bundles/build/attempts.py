"""Several ways to the same goal: one that fails is noted, and only when none is left the whole fails.

Pure.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_runtime.bundles.build.error_text import refusal_of_engine, short
from edge_runtime.errors import BundleError, EngineError


@contextmanager
def refusals_at(at: Path | str) -> Iterator[None]:
    """What an engine says of the author's model becomes a refusal; that a library is not installed stays as it is."""
    try:
        yield
    except EngineError as err:
        if isinstance(err.__cause__, ModuleNotFoundError):
            raise
        raise refusal_of_engine(at, err) from err


class Attempts:
    """What failed, by the name of the attempt (a format)."""

    def __init__(self) -> None:
        self._failures: dict[str, BundleError] = {}

    @contextmanager
    def trying(self, name: str) -> Iterator[None]:
        """Note a refusal inside instead of passing it on; a library that is not installed still ends everything."""
        try:
            with refusals_at("model"):
                yield
        except BundleError as err:
            self._failures[name] = err

    @property
    def reasons(self) -> dict[str, str]:
        """A short line each."""
        return {name: short(f"{err.path}: {err.found}", 300) for name, err in self._failures.items()}

    def refusal(self) -> BundleError:
        """The one refusal, when nothing is left."""
        errors = list(self._failures.values())
        assert errors, "something was tried"
        if len({str(err) for err in errors}) == 1:
            return errors[0]
        listed = "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items())
        fixes = " ".join(dict.fromkeys(err.fix for err in errors))
        return BundleError("formats", f"none can be built. {listed}", "one that can", fixes)
