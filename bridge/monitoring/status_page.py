"""What the status page shows: a fold over what the bridge publishes, and nothing besides.

Rules:

1. Only names in :data:`SHOWN` are kept of a charger's values, and only chosen fields of documents.
   So nothing personal can come here, whatever is published some day.
2. What is kept is bounded: the chargers of ``bridge/info``, one value per name, the last
   :data:`MAX_COMMANDS` commands of each.
3. Every part has a revision. Who shows it asks for what is newer than the one he has.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from bridge.core.chargers.state import CLOUD_GENERATED_IDS
from bridge.core.effects import Effect
from bridge.core.events import Event, MqttConnected, MqttDisconnected, ObservationsReceived
from bridge.core.messages import Publish
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc, read_utc
from bridge.errors import DecodeError

MAX_COMMANDS = 5
BRIDGE = "bridge"
# Names of state topics, as the contract has them.
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
    }
)
# How the topics end that are worth a look among all the values.
SHOWN_TOPIC_ENDINGS: Final = SHOWN | {"availability"}
SESSION_FIELDS: Final = ("started_at", "ended_at", "energy_kwh", "auth_reason_name", "offline")
ALERT_FIELDS: Final = ("message", "hint", "since")
COMMAND_FIELDS: Final = ("command", "state", "reason", "final", "received_at", "elapsed_ms")

Document = Mapping[str, object]


@dataclass(slots=True)
class _ChargerCard:
    """One charger as far as it is known."""

    revision: int = 0
    availability: str = "unknown"
    values: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, Document | None] = field(default_factory=dict)
    commands: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=MAX_COMMANDS))
    measured_at: datetime | None = None

    def document(self, charger_id: str) -> Document:
        return {
            "id": charger_id,
            "availability": self.availability,
            "values": self.values,
            "session": self.sessions.get("current"),
            "last": self.sessions.get("last"),
            "commands": list(self.commands),
        }


class StatusModel:
    """The bridge and its chargers, ready to be shown.

    Attributes:
        revision: Of the newest change.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._chargers: dict[str, _ChargerCard] = {}
        self._bridge: dict[str, object] = {"broker": "disconnected", "cloud": "starting"}
        self._alerts: dict[str, Document] = {}
        self._bridge_revision = 0
        self.revision = 0

    def event(self, event: Event) -> None:
        """Take one event."""
        match event:
            case MqttConnected():
                self._say("broker", "connected")
            case MqttDisconnected():
                self._say("broker", "disconnected")
            case ObservationsReceived(observations):
                for raw in observations:
                    card = self._chargers.get(raw.charger_id)
                    # What the cloud says of a charger is no sign of life.
                    if card is not None and raw.id not in CLOUD_GENERATED_IDS:
                        self._hear(card, raw.timestamp)
            case _:
                pass

    def effect(self, effect: Effect) -> None:
        """Take one effect; only what is published is shown."""
        if not isinstance(effect, Publish):
            return
        if effect.telemetry and effect.topic.rpartition("/")[2] not in SHOWN_TOPIC_ENDINGS:
            return
        levels = effect.topic.removeprefix(f"{self._topics.base}/").split("/")
        match levels:
            case [charger_id, *_] if not self._is_worth(charger_id, effect.payload):
                pass
            case ["bridge", *rest]:
                self._of_bridge(rest, effect.payload)
            case [charger_id, "availability"]:
                card = self._of(charger_id)
                self._put(card, availability=effect.payload.decode())
            case [charger_id, "state", name] if name in SHOWN:
                self._value(self._of(charger_id), name, effect.payload.decode())
            case [charger_id, "session", ("current" | "last") as which]:
                self._session(self._of(charger_id), which, effect.payload)
            case [charger_id, "result", _] if charger_id in self._chargers:
                self._answer(self._chargers[charger_id], effect.payload)
            case _:
                pass

    def since(self, revision: int) -> Document:
        """Return what changed after a revision; after -1, everything.

        ``order`` names the chargers there are, so that one that left can be taken away.
        """
        found: dict[str, object] = {
            "revision": self.revision,
            "order": sorted(self._chargers),
            "chargers": [
                card.document(charger_id)
                for charger_id, card in sorted(self._chargers.items())
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
            for charger_id, card in self._chargers.items()
            if card.measured_at is not None
        }

    # -- parts ------------------------------------------------------------------------------------

    def _of_bridge(self, rest: list[str], payload: bytes) -> None:
        match rest:
            case ["cloud"]:
                self._say("cloud", payload.decode())
            case ["info"]:
                info = msgspec.json.decode(payload)
                self._say("version", info["version"])
                self._say("started_at", info["started_at"])
                self._serve(info["chargers"])
            case ["health"]:
                health = msgspec.json.decode(payload)
                for name in ("verdict", "stream", "polling", "store", "reports"):
                    self._say(name, health[name])
            case ["alert", *kind]:
                before = dict(self._alerts)
                self._alerts.pop("/".join(kind), None)
                if payload:
                    alert = msgspec.json.decode(payload)
                    self._alerts["/".join(kind)] = {name: alert[name] for name in ALERT_FIELDS}
                if before != self._alerts:
                    self._bridge_revision = self._next()
            case _:
                pass

    def _is_worth(self, charger_id: str, payload: bytes) -> bool:
        """What takes a topic away from a charger we do not serve must not bring it here."""
        return bool(payload) or charger_id == BRIDGE or charger_id in self._chargers

    def _serve(self, serials: list[str]) -> None:
        """Keep the chargers that are served, and no other."""
        for serial in serials:
            self._of(serial)
        for gone in self._chargers.keys() - set(serials):
            del self._chargers[gone]
            self._next()

    def _of(self, charger_id: str) -> _ChargerCard:
        if charger_id not in self._chargers:
            self._chargers[charger_id] = _ChargerCard(self._next())
        return self._chargers[charger_id]

    def _put(self, card: _ChargerCard, *, availability: str) -> None:
        if card.availability != availability:
            card.availability, card.revision = availability, self._next()

    def _value(self, card: _ChargerCard, name: str, text: str) -> None:
        if card.values.get(name) != text:
            card.values[name], card.revision = text, self._next()

    def _session(self, card: _ChargerCard, which: str, payload: bytes) -> None:
        document = msgspec.json.decode(payload) if payload else None
        chosen = document and {name: document.get(name) for name in SESSION_FIELDS}
        if card.sessions.get(which) != chosen:
            card.sessions[which], card.revision = chosen, self._next()

    def _answer(self, card: _ChargerCard, payload: bytes) -> None:
        """Put an answer in front; the later word on a command takes the earlier one's place."""
        document = msgspec.json.decode(payload)
        chosen = {name: document.get(name) for name in COMMAND_FIELDS}
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

    def _say(self, name: str, value: object) -> None:
        if self._bridge.get(name) != value:
            self._bridge[name], self._bridge_revision = value, self._next()

    def _next(self) -> int:
        self.revision += 1
        return self.revision
