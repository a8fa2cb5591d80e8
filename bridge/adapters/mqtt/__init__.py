"""The broker, by paho. Start reading at :mod:`bridge.adapters.mqtt.client`."""
