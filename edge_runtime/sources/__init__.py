"""Where frames come from: cameras, files, folders, MQTT, and the demo conveyor."""
