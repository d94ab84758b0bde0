"""Samples of sensors -> windows -> what one model wants, driven by its bundle; see ``prepare``."""
