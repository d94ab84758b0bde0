"""The box as a device of Home Assistant: what its MQTT discovery is told. Pure."""
