"""The one error for outputs that cannot be read as the bundle says."""


class OutputFlaw(Exception):
    """Outputs that cannot be read; the text says why."""
