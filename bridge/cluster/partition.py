"""What the gateway of a partition sees of its lease.

Rules:

1. A lease that ran out is not lost: while the database is away nobody else can take it. Values go
   on; nothing is sent to the vendor, and no connection to the broker is made.
2. Behind a standstill nothing is processed until the database was asked. It refuses, and the lease
   is lost, or it does not answer, and rule 1 holds.
"""

import asyncio
import math
from collections.abc import Callable
from datetime import datetime

from bridge.core.events import (
    CloudStatusChanged,
    Event,
    MqttConnected,
    MqttDisconnected,
    StreamOpened,
)
from bridge.core.records.lease import Lease
from bridge.gateway import EventQueue
from bridge.ports import Clock

# States of the REST side in which another machine would do no better.
OF_THE_ACCOUNT = frozenset({"ok", "auth_failed", "login_refused", "blocked", "token_refused"})


class Partition:
    """A partition that this worker serves.

    Attributes:
        lease: As it was taken.
        queue: Events of its gateway.
        stop: Set when it is to be handed over: finish, disconnect, end.
        alive_at: When its former owner was heard of last, connected to the broker, UTC; or None.
        is_last: No other worker is there: say ``offline`` at the end.
    """

    def __init__(
        self,
        lease: Lease,
        clock: Clock,
        *,
        left_s: Callable[[], float],
        alive_at: datetime | None = None,
    ) -> None:
        """Start with nothing connected.

        Args:
            lease: As it was taken.
            clock: Time.
            left_s: Tells for how long the lease holds.
            alive_at: See the attribute.
        """
        self.lease = lease
        self.queue = LinkQueue(clock)
        self.stop = asyncio.Event()
        self.alive_at = alive_at
        self.is_last = False
        self.left_s = left_s
        self._clock = clock
        self._asked_in_vain_s = -math.inf

    def asked_in_vain(self, at_s: float) -> None:
        """Record that the database was asked and did not answer.

        Args:
            at_s: Monotonic time before the request.
        """
        self._asked_in_vain_s = at_s

    def is_clear(self) -> bool:
        """Return whether events may be processed (rule 2)."""
        left_s = self.left_s()
        if left_s > 0:
            return True
        ran_out_s = self._clock.now().mono_s + left_s
        return ran_out_s > -math.inf and self._asked_in_vain_s >= ran_out_s


class LinkQueue(EventQueue):
    """The events of a gateway; remembers which of its links are up.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._down_since: dict[str, float | None] = {
            "broker": clock.now().mono_s,
            "cloud": None,
        }

    def put(self, event: Event) -> None:
        """Queue an event, and note what it says of a link."""
        if isinstance(event, MqttConnected):
            self._down_since["broker"] = None
        elif isinstance(event, MqttDisconnected):
            self._down_since["broker"] = self._clock.now().mono_s
        elif isinstance(event, StreamOpened):
            self._down_since["cloud"] = None
        elif isinstance(event, CloudStatusChanged):
            is_up = event.state in OF_THE_ACCOUNT
            since_s = self._down_since["cloud"]
            now_s = self._clock.now().mono_s if since_s is None else since_s
            self._down_since["cloud"] = None if is_up else now_s
        super().put(event)

    def is_up(self, link: str) -> bool:
        """Return whether a link, ``broker`` or ``cloud``, is up."""
        return self._down_since[link] is None

    def down_for_s(self) -> float:
        """Return how long one of the links has been down; 0 when both are up."""
        since_s = min((at for at in self._down_since.values() if at is not None), default=None)
        return 0.0 if since_s is None else self._clock.now().mono_s - since_s
