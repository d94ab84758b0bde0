"""Text for a terminal that a stranger may have written: a camera, a registry, a recording, the name of a file."""


def make_printable(line: str) -> str:
    """One line without what steers a terminal: a ``?`` for each such character."""
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in line)


def make_lines_printable(text: str) -> str:
    """The same for several lines."""
    return "\n".join(map(make_printable, text.split("\n")))
