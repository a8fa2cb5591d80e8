"""Probes whether REST is available again, when no other request is sent.

While the stream is open hardly anything goes over REST. A trouble that was told would stand until
a command is sent, which may be days.

Rules:

1. While the REST side is in trouble the charger list is requested, first after :data:`FIRST_S`,
   then every :data:`EVERY_S`: it takes two requests a minute, so a bridge that lists its chargers
   meanwhile keeps its share. The response is not read; that there is one is enough.
2. Not before the time that the vendor named, a block or a refused login included. The budget is
   shared: what it does not allow waits.
3. Nothing is asked once something else was answered: then there is no trouble.
"""

from bridge.core.domain_events import NOTHING, Input, Outputs
from bridge.core.easee.rest_requests import READ_TIMEOUT_S, charger_list_request
from bridge.core.effects import SendRequest
from bridge.core.events import CloudFailed, CloudStatusChanged, Tick
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp

# The end of an outage is noticed within a minute, whatever is under way when it ends: a request
# lost in its last second is given up after READ_TIMEOUT_S, and the first probe follows.
FIRST_S = 25.0
EVERY_S = 45.0


class RecoveryProbe:
    """When to ask whether REST answers."""

    name = "probe"
    interests = frozenset({CloudStatusChanged})

    def __init__(self) -> None:
        self._calls = 0
        self._due_s: float | None = None
        self._in_trouble = False

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle the state of the REST interface and ticks."""
        match event:
            case CloudStatusChanged():
                self.link(event, now)
            case CloudFailed(tag, error) if tag.ref == self._calls:
                self.failed(now, error.retry_after_s)
            case Tick() if self.take(now):
                self._calls += 1
                tag = Tag(self.name, self._calls)
                return (SendRequest(tag, charger_list_request(), READ_TIMEOUT_S),)
        return NOTHING

    def link(self, link: CloudStatusChanged, now: Timestamp) -> None:
        """Handle a new state of the REST interface."""
        was_in_trouble, self._in_trouble = self._in_trouble, link.state != "ok"
        if not self._in_trouble:
            self._due_s = None
        elif not was_in_trouble:
            self._due_s = now.mono_s + FIRST_S

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`take` has something to say, or None."""
        return self._due_s

    def take(self, now: Timestamp) -> bool:
        """Return whether to probe now; the next time does not depend on a response."""
        if self._due_s is None or now.mono_s < self._due_s:
            return False
        self._due_s = now.mono_s + EVERY_S
        return True

    def failed(self, now: Timestamp, retry_after_s: float | None) -> None:
        """Record that a probe failed.

        Args:
            now: When.
            retry_after_s: How long the vendor, or our own budget, asks us to wait, or None.
        """
        if self._due_s is not None:
            self._due_s = max(self._due_s, now.mono_s + (retry_after_s or 0.0))
