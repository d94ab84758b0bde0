"""Inference engines behind one port; see ``base``."""
