"""Publishes the bridge's own topics: components of :class:`~bridge.core.status.Status`.

The first reacts to single events; the second publishes ``bridge/cloud`` and ``bridge/health`` when
they changed by anything that happened.
"""

from collections.abc import Callable

from bridge.core.domain_events import (
    NOTHING,
    BridgeInfoWanted,
    EventHandled,
    Input,
    Outputs,
    RetainFlagKnown,
    ServedChargersChanged,
    SettingsChanged,
    StoreWorks,
)
from bridge.core.events import (
    CloudStatusChanged,
    MqttConnected,
    Started,
    ValueConnectionClosed,
    ValueConnectionOpened,
)
from bridge.core.records.moment import Timestamp
from bridge.core.status import Status
from bridge.settings import Settings


class BridgeTopics:
    """Publish ``bridge/info`` when it changed, and all topics of the bridge when connected.

    Args:
        status: What is known of the bridge.
        capabilities_of: Says what a configuration offers.
    """

    name = "status"
    interests = frozenset(
        {
            Started,
            MqttConnected,
            CloudStatusChanged,
            ValueConnectionOpened,
            ValueConnectionClosed,
            StoreWorks,
            RetainFlagKnown,
            ServedChargersChanged,
            SettingsChanged,
            BridgeInfoWanted,
        }
    )

    def __init__(
        self, status: Status, capabilities_of: Callable[[Settings], dict[str, object]]
    ) -> None:
        self._status = status
        self._capabilities_of = capabilities_of

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle what ``bridge/info`` and the alerts of the REST side depend on."""
        status = self._status
        match event:
            case BridgeInfoWanted():
                return (status.info(),)
            case StoreWorks(is_ok):
                status.store_ok = is_ok
            case ServedChargersChanged(charger_ids):
                status.chargers = charger_ids
            case RetainFlagKnown(is_told):
                status.tells_retained = is_told
            case CloudStatusChanged():
                return status.rest_changed(event, now)
            case ValueConnectionOpened() | ValueConnectionClosed():
                return status.value_connection_changed(
                    is_open=isinstance(event, ValueConnectionOpened)
                )
            case MqttConnected():
                status.mqtt_protocol, status.keeps_s = event.protocol, event.keeps_s
                return status.publications(now)
            case SettingsChanged(settings):
                status.capabilities = self._capabilities_of(settings)
                return (status.info(),)
            case Started():
                status.started(now)
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""


class Health:
    """Publish ``bridge/cloud`` and ``bridge/health`` when they changed, and when that is due."""

    name = "health"
    interests = frozenset({EventHandled})

    def __init__(self, status: Status) -> None:
        self._status = status

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Publish what changed, behind an event."""
        if isinstance(event, EventHandled) and self._status.is_due(now):
            return self._status.refresh(now)
        return NOTHING

    def deadline_s(self) -> float | None:
        """Return when the health is to be published next."""
        return self._status.deadline_s()
