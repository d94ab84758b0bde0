"""Results and events out, commands in: the durable outbox, sinks, MQTT.

``delivery.Delivery`` takes results and events, ``connection`` is the broker, ``commands`` answers requests.
"""
