"""``edge-runtime baseline``: the baselines of a box whose daemon is stopped."""
