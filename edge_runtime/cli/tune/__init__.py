"""``edge-runtime tune``: finds by measurement how a model runs best on this box."""
