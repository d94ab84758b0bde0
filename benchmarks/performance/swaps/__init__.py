"""Hot swaps of models under load."""
