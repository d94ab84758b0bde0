"""Which boxes of successive frames are one object, and what is told of it."""
