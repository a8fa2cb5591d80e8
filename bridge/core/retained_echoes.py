"""Corrects retained messages of an earlier run or another client on this bridge's topics.

Rules:

1. An alert that an earlier run left is taken away, unless another bridge may have it open. So is
   personal data that an older version retained.
2. ``bridge/state`` is published again when it says something else, as after the late
   will of a connection that was taken over; at most every :data:`ASSERT_EVERY_S`, for there may be
   two bridges on one base topic.
3. What is known of another bridge by it is handed on.
"""

import math
from collections.abc import Callable, Collection, Container, Iterator

import msgspec

from bridge.core.alerts import Alerts
from bridge.core.changes import AlertCleared, BridgeOnline
from bridge.core.chargers.departures import NAME
from bridge.core.domain_events import (
    NOTHING,
    AvailabilityDoubted,
    BridgeInfoReceived,
    BridgeStateReceived,
    EchoReceived,
    ForeignAvailabilityReceived,
    Input,
    Output,
    Outputs,
)
from bridge.core.easee.rest_requests import is_serial
from bridge.core.effects import LogEntry
from bridge.core.events import MqttConnected, MqttMessage
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import (
    AlertTopic,
    AvailabilityTopic,
    BridgeInfoTopic,
    BridgeStateTopic,
    Echo,
    PersonalTopic,
    Topics,
    is_topic_level,
)

# The broker sends what it keeps right behind the subscription.
ECHO_TIMEOUT_S = 10.0
ASSERT_EVERY_S = 10.0


def always() -> bool:
    """Return True: ``bridge/state`` is ``online`` while there is a connection."""
    return True


class Others(msgspec.Struct, frozen=True):
    """Questions about other bridges; each returns None where that is not known.

    Attributes:
        is_there: Whether one works on this base topic.
        shared: Our chargers that it serves too.
        is_online: Whether ``bridge/state`` is to say ``online``.
    """

    is_there: Callable[[Timestamp], bool | None]
    shared: Callable[[Timestamp], Collection[str] | None]
    is_online: Callable[[], bool] = always


class RetainedEchoes:
    """Corrects retained messages on the topics of this bridge.

    Args:
        topics: The tree.
        alerts: Those that are open.
        known: Chargers that are served or left.
        others: Other bridges.
    """

    name = "retained_echoes"
    interests = frozenset({EchoReceived, MqttConnected})

    def __init__(
        self, topics: Topics, alerts: Alerts, known: tuple[Container[str], ...], others: Others
    ) -> None:
        self._topics = topics
        self._alerts = alerts
        self._known = known
        self._others = others
        self._connected_s = -math.inf
        self._asserted_s = -math.inf
        self._echoed: set[str] = set()

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle a message on a topic of ours."""
        match event:
            case EchoReceived(message, topic):
                return self._echo(message, topic, now, fresh=self._is_fresh(message, now))
            case MqttConnected():
                self._connected_s = now.mono_s
                self._echoed.clear()
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""

    def _is_fresh(self, message: MqttMessage, now: Timestamp) -> bool:
        """Return whether the broker kept a message from before this connection.

        One message of each topic is kept; the next one is live, whatever its flag says.
        """
        fresh = (
            message.retained
            and now.mono_s - self._connected_s < ECHO_TIMEOUT_S
            and message.topic not in self._echoed
        )
        if fresh:
            self._echoed.add(message.topic)
        return fresh

    def _echo(
        self, message: MqttMessage, topic: Echo, now: Timestamp, *, fresh: bool
    ) -> Iterator[Output]:
        match topic:
            case AvailabilityTopic(charger_id) if is_serial(charger_id):
                if not any(charger_id in known for known in self._known):
                    yield ForeignAvailabilityReceived(charger_id, message.payload)
            case AlertTopic(kind):
                ours = all(map(is_topic_level, kind.split("/"))) and not self._others.is_there(now)
                if fresh and message.payload and ours and not self._alerts.is_open(kind):
                    yield AlertCleared(kind)
            case PersonalTopic():
                if message.retained and message.payload:
                    yield LogEntry("info", "personal.emptied", {"topic": topic.topic})
                    yield Publish(topic.topic, b"", owner=NAME)
            case BridgeInfoTopic():
                yield BridgeInfoReceived(message, is_kept=fresh)
            case BridgeStateTopic():
                yield from self._state(message.payload, now, fresh=fresh)

    def _state(self, payload: bytes, now: Timestamp, *, fresh: bool) -> Iterator[Output]:
        """Publish ``bridge/state`` again where it says something else."""
        if payload == b"offline" and not fresh:
            # Another bridge published this for all its chargers before, shared ones included.
            yield AvailabilityDoubted(tuple(sorted(self._others.shared(now) or ())))
        yield BridgeStateReceived(payload, is_kept=fresh)
        is_online = self._others.is_online()
        is_wrong = (payload == b"online") is not is_online
        if is_wrong and now.mono_s - self._asserted_s >= ASSERT_EVERY_S:
            self._asserted_s = now.mono_s
            yield BridgeOnline(is_online)
