"""Counters of a process that serves several partitions, as if it were one gateway."""

from msgspec.structs import replace

from bridge.core.changes import (
    AlertCleared,
    AlertRaised,
    BridgeInfoChanged,
    Change,
    CloudStateChanged,
    HealthChanged,
)
from bridge.core.effects import Action
from bridge.core.events import (
    Event,
    MqttConnected,
    MqttDisconnected,
    StreamClosed,
    StreamOpened,
)
from bridge.core.messages import Publish
from bridge.core.speaker.merging import MergedStatus
from bridge.monitoring.metrics import Metrics


class PartMetrics:
    """Counts what the gateway of a partition handles; its status is merged with the others'.

    Args:
        metrics: Of the process.
        merged: Status of the partitions that this process serves.
        partition: Its number.
    """

    def __init__(self, metrics: Metrics, merged: MergedStatus, partition: int) -> None:
        self._metrics = metrics
        self._merged = merged
        self._partition = partition
        self._info: BridgeInfoChanged | None = None

    def event(self, event: Event) -> None:
        """Count one event; a link is up while that of every partition is."""
        metrics, part = self._metrics, self._merged.of(self._partition)
        metrics.event(event)
        match event:
            case MqttConnected() | MqttDisconnected():
                part.has_broker = isinstance(event, MqttConnected)
                metrics.broker_up = all(each.has_broker for each in self._merged.parts.values())
            case StreamOpened() | StreamClosed():
                part.has_stream = isinstance(event, StreamOpened)
                metrics.stream_up = all(each.has_stream for each in self._merged.serving)
            case _:
                pass

    def effect(self, effect: Action) -> None:
        """Count one effect."""
        self._metrics.effect(effect)

    def published(self, message: Publish) -> None:
        """Count one message for the broker."""
        self._metrics.published(message)

    def change(self, change: Change) -> None:
        """Count one change, of all partitions where it is of the status."""
        merged, part = self._merged, self._merged.of(self._partition)
        match change:
            case BridgeInfoChanged():
                part.chargers, part.equalizers = change.chargers, change.equalizers
                self._info = change
                change = self._whole(change)
            case CloudStateChanged(state):
                part.cloud = state
                change = CloudStateChanged(merged.cloud)
            case HealthChanged():
                part.health = change
                change = self._healthy(change)
            case AlertRaised(kind):
                part.alerts[kind] = change
                change = merged.alert(kind) or change
            case AlertCleared(kind):
                part.alerts.pop(kind, None)
                change = merged.alert(kind) or change
            case _:
                pass
        self._metrics.change(change)

    def ended(self) -> None:
        """Take the partition away: another process serves it, or none."""
        part = self._merged.parts.pop(self._partition, None)
        for kind in () if part is None else part.alerts:
            self._metrics.change(self._merged.alert(kind) or AlertCleared(kind))
        if self._info is not None:
            self._metrics.change(self._whole(self._info))

    def _whole(self, info: BridgeInfoChanged) -> BridgeInfoChanged:
        return replace(info, chargers=self._merged.chargers, equalizers=self._merged.equalizers)

    def _healthy(self, health: HealthChanged) -> HealthChanged:
        """Return the health of all partitions; the worst verdict counts."""
        merged = self._merged
        verdicts = {part.health.verdict for part in merged.parts.values() if part.health}
        return replace(
            health,
            verdict=next((one for one in ("failed", "degraded") if one in verdicts), "ok"),
            cloud=merged.cloud,
            stream=merged.has_stream,
            polling=merged.is_polling,
            store=merged.store_ok,
            chargers=len(merged.chargers),
            chargers_online=merged.online,
            alerts=tuple(sorted(merged.alert_kinds)),
            reports=merged.reports,
            counters=dict(sorted(merged.counters.items())),
        )
