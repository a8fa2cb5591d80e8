"""Refuses what is asked of a charger or a site that no partition serves.

Every partition subscribes to the commands of what it serves. The rest reaches the gateway that
speaks for all, and is answered as a gateway alone answers it. What a partition serves is left to
it, also while it has no owner: the broker keeps it for the next one.
"""

from collections.abc import Container, Iterator

from bridge.core.commands.results import refuse_message
from bridge.core.commands.validation import validate
from bridge.core.domain_events import (
    NOTHING,
    CommandReceived,
    Input,
    Output,
    Outputs,
    QueryReceived,
    SettingsChanged,
)
from bridge.core.effects import Acknowledge
from bridge.core.events import MqttMessage
from bridge.core.records.moment import Timestamp
from bridge.core.topics import GetTopic, Topics
from bridge.errors import CommandRefused
from bridge.settings import CommandSettings


class UnknownAddressees:
    """Answer for what no partition serves.

    Args:
        topics: The tree.
        settings: Of commands.
        served: What a partition answers for.
    """

    name = "unknown_addressees"
    interests = frozenset({CommandReceived, QueryReceived, SettingsChanged})

    def __init__(self, topics: Topics, settings: CommandSettings, served: Container[str]) -> None:
        self._topics = topics
        self._settings = settings
        self._served = served

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle a command or a query."""
        match event:
            case CommandReceived(message, target):
                return self._answered(message, target.charger_id, target.command, now, event)
            case QueryReceived(message, target):
                return self._answered(message, target.charger_id, target.query, now, event)
            case SettingsChanged(settings):
                self._settings = settings.commands
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""

    def _answered(
        self,
        message: MqttMessage,
        device: str,
        name: str,
        now: Timestamp,
        event: CommandReceived | QueryReceived,
    ) -> Iterator[Output]:
        if device not in self._served:
            refusal = self._refusal(message, event, now)
            yield from refuse_message(refusal, message, (device, name), self._topics, now)
        yield Acknowledge(message.ack_token)

    def _refusal(
        self, message: MqttMessage, event: CommandReceived | QueryReceived, now: Timestamp
    ) -> CommandRefused:
        if isinstance(event.target, GetTopic):
            if message.retained:
                return CommandRefused(
                    "retained", "a query is never retained: publish without retain"
                )
            return CommandRefused("unknown_charger", "no charger of this name is served")
        try:
            validate(message, event.target, (), self._settings, now)
        except CommandRefused as refusal:
            return refusal
        raise AssertionError("nothing is served")
