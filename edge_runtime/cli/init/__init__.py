"""``edge-runtime init``: a first configuration from flags or a few questions."""
