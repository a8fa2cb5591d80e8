"""Publishes the total energy of the chargers in time, and keeps it over a restart.

Rules:

1. Nothing is published before it is known what an earlier process published last: the broker's
   retained value, which comes right behind the connection, or what was kept in a document.
2. An estimate is published when it grew, at most twice a minute and at fixed seconds of it: the
   last one of an hour holds what belongs to that hour.
3. The document holds a limit that no published value exceeds before a higher one was written. Where
   neither the broker nor an orderly shutdown tells the last value, the limit takes its place: the
   value is ahead then until the meter has caught up, and does not fall.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

from bridge.core.changes import DerivedChanged
from bridge.core.chargers.energy_total import Basis
from bridge.core.chargers.fleet import ChargerRegistry
from bridge.core.domain_events import (
    NOTHING,
    ChargersAdded,
    ChargersRemoved,
    EchoReceived,
    Input,
    Output,
    Outputs,
)
from bridge.core.easee.derived_state import ENERGY_TOTAL
from bridge.core.effects import SaveState
from bridge.core.events import MqttConnected, MqttMessage, Started, Stopping, Tick
from bridge.core.records.moment import Timestamp
from bridge.core.topics import EnergyTotalTopic
from bridge.core.value_format import iso_utc, read_utc
from bridge.errors import DecodeError

NAME: Final = "energy"
# The broker sends what it keeps right behind the subscription.
SETTLED_S: Final = 5.0
EVERY_S: Final = 30.0
# Seconds before a half minute: what is published then arrives within the same minute and hour.
AHEAD_S: Final = 2.0
# What may be published before the document is written again.
STEP_KWH: Final = 2.0
# It is written when no more than this is left of it: a minute's charging with 22 kW is 0.37 kWh.
MARGIN_KWH: Final = 0.5
# What the broker retains of chargers that are none of ours is not held.
MAX_UNKNOWN: Final = 1000
MAX_AMOUNT: Final = 1e9


class EnergyService:
    """Total energy of all chargers.

    Args:
        chargers: The chargers.
        is_published: The filters leave it in.
        has_documents: JSON documents are published, which tell more than the bare value.
    """

    name = NAME
    interests = frozenset(
        {Started, Stopping, MqttConnected, EchoReceived, ChargersAdded, ChargersRemoved}
    )

    def __init__(
        self, chargers: ChargerRegistry, *, is_published: bool, has_documents: bool
    ) -> None:
        self._chargers = chargers
        self._is_published = is_published
        self._has_documents = has_documents
        # What the broker retained of chargers that are not known yet.
        self._echoed: dict[str, Basis] = {}
        self._kept: Mapping[str, object] = {}
        self._limits: dict[str, float] = {}
        self._settled_s: float | None = None
        self._due_s: float | None = None

    def handle(self, event: Input, now: Timestamp) -> Outputs:  # noqa: C901 - one case per event
        """Handle the start, what the broker retained, chargers, ticks and the end."""
        if not self._is_published:
            return NOTHING
        match event:
            case EchoReceived(message, EnergyTotalTopic() as topic):
                return self._echo(topic, message, now)
            case Tick():
                return self._tick(now)
            case MqttConnected():
                if self._settled_s is None:
                    self._settled_s = self._due_s = now.mono_s + SETTLED_S
            case ChargersAdded(charger_ids):
                return self._add(charger_ids, now)
            case ChargersRemoved(charger_ids):
                for charger_id in charger_ids:
                    self._limits.pop(charger_id, None)
            case Started(state=state):
                self._kept = state.get(ENERGY_TOTAL, {})
            case Stopping():
                return self._save(step_kwh=0.0)
        return NOTHING

    def deadline_s(self) -> float | None:
        """Return when the next estimates are due; None before the first connection."""
        return self._due_s

    def _add(self, charger_ids: Iterable[str], now: Timestamp) -> Iterator[Output]:
        for charger_id in charger_ids:
            kept = _basis(self._kept.get(charger_id))
            if kept is not None:
                self._chargers.chargers[charger_id].energy.resume(kept)
            echoed = self._echoed.pop(charger_id, None)
            if echoed is not None:
                yield from self._continue(charger_id, echoed, now)

    def _echo(
        self, topic: EnergyTotalTopic, message: MqttMessage, now: Timestamp
    ) -> Iterator[Output]:
        """Handle what the broker retained of an earlier process."""
        charger_id = topic.charger_id
        kept = _basis(self._kept.get(charger_id))
        echoed = _published(message.payload, kept)
        if not message.retained or topic.is_document is not self._has_documents or echoed is None:
            return
        if kept is not None and echoed.kwh < kept.kwh:
            return  # the broker lost what came after it
        if charger_id in self._chargers.chargers:
            yield from self._continue(charger_id, echoed, now)
        elif len(self._echoed) < MAX_UNKNOWN:
            self._echoed[charger_id] = echoed

    def _continue(self, charger_id: str, echoed: Basis, now: Timestamp) -> Iterator[Output]:
        """Continue from what the broker retained, unless this process has published already."""
        energy = self._chargers.chargers[charger_id].energy
        if energy.is_open:
            return
        energy.forget_floor()
        energy.resume(echoed)
        energy.open()
        yield from self._publish(now)

    def _tick(self, now: Timestamp) -> Iterator[Output]:
        if self._due_s is None or now.mono_s < self._due_s:
            return
        if self._settled_s is not None and now.mono_s >= self._settled_s:
            for charger in self._chargers.chargers.values():
                charger.energy.open()
        yield from self._publish(now)
        self._due_s = now.mono_s + _wait_s(now.known)

    def _publish(self, now: Timestamp) -> Iterator[Output]:
        if now.known is None:
            return
        changes: list[DerivedChanged] = []
        for charger in self._chargers.chargers.values():
            changes += charger.energy.tick(now.known, charger.state.heard_at)
        if self._is_limit_near():
            yield from self._save(STEP_KWH)
        yield from changes

    def _is_limit_near(self) -> bool:
        for charger_id, charger in self._chargers.chargers.items():
            kwh = charger.energy.published_kwh
            if kwh is not None and kwh > self._limits.get(charger_id, 0.0) - MARGIN_KWH:
                return True
        return False

    def _save(self, step_kwh: float) -> Iterator[SaveState]:
        """Write the limits, this far above what is published."""
        document: dict[str, object] = dict(self._kept)
        for charger_id, charger in self._chargers.chargers.items():
            basis = charger.energy.basis()
            if basis is None:
                continue
            self._limits[charger_id] = basis.kwh + step_kwh
            document[charger_id] = {
                "at": iso_utc(basis.at),
                "kwh": basis.kwh,
                "kw": basis.kw,
                "limit_kwh": self._limits[charger_id],
            }
        if document:
            yield SaveState(ENERGY_TOTAL, document)


def _wait_s(known: datetime | None) -> float:
    """Return the seconds to the next time of publication."""
    if known is None:
        return EVERY_S
    return EVERY_S - (known.timestamp() + AHEAD_S) % EVERY_S


def _basis(kept: object) -> Basis | None:
    """Read what was kept of a charger; None where that is of no use."""
    match kept:
        case {"at": str(at), "kwh": kwh, "kw": kw, "limit_kwh": limit_kwh}:
            amounts = [one for one in (kwh, kw, limit_kwh) if _is_amount(one)]
            try:
                return Basis(read_utc(at), *map(float, amounts))
            except (DecodeError, TypeError):  # no time, or too few amounts
                return None
    return None


def _is_amount(value: object) -> bool:
    """Return whether a value is a number that a meter or a power can have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < MAX_AMOUNT


def _published(payload: bytes, kept: Basis | None) -> Basis | None:
    """Read what an earlier process published; None where that is of no use.

    Args:
        payload: The document, or the bare value.
        kept: What else is known, for a bare value.
    """
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    match document:
        case bool():
            return None
        case int() | float() if kept is not None:
            return Basis(kept.at, float(document), kept.kw, float(document))
        case {"value": kwh, "measured_at": at, "power_kw": kw}:
            return _basis({"at": at, "kwh": kwh, "kw": kw, "limit_kwh": kwh})
    return None
