"""Results of a classifier."""

from edge_runtime.datatypes import Label, Result, Timings


def make_result(seq, stream="belt"):
    top = (Label(1, "bolt", 0.9),)
    return Result("box", stream, seq, 0.0, "parts", "parts/1", Timings(0, 0, 0, 0, 0), top)
