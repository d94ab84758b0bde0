"""Opens a model file for recalibration; the folders hold the part of each framework."""
