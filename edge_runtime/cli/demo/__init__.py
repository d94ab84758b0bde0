"""``edge-runtime demo``: the daemon on recorded pictures that drift, with a summary at the end."""
