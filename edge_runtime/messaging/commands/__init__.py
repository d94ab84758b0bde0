"""Remote commands: what may be asked, and the listener that answers."""
