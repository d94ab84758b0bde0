"""Real parts and small models that several tests use."""
