"""The recalibration process: its request, its work and its report."""
