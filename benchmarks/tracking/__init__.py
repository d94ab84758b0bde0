"""Whether one person on a street is one event."""
