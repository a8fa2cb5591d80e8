"""The Sparkplug B convention: every change as metrics of the node; see ``docs/sparkplug.md``."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from bridge.conventions.convention import ConnectionNeed
from bridge.conventions.sparkplug.device import Reading
from bridge.conventions.sparkplug.edge_node import LINK, EdgeNode
from bridge.conventions.sparkplug.metrics import (
    ALERTS,
    CLOUD,
    HEALTH,
    RESULT,
    SESSION,
    SESSION_TYPES,
    STRING,
    VERSION,
    MetricType,
    converted,
    device_types,
    milliseconds,
    observation_type,
)
from bridge.conventions.sparkplug.payload import DataType, PropertyInput
from bridge.core.addressees import CHARGER, EQUALIZER, Kind
from bridge.core.changes import (
    AlertCleared,
    AlertRaised,
    AvailabilityChanged,
    BridgeInfoChanged,
    Change,
    ChargerCleared,
    CloudStateChanged,
    CommandAnswered,
    DerivedChanged,
    HealthChanged,
    LastSessionChanged,
    ReportPending,
    ReportsGivenUp,
    ValuesChanged,
)
from bridge.core.easee.command_catalogue import CATALOGUE, allowed
from bridge.core.easee.equalizer import EQUALIZER as EQUALIZER_ROWS
from bridge.core.easee.selection import Selection
from bridge.core.events import MqttMessage
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.requests import IncomingRequest
from bridge.core.session_documents import last_fields
from bridge.settings import Settings

# A dead connection is noticed within twice this time, long before reports count as delivered.
KEEPALIVE_S: Final = 30


class Sparkplug:
    """Turns changes into metrics, and writes of a host into commands.

    Args:
        settings: The configuration.
    """

    name: Final = LINK

    def __init__(self, settings: Settings) -> None:
        self.node = EdgeNode(settings.sparkplug)
        self._selection = Selection.of(settings.publish)
        self._commands = _allowed(settings)
        self.node.set_types(self._types())
        self._alerts: dict[str, None] = {}
        self._takers: Mapping[type, Callable[[Any, Timestamp], None]] = {
            ValuesChanged: self._values,
            DerivedChanged: self._derived,
            AvailabilityChanged: self._available,
            ChargerCleared: self._cleared,
            CommandAnswered: self._answered,
            LastSessionChanged: self._last,
            ReportPending: self._pending,
            ReportsGivenUp: self._given_up,
            BridgeInfoChanged: self._info,
            CloudStateChanged: self._cloud,
            HealthChanged: self._health,
            AlertRaised: self._alert,
            AlertCleared: self._alert,
        }
        client_id = f"{settings.mqtt.client_id}-{LINK}"
        self._need = ConnectionNeed(
            LINK, client_id, session=self.node, keeps_s=0, keepalive_s=KEEPALIVE_S
        )

    @property
    def connection(self) -> ConnectionNeed | None:
        """Return the connection: the node's death is its will."""
        return self._need

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Return the filters of the node."""
        return self.node.topics.subscriptions

    def explain(self, topic: str, _now: Timestamp) -> Iterator[str]:
        """Say why a topic of the node has messages, or none."""
        return self.node.explain(topic)

    def snapshot(self, _now: Timestamp) -> Iterable[Publish]:
        """Return nothing: the births have everything."""
        return ()

    def parse(self, _message: MqttMessage) -> IncomingRequest | None:
        """Return nothing: the session reads its messages."""
        return None

    def publish(self, change: Change, now: Timestamp) -> Iterable[Publish]:
        """Take a change over into the metrics; the session hands them out."""
        take = self._takers.get(type(change))
        if take is not None:
            take(change, now)
        return ()

    def _available(self, change: AvailabilityChanged, _now: Timestamp) -> None:
        self.node.device(change.charger_id).is_online = change.is_online

    def _derived(self, change: DerivedChanged, now: Timestamp) -> None:
        device = self.node.device(change.charger_id)
        device.set(change.name, change.value, milliseconds(now.wall), STRING)

    def _cleared(self, change: ChargerCleared, _now: Timestamp) -> None:
        self.node.remove(change.charger_id)

    def _pending(self, change: ReportPending, _now: Timestamp) -> None:
        self.node.reports.add(change.stored, is_late=change.is_late)

    def _given_up(self, change: ReportsGivenUp, _now: Timestamp) -> None:
        self.node.reports.drop(change.reports)

    def _cloud(self, change: CloudStateChanged, now: Timestamp) -> None:
        self.node.set(CLOUD, change.state, now)

    def _health(self, change: HealthChanged, now: Timestamp) -> None:
        self.node.set(HEALTH, change.verdict, now)

    def _alert(self, change: AlertRaised | AlertCleared, now: Timestamp) -> None:
        if isinstance(change, AlertRaised):
            self._alerts[change.kind] = None
        else:
            self._alerts.pop(change.kind, None)
        self.node.set(ALERTS, ",".join(self._alerts), now)

    def _values(self, change: ValuesChanged, _now: Timestamp) -> None:
        for value in change.values:
            spec = value.spec
            if EQUALIZER_ROWS.get(spec.id) is spec:
                self.node.set_kind(value.charger_id, EQUALIZER)
            if not spec.personal:
                device = self.node.device(value.charger_id)
                at_ms = milliseconds(value.measured_at)
                device.set(spec.name, value.value, at_ms, observation_type(spec))

    def _answered(self, change: CommandAnswered, _now: Timestamp) -> None:
        """Add a result; one of a device or a command that there is not has no metric."""
        result, name = change.result, RESULT + change.result.command
        device = self.node.devices.get(change.charger_id)
        if device is not None and device.is_metric(name):
            texts = {"id": result.id, "reason": result.reason, "detail": result.detail}
            properties: tuple[PropertyInput, ...] = (
                ("final", DataType.BOOLEAN, result.final),
                *((key, DataType.STRING, text) for key, text in texts.items() if text),
            )
            self.node.device(change.charger_id).add(
                name, result.state, milliseconds(result.at), properties
            )

    def _last(self, change: LastSessionChanged, _now: Timestamp) -> None:
        """Keep the newest session for the births, once it is stored."""
        if change.name[0] is not None:
            at_ms = milliseconds(change.report.at)
            readings = {
                SESSION + name: Reading(converted(value, SESSION_TYPES[name].datatype), at_ms)
                for name, value in last_fields(change.report, change.name)
                if name in SESSION_TYPES
            }
            self.node.device(change.charger_id).remember(readings)

    def _info(self, change: BridgeInfoChanged, now: Timestamp) -> None:
        self.node.set(VERSION, change.version, now)
        commands = change.capabilities.get("commands")
        if isinstance(commands, list) and tuple(commands) != self._commands:
            self._commands = tuple(commands)
            self.node.set_types(self._types())
        for serial in change.equalizers:
            self.node.set_kind(serial, EQUALIZER)
        for serial in (*change.chargers, *change.equalizers):
            if serial not in self.node.devices:
                self.node.device(serial)

    def _types(self) -> dict[Kind, dict[str, MetricType]]:
        kinds: tuple[Kind, ...] = (CHARGER, EQUALIZER)
        return {kind: device_types(kind, self._commands, self._selection) for kind in kinds}


def _allowed(settings: Settings) -> tuple[str, ...]:
    names = (spec.name for spec in CATALOGUE.values() if allowed(spec, settings.commands.allow))
    return tuple(sorted(names))
