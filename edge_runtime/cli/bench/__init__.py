"""``edge-runtime bench``: how fast a bundle is on this box, bare and inside the daemon; see ``rounds``."""
