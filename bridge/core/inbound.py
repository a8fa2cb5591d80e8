"""MQTT messages: parse the topic once, hand the message on, and acknowledge it.

Commands, queries and messages of consumers are acknowledged by the components that handle them.
Where such a component fails, :class:`Acknowledging` acknowledges: otherwise the broker would
deliver the message again at every connection.
"""

from collections.abc import Iterator

from bridge.core.domain_events import (
    NOTHING,
    CommandReceived,
    ConsumerMessageReceived,
    EchoReceived,
    ForgetReceived,
    HeartbeatReceived,
    Input,
    OtherMessageReceived,
    Output,
    Outputs,
    PartitionReported,
    QueryReceived,
    RequestReceived,
)
from bridge.core.effects import Acknowledge
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken
from bridge.core.records.moment import Timestamp
from bridge.core.router import Component
from bridge.core.topics import (
    ForgetTopic,
    GetTopic,
    HeartbeatTopic,
    PartitionTopic,
    SessionAckTopic,
    SessionReplayTopic,
    SetTopic,
    Topics,
)

# The component that handles one of these acknowledges the message.
HANDED_ON = (CommandReceived, QueryReceived, RequestReceived, ConsumerMessageReceived)


class Inbound:
    """Hand each message on as the domain event of its topic.

    Args:
        topics: The tree.
    """

    name = "inbound"
    interests = frozenset({MqttMessage})

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def handle(self, event: Input, _now: Timestamp) -> Outputs:
        """Handle a message."""
        return self._told(event) if isinstance(event, MqttMessage) else NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""

    def _told(self, message: MqttMessage) -> Iterator[Output]:
        match self._topics.parse(message.topic):
            case (SetTopic() | GetTopic()) as target:
                yield RequestReceived(message, target)
                return
            case (SessionAckTopic() | SessionReplayTopic()) as target:
                yield ConsumerMessageReceived(message, target)
                return
            case ForgetTopic():
                yield ForgetReceived(message)
            case HeartbeatTopic():
                yield HeartbeatReceived(message)
            case PartitionTopic(partition, rest):
                yield PartitionReported(partition, rest, message.payload)
            case None:
                yield OtherMessageReceived(message)
            case echo:
                yield EchoReceived(message, echo)
        yield Acknowledge(message.ack_token)


class Acknowledging:
    """Wrap a component so that its messages are acknowledged also when it fails.

    Attributes:
        inner: The component.
    """

    def __init__(self, inner: Component) -> None:
        self.inner = inner
        self.name = inner.name
        self.interests = inner.interests
        self.deadline_s = inner.deadline_s

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle an event with the wrapped component."""
        if isinstance(event, MqttMessage):
            return self._acknowledged(event.ack_token, event, now)
        if isinstance(event, HANDED_ON):
            return self._acknowledged(event.message.ack_token, event, now)
        return self.inner.handle(event, now)

    def _acknowledged(self, ack_token: AckToken, event: Input, now: Timestamp) -> Iterator[Output]:
        is_settled = False
        try:
            for output in self.inner.handle(event, now):
                is_settled = is_settled or output == Acknowledge(ack_token)
                is_settled = is_settled or isinstance(output, HANDED_ON)
                yield output
        except Exception:
            if not is_settled:
                yield Acknowledge(ack_token)
            raise
