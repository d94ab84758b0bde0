"""How fast a bundle is on this box, bare and inside the daemon; see ``rounds``. Started by ``edge-runtime bench``."""
