"""How well a recalibration repairs what drifts cost."""
