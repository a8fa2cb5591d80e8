"""Model of the status page, updated by events and changes.

Rules:

1. Only names in :data:`SHOWN` are kept of a charger's values, and only chosen facts of the rest.
   So nothing personal can come here, whatever is published some day.
2. What is kept is bounded: the chargers and Equalizers that are served, one value per name, the
   last :data:`MAX_COMMANDS` commands of each.
3. Every part has a revision. Who shows it asks for what is newer than the one he has.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec.structs import asdict

from bridge.core.changes import (
    AlertCleared,
    AlertRaised,
    AvailabilityChanged,
    BridgeInfoChanged,
    Change,
    CloudStateChanged,
    CommandAnswered,
    CurrentSessionChanged,
    DerivedChanged,
    HealthChanged,
    LastSessionChanged,
    SchedulesChanged,
    ValuesChanged,
)
from bridge.core.chargers.state import CLOUD_GENERATED_IDS
from bridge.core.events import Event, MqttConnected, MqttDisconnected, ObservationsReceived
from bridge.core.partitions import is_free
from bridge.core.records.command_result import CommandResult
from bridge.core.records.lease import HeldLease
from bridge.core.session_documents import auth_reason_name, is_offline
from bridge.core.value_format import Value, format_scalar, iso_utc, read_utc
from bridge.errors import DecodeError

MAX_COMMANDS = 5
BRIDGE = "bridge"
# Names of values and derived values.
SHOWN: Final = frozenset(
    {
        "op_mode",
        "no_current_reason",
        "led",
        "led_color",
        "led_pattern",
        "access_mode",
        "offline_policy",
        "connected_to_cloud",
        "total_power",
        "session_energy",
        "output_current",
        "current_l1",
        "current_l2",
        "current_l3",
        "dynamic_charger_current",
        "held_limit",
        "control_owner",
        # Of an Equalizer.
        "active_power_import",
        "active_power_export",
        "available_current_l1",
        "available_current_l2",
        "available_current_l3",
    }
)
COMMAND_FIELDS: Final = ("command", "state", "reason", "final", "received_at", "elapsed_ms")

Document = Mapping[str, object]


class _ChargerCard(msgspec.Struct):
    """One charger or Equalizer as far as it is known."""

    revision: int = 0
    availability: str = "unknown"
    values: dict[str, str] = msgspec.field(default_factory=dict)
    sessions: dict[str, Document | None] = msgspec.field(default_factory=dict)
    schedule: Document | None = None
    commands: deque[dict[str, object]] = msgspec.field(
        default_factory=lambda: deque(maxlen=MAX_COMMANDS)
    )
    measured_at: datetime | None = None

    def document(self, charger_id: str, name: str) -> Document:
        return {
            "id": charger_id,
            "name": name,
            "availability": self.availability,
            "values": self.values,
            "session": self.sessions.get("current"),
            "last": self.sessions.get("last"),
            "schedule": self.schedule,
            "commands": list(self.commands),
        }


def _facts(
    started_at: datetime | None,
    ended_at: datetime | None,
    energy_kwh: float | None,
    auth_reason: int | None,
) -> dict[str, object]:
    """Return what is shown of a session."""
    return {
        "started_at": started_at and iso_utc(started_at),
        "ended_at": ended_at and iso_utc(ended_at),
        "energy_kwh": energy_kwh,
        "auth_reason_name": auth_reason_name(auth_reason),
        "offline": None if ended_at is None else is_offline(auth_reason),
    }


class StatusModel:
    """The bridge and its chargers, ready to be shown.

    Attributes:
        revision: Of the newest change.
    """

    def __init__(
        self, now: Callable[[], datetime], names: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Start with nothing known.

        Args:
            now: Returns the time of the gateway, UTC.
            names: What people call the chargers, by serial.
        """
        self._now = now
        self._names: Mapping[str, str] = names
        self._chargers: dict[str, _ChargerCard] = {}
        self._equalizers: dict[str, _ChargerCard] = {}
        self._bridge: dict[str, object] = {"broker": "disconnected", "cloud": "starting"}
        self._alerts: dict[str, Document] = {}
        self._bridge_revision = 0
        self.revision = 0

    def rename(self, names: Mapping[str, str]) -> None:
        """Use other names from now on."""
        changed = dict(self._names).items() ^ dict(names).items()
        self._names = names
        for serial in {serial for serial, _ in changed}:
            card = self._card(serial)
            if card is not None:
                card.revision = self._next()

    def event(self, event: Event) -> None:
        """Apply one event."""
        match event:
            case MqttConnected():
                self._say("broker", "connected")
            case MqttDisconnected():
                self._say("broker", "disconnected")
            case ObservationsReceived(observations):
                for raw in observations:
                    card = self._card(raw.charger_id)
                    # What the cloud says of a charger is no sign of life.
                    if card is not None and raw.id not in CLOUD_GENERATED_IDS:
                        self._hear(card, raw.timestamp)
            case _:
                pass

    def change(self, change: Change) -> None:  # noqa: C901, PLR0912 - one case per change
        """Apply one change."""
        match change:
            case ValuesChanged(values):
                for value in values:
                    if value.spec.name in SHOWN and value.is_new:
                        self._value(value.charger_id, value.spec.name, value.value)
            case DerivedChanged(charger_id, name, value) if name in SHOWN:
                self._value(charger_id, name, value)
            case AvailabilityChanged(charger_id, is_online):
                availability = "online" if is_online else "offline"
                self._put(self._of(charger_id), availability=availability)
            case CurrentSessionChanged(charger_id, session) if session is not None:
                facts = _facts(session.started_at, None, session.energy_kwh, session.auth_reason)
                self._session(charger_id, "current", facts)
            case CurrentSessionChanged(charger_id) if charger_id in self._chargers:
                self._session(charger_id, "current", None)
            case LastSessionChanged(charger_id, report):
                facts = _facts(
                    report.started_at, report.ended_at, report.energy_kwh, report.auth_reason
                )
                self._session(charger_id, "last", facts)
            case SchedulesChanged(charger_id):
                self._schedule(charger_id, change)
            case CommandAnswered(charger_id, result):
                self._answer(charger_id, result)
            case CloudStateChanged(state):
                if self._bridge["cloud"] != state:
                    self._bridge["cloud_since"] = iso_utc(self._now())
                self._say("cloud", state)
            case BridgeInfoChanged():
                self._say("version", change.version)
                self._say("started_at", iso_utc(change.started_at) if change.started_at else "")
                self._serve(change.chargers, change.equalizers)
            case HealthChanged():
                for name in ("verdict", "stream", "polling", "store"):
                    self._say(name, getattr(change, name))
                self._say("reports", asdict(change.reports))
            case AlertRaised() | AlertCleared():
                self._alert(change)
            case _:
                pass

    def since(self, revision: int) -> Document:
        """Return what changed after a revision; after -1, everything.

        ``order`` names the chargers there are, ``meters`` the Equalizers, so that one that left can
        be taken away.
        """
        found: dict[str, object] = {
            "revision": self.revision,
            "order": sorted(self._chargers),
            "chargers": [
                card.document(charger_id, self._names.get(charger_id, ""))
                for charger_id, card in sorted(self._chargers.items())
                if card.revision > revision
            ],
            "meters": sorted(self._equalizers),
            "equalizers": [
                {
                    "id": serial,
                    "name": self._names.get(serial, ""),
                    "availability": card.availability,
                    "values": card.values,
                }
                for serial, card in sorted(self._equalizers.items())
                if card.revision > revision
            ],
        }
        if self._bridge_revision > revision:
            found[BRIDGE] = self._bridge | {"alerts": list(self._alerts.values())}
        return found

    def heard(self) -> Mapping[str, str]:
        """Return when each charger's newest value was measured, as far as there is one."""
        return {
            charger_id: iso_utc(card.measured_at)
            for charger_id, card in (*self._chargers.items(), *self._equalizers.items())
            if card.measured_at is not None
        }

    # -- parts ------------------------------------------------------------------------------------

    def _alert(self, change: AlertRaised | AlertCleared) -> None:
        before = dict(self._alerts)
        self._alerts.pop(change.kind, None)
        if isinstance(change, AlertRaised):
            since = iso_utc(change.since)
            alert = {"message": change.message, "hint": change.hint, "since": since}
            self._alerts[change.kind] = alert
        if before != self._alerts:
            self._bridge_revision = self._next()

    def _serve(self, chargers: tuple[str, ...], equalizers: tuple[str, ...]) -> None:
        """Add and remove chargers and Equalizers so that exactly these are shown."""
        for cards, serials in ((self._chargers, chargers), (self._equalizers, equalizers)):
            for serial in serials:
                if serial not in cards:
                    cards[serial] = _ChargerCard(self._next())
            for gone in cards.keys() - set(serials):
                del cards[gone]
                self._next()

    def _card(self, serial: str) -> _ChargerCard | None:
        return self._chargers.get(serial) or self._equalizers.get(serial)

    def _of(self, serial: str) -> _ChargerCard:
        card = self._card(serial)
        if card is None:
            card = self._chargers[serial] = _ChargerCard(self._next())
        return card

    def _put(self, card: _ChargerCard, *, availability: str) -> None:
        if card.availability != availability:
            card.availability, card.revision = availability, self._next()

    def _value(self, charger_id: str, name: str, value: Value | None) -> None:
        card, text = self._of(charger_id), format_scalar(value).decode()
        if card.values.get(name) != text:
            card.values[name], card.revision = text, self._next()

    def _session(self, charger_id: str, which: str, facts: Document | None) -> None:
        card = self._of(charger_id)
        if card.sessions.get(which) != facts:
            card.sessions[which], card.revision = facts, self._next()

    def _schedule(self, charger_id: str, change: SchedulesChanged) -> None:
        """Keep which schedule is in force, and when it changes something next."""
        card, standing = self._of(charger_id), change.standing
        facts = {
            "in_force": change.schedules.in_force,
            "next_start": standing.next_start and iso_utc(standing.next_start),
            "next_stop": standing.next_stop and iso_utc(standing.next_stop),
        }
        if card.schedule != facts:
            card.schedule, card.revision = facts, self._next()

    def _answer(self, charger_id: str, result: CommandResult) -> None:
        """Insert a result at the front; it replaces an earlier one of the same command."""
        card = self._card(charger_id)
        if card is None:
            return
        chosen: dict[str, object] = {name: getattr(result, name) for name in COMMAND_FIELDS}
        chosen["received_at"] = iso_utc(result.received_at)
        for earlier in list(card.commands):
            same = all(earlier[name] == chosen[name] for name in ("command", "received_at"))
            if same and (not earlier["final"] or earlier == chosen):
                card.commands.remove(earlier)
        if len(card.commands) == MAX_COMMANDS:
            card.commands.pop()
        card.commands.appendleft(chosen)
        card.revision = self._next()

    def _hear(self, card: _ChargerCard, timestamp: str) -> None:
        try:
            at = read_utc(timestamp)
        except DecodeError:  # the state counts and names it
            return
        if card.measured_at is None or at > card.measured_at:
            card.measured_at = at

    def cluster(self, worker: str, members: Sequence[str], leases: Iterable[HeldLease]) -> None:
        """Note the members and leases of a cluster; how old they are is not shown."""
        owners = [
            {
                "partition": each.partition,
                "owner": None if is_free(each) else each.owner,
                "epoch": each.epoch,
            }
            for each in leases
        ]
        self._say("cluster", {"worker": worker, "members": list(members), "partitions": owners})

    def _say(self, name: str, value: object) -> None:
        if self._bridge.get(name) != value:
            self._bridge[name], self._bridge_revision = value, self._next()

    def _next(self) -> int:
        self.revision += 1
        return self.revision
