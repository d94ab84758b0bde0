"""Names of files as text that can be printed and sent: a name of a file is bytes, and may be no UTF-8."""


def as_text(name: str) -> str:
    r"""The name as Python gives it, with each byte that is no UTF-8 as ``\xe9``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
