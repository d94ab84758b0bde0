"""OpenVINO IR, through ``backend.OpenVinoBackend``."""
