"""``python -m calibration``: the library on files."""
