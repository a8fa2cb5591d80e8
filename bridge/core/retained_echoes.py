"""What the broker keeps of an earlier run, or somebody else says of us: put right.

Rules:

1. An alert that an earlier run left is taken away, unless another bridge may have it open. So is
   personal data that an older version retained.
2. ``bridge/state`` says that we are there, whoever left: the late will of a connection that was
   taken over, for instance. Two bridges with one base topic must not shout at each other all day.
3. What tells of another bridge is handed on.
"""

import math
from collections.abc import Callable, Collection, Container, Iterator
from dataclasses import dataclass

from bridge.core.alerts import Alerts
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


@dataclass(frozen=True, slots=True)
class Others:
    """What is asked about other bridges; None where that cannot be said.

    Attributes:
        is_there: Whether one works on this base topic.
        shared: Our chargers that it serves too.
    """

    is_there: Callable[[Timestamp], bool | None]
    shared: Callable[[Timestamp], Collection[str] | None]


class RetainedEchoes:
    """Puts right what is wrong on our own topics.

    Args:
        topics: The tree.
        alerts: Those that are open.
        known: Chargers that are served or left.
        others: Other bridges.
    """

    name = "echoes"
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
        """Take a message on a topic of ours."""
        match event:
            case EchoReceived(message, topic):
                return self._echo(message, topic, now, fresh=self._is_fresh(message, now))
            case MqttConnected():
                self._connected_s = now.mono_s
                self._echoed.clear()
        return NOTHING

    def deadline_s(self) -> None:
        """Want nothing with time."""

    def _is_fresh(self, message: MqttMessage, now: Timestamp) -> bool:
        """Say whether the broker kept a message from before this connection.

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
                    yield Publish(self._topics.alert(kind), b"")
            case PersonalTopic():
                if message.retained and message.payload:
                    yield LogEntry("info", "personal.emptied", {"topic": topic.topic})
                    yield Publish(topic.topic, b"", owner=NAME)
            case BridgeInfoTopic():
                yield BridgeInfoReceived(message, is_kept=fresh)
            case BridgeStateTopic():
                yield from self._state(message.payload, now, fresh=fresh)

    def _state(self, payload: bytes, now: Timestamp, *, fresh: bool) -> Iterator[Output]:
        """Assert that we are there, whoever left."""
        if payload == b"offline" and not fresh:
            # Another bridge said it of all its chargers before, ours among them.
            yield AvailabilityDoubted(tuple(sorted(self._others.shared(now) or ())))
        yield BridgeStateReceived(payload, is_kept=fresh)
        if payload != b"online" and now.mono_s - self._asserted_s >= ASSERT_EVERY_S:
            self._asserted_s = now.mono_s
            yield Publish(self._topics.bridge_state, b"online")
