"""Times of reading the cloud: discovery, polling, the probe after an outage, absence."""
