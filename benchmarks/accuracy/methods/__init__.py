"""Ways to recalibrate without the gate, to compare it with."""
