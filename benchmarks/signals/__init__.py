"""Streams of sensors: their speed, and what troubled payloads come to."""
