"""Reads model outputs: class scores and detections."""
