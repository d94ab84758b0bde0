"""Immutable model directories: the manifest, opening and checking them, building them."""
