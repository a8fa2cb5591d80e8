"""Follows the partitions of an installation, and publishes what is so of all of them.

Rules:

1. What a partition serves and how it is comes from its retained topics; who owns it from the table
   of leases. Before a partition told what it serves, the division says it.
2. A partition that had no owner for :data:`ORPHAN_AFTER_S` is an orphan: its chargers are published
   ``offline``, and so is ``bridge/state``. Its next owner publishes its chargers again; a takeover
   is over long before.
3. Without the table nothing is known of owners, and nothing changes: nobody takes over either.
"""

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec
from msgspec.structs import fields

from bridge.core.addressees import site_id_of, site_name
from bridge.core.changes import (
    AlertRaised,
    AvailabilityChanged,
    BridgeOnline,
    HealthChanged,
    ReportCounts,
)
from bridge.core.domain_events import (
    NOTHING,
    BridgeInfoWanted,
    Input,
    OtherMessageReceived,
    Output,
    Outputs,
    PartitionReported,
    ServedChargersChanged,
)
from bridge.core.easee.json_fields import one_line
from bridge.core.effects import LogEntry
from bridge.core.events import ClusterSeen, DivisionSeen, MqttConnected
from bridge.core.partitions import is_free
from bridge.core.records.lease import ClusterView, HeldLease
from bridge.core.records.moment import Timestamp
from bridge.core.sources.charger_list import SHARE_ONE
from bridge.core.speaker.merging import MergedStatus
from bridge.core.status import CloudStatus, Status
from bridge.core.topics import Topics
from bridge.core.value_format import read_utc
from bridge.errors import DecodeError

ORPHAN_AFTER_S: Final = 15.0
NO_OWNER: Final = "partition_without_owner"
NO_CHARGERS: Final = "no_chargers"
MAX_TEXT: Final = 2000


class _Info(msgspec.Struct):
    """Of ``bridge/info`` what is merged."""

    chargers: tuple[str, ...] = ()
    equalizers: tuple[str, ...] = ()


class _Health(msgspec.Struct):
    """Of ``bridge/health`` what is merged."""

    verdict: str = ""
    cloud: str = ""
    stream: bool = False
    polling: bool = False
    store: bool = True
    clock_trusted: bool = True
    chargers: int = 0
    chargers_online: int = 0
    reports: dict[str, int] = {}
    counters: dict[str, int] = {}


class _Alert(msgspec.Struct):
    """An alert."""

    message: str
    hint: str = ""
    since: str = ""


class MergedCloud(CloudStatus):
    """What the partitions say of the cloud.

    Attributes:
        word: The payload of ``bridge/cloud``.
    """

    word: str = "disconnected"

    @property
    def state(self) -> str:
        """Return the payload of ``bridge/cloud``."""
        return self.word

    def explain(self) -> Iterator[str]:
        """Say why the cloud's state is what it is."""
        yield "it is the state of all partitions together: see bridge/partition/<nn>/cloud"


