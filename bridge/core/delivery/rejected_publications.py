"""Publications that the broker refuses: alerts while that lasts, and retries.

Rules:

1. The alert stands while anything retained is refused: what the broker shows then is not the newest
   value. One that flickers with every other acknowledgement tells nobody anything.
2. Every :data:`RETRY_S` what is refused is sent once more: an access list is mended without a new
   connection, and a value that rests would stay wrong for hours.
3. What can never be sent (a topic or size the broker cannot take) is told and not tried again.
4. What is too large, or was set aside because it ended connections, is told with its topic and size
   until something of that topic is taken. What is not retained is told for :data:`ALERT_FOR_S`: a
   report is refused again within that time, and anything else is over.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from bridge.core.alerts import Alerts
from bridge.core.delivery.outbox import (
    ALWAYS_ACCEPTED_BYTES,
    PERMANENT_REJECTIONS,
    REFUSED,
    SET_ASIDE,
    TOO_LARGE,
)
from bridge.core.domain_events import NOTHING, Input, Outputs
from bridge.core.effects import Effect, RetryRejectedPublications
from bridge.core.events import MqttAcked, MqttConnected, Tick, ValuesAcked
from bridge.core.messages import Publish, packet_bytes
from bridge.core.records.moment import Timestamp

RETRY_S = 30.0
# Two attempts of the ledger's, and some.
ALERT_FOR_S = 900.0
ALERT = "publication_refused"
LARGE = "message_too_large"
HINTS = {
    ALERT: "see the broker's log for the reason; it is tried again automatically",
    LARGE: "raise the broker's limit (mosquitto: message_size_limit, max_packet_size);"
    " it is tried again automatically",
}


class RejectedPublications:
    """Topics the broker refuses.

    Args:
        alerts: Where they are told.
        counters: What is counted for the status.
        heartbeat: Topic of the heartbeat: refused, it is missed, and that has an alert of its own.
    """

    name = "rejected"
    interests = frozenset({MqttConnected, MqttAcked, ValuesAcked})

    def __init__(self, alerts: Alerts, counters: Counter[str], *, heartbeat: str = "") -> None:
        self._alerts = alerts
        self._counters = counters
        self._heartbeat = heartbeat
        # Retained topics that are tried again; the others are only told of.
        self._kept: set[str] = set()
        self._told: set[str] = set()
        # By topic or tag: which alert it has part in, and until when.
        self._in_vain: dict[str, tuple[str, float]] = {}
        self._due_s: float | None = None
        self._has_properties = True
        self._limit_bytes = math.inf
        self._largest_bytes = ALWAYS_ACCEPTED_BYTES

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle acknowledgements, connections and ticks."""
        match event:
            case MqttAcked(message, reason_code) if message.topic != self._heartbeat:
                if reason_code >= REFUSED:
                    self._counters["publications_refused"] += 1
                return self.acked(message, reason_code, now)
            case ValuesAcked(messages) if self.is_kept:
                return self.accepted(messages)
            case MqttConnected():
                self.connected(event)
            case Tick():
                return self.tick(now)
        return NOTHING

    @property
    def is_kept(self) -> bool:
        """Return whether a refusal is recorded that a new connection could end."""
        return bool(self._kept or self._in_vain)

    def connected(self, event: MqttConnected) -> None:
        """Handle a new connection with the broker's limits."""
        self._has_properties = event.protocol == "5"
        self._limit_bytes = event.largest_packet_bytes or math.inf

    def deadline_s(self) -> float | None:
        """Return when what is refused is sent again, or None."""
        return self._due_s

    def acked(self, message: Publish, reason_code: int, now: Timestamp) -> Iterator[Effect]:
        """Handle an acknowledgement, successful or not."""
        name = message.topic if message.retained else message.tag or message.topic
        if reason_code < REFUSED:
            self._largest_bytes = max(self._largest_bytes, len(message.payload))
            if name in self._kept or name in self._in_vain:
                self._kept.discard(name)
                self._in_vain.pop(name, None)
                yield from self._clear()
            return
        if self._due_s is None:
            self._due_s = now.mono_s + RETRY_S
        if reason_code in (TOO_LARGE, SET_ASIDE):
            yield from self._give_up(name, message, reason_code, now)
            return
        if message.retained and reason_code not in PERMANENT_REJECTIONS:
            self._kept.add(message.topic)
        else:
            self._told.add(message.topic)
        if not self._alerts.is_open(ALERT):
            yield from self._alerts.raise_(
                ALERT,
                f"the broker refuses {message.topic} (reason code {reason_code})",
                "allow this client to publish to it in the broker's access list"
                " (charger-bridge topics --format acl writes one)",
                now,
            )

    def _give_up(
        self, name: str, message: Publish, reason_code: int, now: Timestamp
    ) -> Iterator[Effect]:
        """Raise the alert for a message no longer sent, with topic, size and known limit."""
        size = packet_bytes(message, properties=self._has_properties)
        is_large = reason_code == TOO_LARGE or len(message.payload) > self._largest_bytes
        kind = LARGE if is_large else ALERT
        before = self._in_vain.get(name, ("", 0.0))[0]
        self._in_vain[name] = kind, math.inf if message.retained else now.mono_s + ALERT_FOR_S
        if before == kind:
            return
        text = f"{message.topic} is {size:,} bytes, "
        if size > self._limit_bytes:
            text += f"the broker accepts {self._limit_bytes:,}"
        elif reason_code == TOO_LARGE:
            text += "too large for the broker"
        else:
            text += "and the broker disconnected each time it was sent; it is set aside"
        others = sum(other == kind for other, _ in self._in_vain.values()) - 1
        text += f"; {others} more like it" if others else ""
        yield from self._alerts.raise_(kind, text, HINTS[kind], now)

    def accepted(self, messages: Iterable[Publish]) -> Iterator[Effect]:
        """Handle values that the broker acknowledged on the value connection."""
        if self.is_kept:
            for message in messages:
                self._kept.discard(message.topic)
                self._in_vain.pop(message.topic, None)
            yield from self._clear()

    def tick(self, now: Timestamp) -> Iterator[Effect]:
        """Queue refused publications again when that is due."""
        if self._due_s is None or now.mono_s < self._due_s:
            return
        self._told.clear()
        for name, (_, until_s) in list(self._in_vain.items()):
            if until_s <= now.mono_s:
                del self._in_vain[name]
        self._due_s = now.mono_s + RETRY_S if self.is_kept else None
        if self._kept:
            yield RetryRejectedPublications()
        yield from self._clear()

    def _clear(self) -> Iterator[Effect]:
        kinds = {kind for kind, _ in self._in_vain.values()}
        if not (self._kept or self._told or ALERT in kinds):
            yield from self._alerts.clear(ALERT)
        if LARGE not in kinds:
            yield from self._alerts.clear(LARGE)
        if not (self._kept or self._told or kinds):
            self._due_s = None
