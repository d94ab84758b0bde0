"""Recordings: frames of a running daemon with the answers that it gave, to be answered again somewhere else.

``feed`` lets one taker have the frames, ``wire`` carries them to another process, ``writer`` and ``reader`` know the
folder, ``replay`` answers it again, ``comparison`` compares two models on it.
"""