class PartitionWatch:
    """Keep the status of all partitions, and what all of them serve.

    Args:
        topics: The tree.
        status: Of the whole installation.
        cloud: Part of it.
        devices: What each partition serves by the division, as far as it is known.
        partitions: How many there are.
        ttl_s: A worker that was not seen for so long does not live.
    """

    name = "partitions"
    interests = frozenset(
        {ClusterSeen, DivisionSeen, MqttConnected, PartitionReported, OtherMessageReceived}
    )

    def __init__(
        self,
        topics: Topics,
        status: Status,
        cloud: MergedCloud,
        devices: Mapping[int, frozenset[str]],
        *,
        partitions: int,
        ttl_s: float,
    ) -> None:
        self._topics = topics
        self._status = status
        self._cloud = cloud
        self._merged = MergedStatus()
        self._devices = devices
        self._sites: set[str] = set()
        self._partitions = partitions
        self._ttl_s = ttl_s
        self._rows: tuple[HeldLease, ...] = ()
        self._members: list[str] = []
        self._is_empty = False
        self._told_kinds: frozenset[str] = frozenset()
        self._counted: Mapping[str, int] = {}
        status.reports = lambda: self._merged.reports

    def __contains__(self, name: object) -> bool:
        """Return whether a partition answers for a device or a site."""
        if name in self._sites:
            return True
        parts = self._merged.parts
        return any(
            name in part.devices
            if (part := parts.get(number)) is not None and part.is_told
            else name in self._devices.get(number, frozenset())
            for number in range(self._partitions)
        )

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle what partitions say, who owns them, and a new connection."""
        match event:
            case PartitionReported(partition, rest, payload) if partition < self._partitions:
                return self._reported(partition, rest, payload, now)
            case ClusterSeen(view):
                return self._seen(view, now)
            case DivisionSeen(devices, is_listed):
                self._devices = devices
                self._is_empty = is_listed and not any(devices.values())
                return self._told_alerts(now)
            case OtherMessageReceived(message):
                self._site(message.topic, is_there=bool(message.payload))
            case MqttConnected():
                return self._offline(self._merged.orphans)
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""

    # -- what partitions say --------------------------------------------------------------------

    def _reported(
        self, partition: int, rest: str, payload: bytes, now: Timestamp
    ) -> Iterator[Output]:
        part = self._merged.of(partition)
        match rest.split("/"):
            case ["cloud"]:
                part.cloud = one_line(payload.decode(errors="replace"))[:40]
            case ["info"] if payload:
                yield from self._served(partition, payload)
            case ["health"] if payload:
                part.health = _health(payload, now)
            case ["alert", *kind]:
                self._alert(partition, "/".join(kind), payload, now)
                yield from self._told_alerts(now)
            case _:
                return
        self._refresh()

    def _served(self, partition: int, payload: bytes) -> Iterator[Output]:
        """Take over which chargers and Equalizers a partition serves."""
        try:
            info = msgspec.json.decode(payload, type=_Info)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return  # it is cut where it is long; the division says the same
        part, before = self._merged.of(partition), self._merged.chargers
        part.is_told = True
        if (part.chargers, part.equalizers) == (info.chargers, info.equalizers):
            return
        part.chargers, part.equalizers = info.chargers, info.equalizers
        part.devices = frozenset((*info.chargers, *info.equalizers))
        chargers, self._status.equalizers = self._merged.chargers, self._merged.equalizers
        self._has_changed()
        yield ServedChargersChanged(chargers, tuple(sorted(set(before) - set(chargers))))
        yield BridgeInfoWanted()

    def _alert(self, partition: int, kind: str, payload: bytes, now: Timestamp) -> None:
        alerts = self._merged.of(partition).alerts
        alerts.pop(kind, None)
        with contextlib.suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
            alert = msgspec.json.decode(payload, type=_Alert)
            since = _time(alert.since, now.wall)
            message, hint = one_line(alert.message)[:MAX_TEXT], one_line(alert.hint)[:MAX_TEXT]
            alerts[kind] = AlertRaised(kind, message, hint, since)

    def _told_alerts(self, now: Timestamp) -> Iterator[Output]:
        """Publish the alerts of the partitions as those of the installation."""
        alerts, kinds = self._status.alerts, self._merged.alert_kinds
        if self._merged.chargers:
            kinds -= {NO_CHARGERS}  # of a partition that serves none
        for kind in sorted(kinds):
            alert = self._merged.alert(kind)
            if alert is not None:
                yield from alerts.raise_(kind, alert.message, alert.hint, now, alert.since)
        for kind in sorted(self._told_kinds - kinds):
            yield from alerts.clear(kind)
        self._told_kinds = kinds
        if NO_CHARGERS not in kinds:
            if self._is_empty:
                message = "no charger: the account lists none"
                yield from alerts.raise_(NO_CHARGERS, message, SHARE_ONE, now)
            else:
                yield from alerts.clear(NO_CHARGERS)

    def _site(self, topic: str, *, is_there: bool) -> None:
        """Note the sites that a partition publishes."""
        levels = topic.removeprefix(f"{self._topics.base}/").split("/")
        name = "/".join(levels[:2])
        if (site_id := site_id_of(name)) is None or levels[2:] != ["info"]:
            return
        if is_there:
            self._sites.add(site_name(site_id))
        else:
            self._sites.discard(site_name(site_id))

    # -- who owns them --------------------------------------------------------------------------

    def _seen(self, view: ClusterView, now: Timestamp) -> Iterator[Output]:
        rows = [each for each in view.leases if 0 <= each.partition < self._partitions]
        orphans = frozenset(
            each.partition for each in rows if is_free(each) and each.left_s <= -ORPHAN_AFTER_S
        )
        yield from self._orphaned(orphans, now)
        self._rows = tuple(rows)
        self._members = [each.name for each in view.members if each.seen_ago_s < self._ttl_s]
        if self._has_changed():
            yield BridgeInfoWanted()

    def _has_changed(self) -> bool:
        """Take over who serves what into the status; return whether that changed."""
        before = self._status.cluster
        owned = [
            {
                "partition": each.partition,
                "owner": None if is_free(each) else each.owner,
                "chargers": len(self._merged.of(each.partition).chargers),
            }
            for each in self._rows
        ]
        self._status.cluster = {"partitions": owned, "members": self._members}
        return self._status.cluster != before

    def _orphaned(self, orphans: frozenset[int], now: Timestamp) -> Iterator[Output]:
        """Publish the chargers of partitions without an owner as offline, and say so."""
        before, self._merged.orphans = self._merged.orphans, orphans
        if orphans == before:
            return
        self._refresh()
        yield from self._offline(orphans - before)
        if orphans:
            names = ", ".join(f"{number:02}" for number in sorted(orphans))
            count = sum(len(self._devices_of(number)) for number in orphans)
            yield LogEntry("error", "partitions.without_owner", {"partitions": sorted(orphans)})
            yield from self._status.alerts.raise_(
                NO_OWNER,
                f"no worker serves the partitions {names}: {count} devices are offline",
                "start a worker, or see charger-bridge cluster status why the others do not take"
                " them over",
                now,
            )
        else:
            yield from self._status.alerts.clear(NO_OWNER)
        if self._status.is_online is bool(orphans):
            self._status.is_online = not orphans
            yield BridgeOnline(self._status.is_online)

    def _offline(self, partitions: frozenset[int]) -> Iterator[Output]:
        for number in sorted(partitions):
            for device in self._devices_of(number):
                yield AvailabilityChanged(device, is_online=False)

    def _devices_of(self, partition: int) -> tuple[str, ...]:
        """Return what a partition serves, as it told, or else by the division."""
        part = self._merged.of(partition)
        if part.is_told:
            return (*part.chargers, *part.equalizers)
        return tuple(sorted(self._devices.get(partition, frozenset())))

    # -- the whole ------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Take over what follows from all partitions into the status."""
        merged, status, cloud = self._merged, self._status, self._cloud
        cloud.word = merged.cloud
        cloud.stream_up, cloud.polling = merged.has_stream, merged.is_polling
        status.online, status.store_ok = merged.online, merged.store_ok
        counters = merged.counters
        for name, count in counters.items():
            status.counters[name] += count - self._counted.get(name, 0)
        self._counted = counters


def _health(payload: bytes, now: Timestamp) -> HealthChanged | None:
    try:
        health = msgspec.json.decode(payload, type=_Health)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    names = {each.name for each in fields(ReportCounts)}
    return HealthChanged(
        verdict=health.verdict,
        at=now.wall,
        cloud=health.cloud,
        stream=health.stream,
        polling=health.polling,
        store=health.store,
        clock_trusted=health.clock_trusted,
        chargers=health.chargers,
        chargers_online=health.chargers_online,
        alerts=(),
        reports=ReportCounts(**{n: count for n, count in health.reports.items() if n in names}),
        counters=health.counters,
    )


def _time(text: str, default: datetime) -> datetime:
    try:
        return read_utc(text)
    except DecodeError:
        return default
