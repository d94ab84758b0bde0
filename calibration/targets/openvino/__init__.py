"""OpenVINO IR; ``target.OpenVinoTarget`` is its face."""
