"""Heartbeat through the broker: detects a broker that does not deliver messages.

A broker may answer pings and acknowledge publications, and hand nothing on: an access list, a full
queue, a bridge between two brokers that fell apart, a defect. So a small message goes round.

Rules:

1. One message at a time, ``<base>/bridge/heartbeat``, not retained; it is compared as a whole, so
   that another bridge's, or an older one of ours, proves nothing.
2. It is overdue when it did not come back in time *and* nothing was acknowledged meanwhile: a slow
   broker that works through what it was given is not a dead one. Once it was acknowledged itself,
   only its return counts.
3. Overdue on a connection that carried one before: the connection is made anew. Overdue on one
   that never did: an alert, and no more, because a new connection would not change an access list.
"""

import math
from collections.abc import Iterator

import msgspec

from bridge.core.alerts import Alerts
from bridge.core.domain_events import NOTHING, HeartbeatReceived, Input, Outputs
from bridge.core.effects import Effect, LogEntry, Reconnect
from bridge.core.events import (
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    Started,
    Tick,
)
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc

EVERY_S = 10.0
# Longer than one keepalive, shorter than the two after which the connection counts as dead.
KEEPALIVES = 1.5
MIN_WAIT_S = 20.0
ALERT = "heartbeat_missing"


class BrokerHeartbeat:
    """One heartbeat after the other, while there is a connection that may carry it.

    Args:
        topics: The tree.
        alerts: Where what is wrong is said.
        client_id: Tells two bridges apart.
        keepalive_s: Of the connection.
        instance: Tells this installation from another, whatever its client id is.
    """

    name = "heartbeat"
    interests = frozenset({Started, MqttConnected, MqttDisconnected, MqttAcked, HeartbeatReceived})

    def __init__(
        self,
        topics: Topics,
        alerts: Alerts,
        *,
        client_id: str,
        keepalive_s: int,
        instance: str = "",
    ) -> None:
        self._topics = topics
        self._alerts = alerts
        self._instance = instance
        self._name = {"client_id": client_id}
        self._within_s = max(MIN_WAIT_S, KEEPALIVES * keepalive_s)
        self._count = 0
        self._out: bytes | None = None
        self._acked = False
        self._due_s = math.inf
        self._proven = False

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle changes of the connection, acknowledgements and ticks."""
        match event:
            case MqttAcked(message):
                self.acked(message, now)
            case HeartbeatReceived(message):
                return self.returned(message, now)
            case MqttConnected():
                return self.connected(event, now)
            case MqttDisconnected():
                self.disconnected()
            case Started():
                self.started(self._instance, iso_utc(now.wall))
            case Tick():
                return self.tick(now)
        return NOTHING

    def started(self, instance: str, started_at: str) -> None:
        """Set what distinguishes this process from a bridge with the same client id."""
        self._name |= {"instance": instance, "started_at": started_at}

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None."""
        return self._due_s if self._due_s < math.inf else None

    def connected(self, event: MqttConnected, now: Timestamp) -> Iterator[Effect]:
        """Start with a new connection, if the broker grants the subscription."""
        self._out = None
        self._due_s = now.mono_s if event.loopback else math.inf
        if event.loopback is False:
            yield from self._missing("the broker refuses the subscription of it", now)

    def disconnected(self) -> None:
        """Reset until the next connection; heartbeats in flight prove nothing any more."""
        self._out = None
        self._due_s = math.inf

    def acked(self, message: Publish, now: Timestamp) -> None:
        """Handle an acknowledgement: a sign of life while a heartbeat is in flight."""
        if self._out is None or self._acked:
            return
        self._acked = (
            message.topic == self._topics.bridge_heartbeat and message.payload == self._out
        )
        self._due_s = now.mono_s + self._within_s

    def returned(self, event: MqttMessage, now: Timestamp) -> Iterator[Effect]:
        """Handle a message on the heartbeat topic; only the heartbeat in flight counts."""
        if self._out is not None and event.payload == self._out:
            self._out = None
            self._proven = True
            self._due_s = now.mono_s + EVERY_S
            yield from self._alerts.clear(ALERT)

    def tick(self, now: Timestamp) -> Iterator[Effect]:
        """Send the next one, or say that one is missing."""
        if now.mono_s < self._due_s:
            return
        if self._out is not None:
            self._out = None
            if self._proven:
                self._proven = False
                self._due_s = math.inf
                waited = f"the heartbeat was not received within {self._within_s:g} s"
                yield LogEntry("warning", "mqtt.heartbeat_missed", {"within_s": self._within_s})
                yield Reconnect(waited)
                return
            yield from self._missing("it is published but not received", now)
        self._count += 1
        self._acked = False
        self._due_s = now.mono_s + self._within_s
        self._out = msgspec.json.encode(
            {**self._name, "at": iso_utc(now.wall), "count": self._count}
        )
        yield Publish(self._topics.bridge_heartbeat, self._out, retained=False)

    def _missing(self, why: str, now: Timestamp) -> Iterator[Effect]:
        topic = self._topics.bridge_heartbeat
        yield from self._alerts.raise_(
            ALERT,
            f"the bridge cannot hear itself on {topic}: {why}",
            "allow this client to publish to it and read it in the broker's access list",
            now,
        )
