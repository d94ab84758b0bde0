"""The daemon beside servers of models."""
