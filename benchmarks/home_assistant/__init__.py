"""A box and a real Home Assistant core on one broker."""
