"""What a person types: one file or folder a command; ``main`` is the entry point."""
