"""The native convention: every change under ``<base>``, see ``docs/topics.md``."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from bridge.conventions.convention import ConnectionNeed
from bridge.conventions.native.bridge_status import BridgeMessages
from bridge.conventions.native.results import ResultMessages
from bridge.conventions.native.sessions import SessionMessages
from bridge.conventions.native.sites import SiteMessages
from bridge.conventions.native.values import ValueMessages
from bridge.core.changes import (
    AlertCleared,
    AlertRaised,
    AvailabilityChanged,
    BridgeInfoChanged,
    BridgeOnline,
    Change,
    ChargerCleared,
    ChargerEvent,
    CircuitChanged,
    CloudStateChanged,
    CommandAnswered,
    CurrentSessionChanged,
    DerivedChanged,
    HealthChanged,
    LastSessionChanged,
    ReportDue,
    ReportPending,
    ReportsGivenUp,
    SchedulesChanged,
    SiteChanged,
    SiteCleared,
    ValuesChanged,
    ValuesHidden,
)
from bridge.core.easee.derived_state import ESTIMATED
from bridge.core.events import MqttMessage
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.requests import IncomingRequest
from bridge.core.schedule_documents import schedules_document
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc, json_document
from bridge.settings import PublishSettings


class Native:
    """Turns changes into the topics and payloads of the contract.

    Args:
        topics: The topic tree.
        publish: Which forms of a value are published.
    """

    name = "native"
    connection: ConnectionNeed | None = None
    # The core's own, with which it is connected.
    subscriptions: tuple[str, ...] = ()

    def __init__(self, topics: Topics, publish: PublishSettings) -> None:
        self._topics = topics
        values = ValueMessages(topics, publish)
        sessions, bridge = SessionMessages(topics), BridgeMessages(topics)
        sites = SiteMessages(topics)
        self._makers: Mapping[type, Callable[[Any], Iterable[Publish]]] = {
            ValuesChanged: values.values,
            DerivedChanged: values.derived,
            AvailabilityChanged: values.availability,
            ChargerEvent: self._event,
            ChargerCleared: self._cleared,
            ValuesHidden: self._hidden,
            CurrentSessionChanged: sessions.current,
            LastSessionChanged: sessions.last,
            SchedulesChanged: self._schedules,
            ReportDue: sessions.report,
            ReportPending: lambda _change: (),  # due by its own rules
            ReportsGivenUp: lambda _change: (),
            CommandAnswered: ResultMessages(topics).answered,
            AlertRaised: bridge.alert,
            AlertCleared: bridge.no_alert,
            BridgeOnline: bridge.online,
            CloudStateChanged: bridge.cloud,
            BridgeInfoChanged: bridge.info,
            HealthChanged: bridge.health,
            SiteChanged: sites.info,
            CircuitChanged: sites.circuit,
            SiteCleared: sites.cleared,
        }

    def publish(self, change: Change, _now: Timestamp) -> Iterable[Publish]:
        """Return the messages of a change."""
        return self._makers[type(change)](change)

    def snapshot(self, _now: Timestamp) -> Iterable[Publish]:
        """Return nothing: the core yields everything again after each connection."""
        return ()

    def parse(self, _message: MqttMessage) -> IncomingRequest | None:
        """Return nothing: the core reads the native messages itself."""
        return None

    def _event(self, change: ChargerEvent) -> Iterable[Publish]:
        document = {
            "event": change.kind,
            "charger_id": change.charger_id,
            **change.facts,
            "measured_at": None if change.measured_at is None else iso_utc(change.measured_at),
            "received_at": iso_utc(change.received_at),
        }
        topic = self._topics.event(change.charger_id, change.kind)
        yield Publish(topic, json_document(document), retained=False)

    def _schedules(self, change: SchedulesChanged) -> Iterable[Publish]:
        document = schedules_document(
            change.charger_id, change.schedules, change.standing, change.read_at
        )
        yield Publish(self._topics.schedule(change.charger_id), json_document(document))

    def _cleared(self, change: ChargerCleared) -> list[Publish]:
        """Empty every topic, availability last."""
        topics, charger_id = self._topics, change.charger_id
        names = change.observations
        documents = [name for name in change.derived if name in ESTIMATED]
        retained = [
            *(topics.observation(charger_id, name) for name in (*names, *documents)),
            *(topics.state(charger_id, name) for name in (*names, *change.derived)),
            topics.session(charger_id, "current"),
            topics.session(charger_id, "last"),
            topics.schedule(charger_id),
            topics.availability(charger_id),
        ]
        messages = []
        for message in _emptied(retained, change):
            if change.is_urgent:
                messages.append(msgspec.structs.replace(message, telemetry=True))
            messages.append(message)
        return messages

    def _hidden(self, change: ValuesHidden) -> list[Publish]:
        """Empty both topics of each value."""
        topics, charger_id = self._topics, change.charger_id
        retained = [
            topic(charger_id, name)
            for name in change.names
            for topic in (topics.observation, topics.state)
        ]
        return _emptied(retained, change)


def _emptied(topics: list[str], change: ChargerCleared | ValuesHidden) -> list[Publish]:
    """Return the messages that empty topics, each topic once, with its number in the tag.

    A name can be that of an observation and of a derived value, and the outbox keeps one message of
    a topic: a second one would be waited for in vain.
    """
    topics = list(dict.fromkeys(topics))
    return [
        Publish(topic, b"", tag=f"{change.tag}:{number}", owner=change.owner, parts=len(topics))
        for number, topic in enumerate(topics)
    ]
