"""Watching live samples: the drift score against every known baseline, and which baseline is in use."""
