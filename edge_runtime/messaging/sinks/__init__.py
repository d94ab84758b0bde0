"""Destinations of delivered rows: the MQTT broker, or a bounded file of JSON lines on this device."""
