"""The REST interface, by httpx. Start reading at :mod:`bridge.adapters.cloud.client`."""
