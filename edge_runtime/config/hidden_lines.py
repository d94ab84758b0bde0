"""The way back from a text that is shown without its secrets to the text of the file. Pure.

Who edits what is shown never sees the secrets of the file; the lines that were left as they were keep theirs.
"""

from collections.abc import Callable
from difflib import SequenceMatcher

from edge_runtime.config.secret_values import ADVICE, find_secrets
from edge_runtime.config.strict_yaml import load
from edge_runtime.errors import CommandError, ConfigError
from edge_runtime.system.redaction import HIDDEN


def put_secrets_back(file: str, show: Callable[[str], str], edited: str) -> str:
    """The edited text with the lines of the file in the place of those in which something is hidden.

    Args:
        file: The text of the file.
        show: A text without its secrets.
        edited: What became of the text that was shown.

    Raises:
        CommandError: a hidden line was changed, so that nobody knows what stands for it; or it was moved to where a
            secret would be shown.
    """
    if HIDDEN not in edited:
        return edited
    lines, hidden, wanted = (text.split("\n") for text in (file, show(file), edited))
    if len(lines) == len(hidden):
        for old, new, count in SequenceMatcher(None, hidden, wanted, autojunk=False).get_matching_blocks():
            wanted[new : new + count] = lines[old : old + count]
    restored = "\n".join(wanted)
    left = [number for number, line in enumerate(wanted, 1) if HIDDEN in line and line not in lines]
    if left and _may_be_secret(restored):
        raise _refusal(left[0])
    shown = set(show(restored).split("\n"))
    for number, (line, asked) in enumerate(zip(wanted, edited.split("\n"), strict=True), 1):
        if line != asked and line in shown:
            raise _refusal(number)
    return restored


def _refusal(number: int) -> CommandError:
    return CommandError(
        f"line {number}: {HIDDEN} stands for a secret of the file; leave its line what and where it was; or {ADVICE}"
    )


def _may_be_secret(text: str) -> bool:
    """Whether a hidden text stands where a secret is wanted."""
    try:
        data = load(text, "").data
    except ConfigError:
        return True
    return any(True for _ in find_secrets(data))
