"""Remote commands: the protocol, and the listener that answers."""
