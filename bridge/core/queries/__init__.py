"""Queries over MQTT: what may be asked, and the answers."""
