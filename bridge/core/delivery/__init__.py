"""Delivery to the broker: outbox, queue of values, rate limit, rejections, heartbeat."""
