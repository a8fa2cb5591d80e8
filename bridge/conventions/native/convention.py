"""The native convention: every change under ``<base>``, see ``docs/topics.md``."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from bridge.conventions.native.values import ValueMessages
from bridge.core.changes import (
    AvailabilityChanged,
    Change,
    ChargerEvent,
    DerivedChanged,
    ValuesChanged,
)
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc
from bridge.settings import PublishSettings


class Native:
    """Turns changes into the topics and payloads of the contract.

    Args:
        topics: The topic tree.
        publish: Which forms of a value are published.
    """

    name = "native"

    def __init__(self, topics: Topics, publish: PublishSettings) -> None:
        self._topics = topics
        values = ValueMessages(topics, publish)
        self._makers: Mapping[type, Callable[[Any], Iterable[Publish]]] = {
            ValuesChanged: values.values,
            DerivedChanged: values.derived,
            AvailabilityChanged: values.availability,
            ChargerEvent: self._event,
        }

    def publish(self, change: Change, _now: Timestamp) -> Iterable[Publish]:
        """Return the messages of a change."""
        return self._makers[type(change)](change)

    def _event(self, change: ChargerEvent) -> Iterable[Publish]:
        document = {
            "event": change.kind,
            "charger_id": change.charger_id,
            **change.facts,
            "measured_at": None if change.measured_at is None else iso_utc(change.measured_at),
            "received_at": iso_utc(change.received_at),
        }
        topic = self._topics.event(change.charger_id, change.kind)
        yield Publish(topic, msgspec.json.encode(document), retained=False)
