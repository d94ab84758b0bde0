"""The drift score: distance from the baseline, thresholds from healthy frames; ``monitor.DriftMonitor`` is its face."""
