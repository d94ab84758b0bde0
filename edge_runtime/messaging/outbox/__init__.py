"""Results that wait on disk until they are delivered, with an exact account of losses."""
