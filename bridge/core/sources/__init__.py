"""When the cloud is read: discovery, polling, the probe after an outage, absence."""
