"""The one error for an input that cannot be used."""

from collections.abc import Sequence

from edge_runtime.datatypes import RejectReason

MOST_WORDS = 300
"""Characters of a reason; names of files and words of a decoder go into it, and both come from outside."""


class InputFlaw(Exception):
    """A picture, window or tensor that cannot be used; ``prepare`` turns it into a ``Rejected`` value.

    ``detail`` never quotes the content: a link in a watched folder may point at a secret file.
    """

    def __init__(self, reason: RejectReason, detail: str) -> None:
        self.reason, self.detail = reason, shorten(detail)
        super().__init__(f"{reason}: {self.detail}")


def list_some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many others there are."""
    others = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + others


def shorten(words: str) -> str:
    """At most ``MOST_WORDS`` characters, the middle left out."""
    if len(words) <= MOST_WORDS:
        return words
    half = (MOST_WORDS - 5) // 2
    return f"{words[:half]} ... {words[-half:]}"
