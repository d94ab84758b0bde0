"""The reference set: which live frames are kept, in memory and on disk, and when they are erased."""
