"""MQTT adapter based on paho. Start reading at :mod:`bridge.adapters.mqtt.client`."""
