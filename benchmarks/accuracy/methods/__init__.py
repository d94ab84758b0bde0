"""Ways to recalibrate, beside the gate."""
