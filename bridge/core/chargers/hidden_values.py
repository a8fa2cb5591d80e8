"""Clears the retained topics of values that the filters leave out, once.

Rules:

1. Which values an earlier run published is known from the filters it ran with. Without that record
   it published everything.
2. One charger after the other, and the next when the broker has acknowledged everything. The record
   is written when every charger was cleared; a run that ends before begins again.
3. A charger that another bridge serves is left alone: whether there is one is known a moment after
   the connection.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from bridge.core.changes import ValuesHidden
from bridge.core.chargers.departures import SETTLED_S
from bridge.core.domain_events import (
    NOTHING,
    ChargersAdded,
    ChargersRemoved,
    EqualizersChanged,
    Input,
    Outputs,
)
from bridge.core.easee.selection import Selection, hidden_equalizer_names, hidden_names
from bridge.core.effects import Effect, LogEntry, SaveState
from bridge.core.events import MqttAcked, MqttConnected, MqttDisconnected, Started, Tick
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp

NAME: Final = "hidden_values"
TAG: Final = "hidden:"


class HiddenValues:
    """The values that are left out, and the chargers whose topics of them are still to be cleared.

    Args:
        selection: The filters.
        is_served_elsewhere: Returns whether a charger is another bridge's now.
    """

    name = NAME
    interests = frozenset(
        {
            Started,
            MqttConnected,
            MqttDisconnected,
            ChargersAdded,
            ChargersRemoved,
            EqualizersChanged,
        }
    )

    def __init__(
        self,
        selection: Selection,
        is_served_elsewhere: Callable[[str, Timestamp], bool | None],
    ) -> None:
        self._hidden = hidden_names(selection)
        self._hidden_of_equalizers = hidden_equalizer_names(selection)
        self._equalizers: frozenset[str] = frozenset()
        self._is_served_elsewhere = is_served_elsewhere
        self._before: frozenset[str] = frozenset()
        self._cleared_before: frozenset[str] = frozenset()
        self._cleared: set[str] = set()
        self._waiting: dict[str, None] = {}
        self._clearing: str | None = None
        self._acked: set[str] = set()
        self._is_connected = False
        self._due_s = 0.0

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle added and removed chargers, the state of the broker, and ticks."""
        match event:
            case MqttAcked(message):
                return self._acknowledged(message)
            case ChargersAdded(charger_ids):
                self._add(charger_ids)
            case ChargersRemoved(charger_ids):
                self._remove(charger_ids)
            case EqualizersChanged(serials, added, removed):
                self._equalizers = frozenset(serials)
                self._remove(removed)
                self._add(added)
            case MqttConnected():
                self._is_connected = True
                self._due_s = now.mono_s + SETTLED_S
            case MqttDisconnected():
                self._is_connected = False  # what was sent is sent again by the outbox
            case Started(state=state):
                return self._restore(state.get(NAME, {}))
            case Tick():
                return self._tick(now)
        return NOTHING

    def deadline_s(self) -> float | None:
        """Return when the next charger is to be cleared; None while there is none."""
        is_idle = not self._waiting or self._clearing is not None
        return None if is_idle or not self._is_connected else self._due_s

    def _restore(self, document: Mapping[str, object]) -> Iterator[Effect]:
        """Restore the record of an earlier run."""
        self._before = _words(document.get("hidden"))
        self._cleared_before = _words(document.get("chargers"))
        if self._before and not self._hidden:
            yield self._record()

    def _add(self, charger_ids: Iterable[str]) -> None:
        for charger_id in charger_ids:
            if self._names(charger_id):
                self._waiting[charger_id] = None
            elif self._hidden:
                self._cleared.add(charger_id)

    def _remove(self, charger_ids: Collection[str]) -> None:
        for charger_id in charger_ids:
            self._waiting.pop(charger_id, None)
            self._cleared.discard(charger_id)

    def _names(self, charger_id: str) -> tuple[str, ...]:
        """Return what an earlier run published of a charger and this one does not."""
        is_done = charger_id in self._cleared_before
        is_equalizer = charger_id in self._equalizers
        hidden = self._hidden_of_equalizers if is_equalizer else self._hidden
        return tuple(sorted(hidden - self._before if is_done else hidden))

    def _tick(self, now: Timestamp) -> Iterator[Effect | ValuesHidden]:
        due_s = self.deadline_s()
        if due_s is None or now.mono_s < due_s:
            return
        while self._waiting:
            charger_id = next(iter(self._waiting))
            if not self._is_served_elsewhere(charger_id, now):
                self._clearing = charger_id
                self._acked.clear()
                yield ValuesHidden(charger_id, self._names(charger_id), TAG + charger_id, NAME)
                return
            del self._waiting[charger_id]

    def _acknowledged(self, message: Publish) -> Iterator[Effect]:
        charger_id = self._clearing
        if charger_id is None or message.tag.rpartition(":")[0] != TAG + charger_id:
            return
        self._acked.add(message.tag)
        if len(self._acked) < message.parts:
            return
        self._clearing = None
        self._waiting.pop(charger_id, None)
        self._cleared.add(charger_id)
        yield LogEntry("info", "values.hidden", {"charger_id": charger_id})
        if not self._waiting:
            yield self._record()

    def _record(self) -> SaveState:
        hidden = sorted(self._hidden | self._hidden_of_equalizers)
        cleared = sorted(self._cleared)
        return SaveState(NAME, {"hidden": hidden, "chargers": cleared})


def _words(value: object) -> frozenset[str]:
    """Return the texts of a list; anything else has none."""
    listed = value if isinstance(value, list) else []
    return frozenset(one for one in listed if isinstance(one, str))
