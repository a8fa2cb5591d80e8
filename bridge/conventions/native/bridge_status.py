"""Status of the gateway and its alerts, as retained messages."""

import msgspec
from msgspec.structs import asdict

from bridge.core.changes import (
    AlertCleared,
    AlertRaised,
    BridgeInfoChanged,
    BridgeOnline,
    CloudStateChanged,
    HealthChanged,
)
from bridge.core.messages import Publish
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc


class BridgeMessages:
    """Makes the messages below ``<base>/bridge``.

    Args:
        topics: The topic tree.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def online(self, change: BridgeOnline) -> tuple[Publish, ...]:
        """Return ``bridge/state``."""
        state = b"online" if change.is_online else b"offline"
        return (Publish(self._topics.bridge_state, state),)

    def cloud(self, change: CloudStateChanged) -> tuple[Publish, ...]:
        """Return ``bridge/cloud``."""
        return (Publish(self._topics.bridge_cloud, change.state.encode()),)

    def info(self, change: BridgeInfoChanged) -> tuple[Publish, ...]:
        """Return ``bridge/info``."""
        document = {
            "version": change.version,
            "client_id": change.client_id,
            "instance": change.instance,
            "started_at": "" if change.started_at is None else iso_utc(change.started_at),
            "chargers": change.chargers,
            "equalizers": change.equalizers,
            "capabilities": change.capabilities,
            **(change.cluster or {}),
        }
        return (Publish(self._topics.bridge_info, msgspec.json.encode(document)),)

    def health(self, change: HealthChanged) -> tuple[Publish, ...]:
        """Return ``bridge/health``."""
        document = asdict(change) | {"at": iso_utc(change.at)}
        return (Publish(self._topics.bridge_health, msgspec.json.encode(document)),)

    def alert(self, change: AlertRaised) -> tuple[Publish, ...]:
        """Return ``bridge/alert/<kind>``."""
        document = {
            "kind": change.kind,
            "message": change.message,
            "hint": change.hint,
            "since": iso_utc(change.since),
        }
        return (Publish(self._topics.alert(change.kind), msgspec.json.encode(document)),)

    def no_alert(self, change: AlertCleared) -> tuple[Publish, ...]:
        """Empty ``bridge/alert/<kind>``."""
        return (Publish(self._topics.alert(change.kind), b""),)
