"""How fast values go to a broker, for the sake of those who read them there.

A broker queues so many messages for a consumer, drops what is more, and says nothing: mosquitto
as shipped queues 1,000. The values of a few chargers come at once, at every start, and faster than
most consumers read. How much a broker takes at a time tells whether somebody has tuned it: as
shipped mosquitto grants 20 unacknowledged messages.
"""

# Half of what mosquitto queues for a consumer.
BURST = 500
# So 20 in flight mean 2,000 a second, which a flow in Python or Node.js follows, and 1,000 mean no
# limit.
PER_GRANT_S = 100.0


class TokenBucket:
    """A token bucket: a burst at once, and then so many a second."""

    def __init__(self) -> None:
        self._per_s = 0.0
        self._most = float(BURST)
        self._tokens = float(BURST)
        self._at_s = 0.0

    def set_rate(self, receive_maximum: int) -> None:
        """Go by what a broker takes at a time."""
        self._per_s = receive_maximum * PER_GRANT_S
        self._most = float(max(BURST, receive_maximum))

    def available(self, mono_s: float) -> int:
        """Return how many may go now."""
        gained = (mono_s - self._at_s) * self._per_s
        self._tokens = min(self._most, self._tokens + max(0.0, gained))
        self._at_s = mono_s
        return int(self._tokens)

    def consume(self, count: int) -> None:
        """Note that so many went."""
        self._tokens -= count
