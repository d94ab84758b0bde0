"""The blocks of the documents that the trial uses word for word."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
_BLOCK = re.compile(r"^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def block(page: str, mark: str) -> str:
    """The first block of code of a page that has this text in it.

    Raises:
        LookupError: there is none.
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    found = next((one for one in _BLOCK.findall(text) if mark in one), None)
    if found is None:
        raise LookupError(f"docs/{page} has no block of code with {mark!r}")
    return str(found)
