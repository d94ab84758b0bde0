"""MQTT v5: one client, its settings and its topics."""
