"""Pictures and models of the tracks."""
