"""Removed chargers, and the clearing of their topics.

Rules:

1. Who left is offline and not served. All that is retained of it is emptied a day later: who comes
   back within the day finds its values where they were.
2. It is cleared at once when its serial is published on ``bridge/forget``, or removed from
   ``easee.chargers``.
3. One charger after the other, and the next when the broker has acknowledged everything. Who left
   is remembered over a restart until then.
4. What another bridge serves now is its: nothing of it is touched. Whether there is one is known a
   moment after the connection, so it is then that the broker is told again who is offline.
5. Which topics an earlier run retained is known to the broker alone, so every name there is gets
   emptied.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from bridge.core.changes import AvailabilityChanged, ChargerCleared
from bridge.core.domain_events import (
    NOTHING,
    ChargerForgotten,
    ChargersAdded,
    ChargersRemoved,
    ChargersTakenOut,
    EqualizersChanged,
    ForgetReceived,
    Input,
    Output,
    Outputs,
)
from bridge.core.easee.derived_state import DERIVED, TOUCH_BUTTON
from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED
from bridge.core.easee.observation_registry import REGISTRY, spec_of
from bridge.core.easee.rest_requests import is_serial
from bridge.core.easee.selection import UNNAMED_BELOW
from bridge.core.effects import Effect, LogEntry
from bridge.core.events import (
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    Started,
    Tick,
)
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp

# Whoever empties a topic of a charger lets this component know when that is done.
NAME: Final = "departures"
KEPT_FOR: Final = timedelta(hours=24)
# The wall clock may be set meanwhile.
CHECK_EVERY_S: Final = 3600.0
_NUMBERS: Final = sorted(REGISTRY.keys() | set(range(UNNAMED_BELOW)))
TAG: Final = "cleared:"
# An Equalizer that left is remembered by its serial only, so its names are emptied for everybody.
_NAMES: Final = tuple(
    dict.fromkeys(
        (*(spec_of(n).name for n in _NUMBERS), *(spec.name for spec in EQUALIZER.values()))
    )
)
_DERIVED: Final = (*(topic.name for topic in (*DERIVED, *EQUALIZER_DERIVED)), TOUCH_BUTTON)

# What the broker keeps of another bridge comes right behind the connection.
SETTLED_S: Final = 10.0


class Departures:
    """Who left, and what of it is still at the broker."""

    name = NAME
    interests = frozenset(
        {
            Started,
            MqttConnected,
            MqttDisconnected,
            ForgetReceived,
            ChargersAdded,
            ChargersRemoved,
            ChargersTakenOut,
            EqualizersChanged,
        }
    )

    def __init__(
        self,
        chargers: Container[str],
        is_served_elsewhere: Callable[[str, Timestamp], bool | None],
    ) -> None:
        """Start without removed chargers.

        Args:
            chargers: Those that are served.
            is_served_elsewhere: Says whether a charger is another bridge's now.
        """
        self._chargers = chargers
        self._is_served_elsewhere = is_served_elsewhere
        self._left: dict[str, datetime] = {}
        # Names of observations beyond the table, that this run published.
        self._strange: dict[str, tuple[str, ...]] = {}
        self._urgent: dict[str, None] = {}
        self._emptying: str | None = None
        # Tags of the messages that are acknowledged.
        self._acked: set[str] = set()
        self._is_connected = False
        self._is_told = True
        self._settled_s = 0.0
        self._due_s: float | None = None

    def handle(self, event: Input, now: Timestamp) -> Outputs:  # noqa: C901 - one case per event
        """Handle added and removed chargers, the state of the broker, and ticks."""
        match event:
            case MqttAcked(message):
                return self.acked(message, now)
            case ChargersAdded(charger_ids):
                self.back(charger_ids)
            case EqualizersChanged(added=added, removed=removed):
                self.back(added)
                self.leave(removed, now, strange={})
                return self.offline(removed, now)
            case ChargersRemoved(charger_ids, strange):
                self.leave(charger_ids, now, strange=strange)
                return self.offline(charger_ids, now)
            case ChargersTakenOut(charger_ids):
                for charger_id in charger_ids:
                    self.forget(charger_id, now)
            case ForgetReceived(message):
                return self._forget_if_asked(message, now)
            case MqttConnected():
                self.connected(now)
            case MqttDisconnected():
                self.disconnected()
            case Started(left=left):
                self.started(left, now)
            case Tick():
                return self.tick(now)
        return NOTHING

    def __contains__(self, charger_id: object) -> bool:
        return charger_id in self._left

    @property
    def left(self) -> Mapping[str, datetime]:
        """Since when which charger is away, until everything of it was emptied."""
        return self._left

    @property
    def waiting(self) -> Mapping[str, datetime]:
        """Those among them that are emptied when their day is over, and not now."""
        now = {self._emptying, *self._urgent}
        return {i: since for i, since in self._left.items() if i not in now}

    def is_emptied(self, charger_id: str) -> bool:
        """Return whether a charger's topics are being cleared now; it cannot be added meanwhile."""
        return charger_id == self._emptying

    def started(self, left: Mapping[str, datetime], now: Timestamp) -> None:
        """Restore the chargers removed in an earlier run."""
        self._left = dict(left)
        self._due_s = now.mono_s if left else None

    def leave(
        self, charger_ids: Iterable[str], now: Timestamp, *, strange: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Record chargers that were removed now.

        Args:
            charger_ids: They.
            now: When.
            strange: Names of their observations that are in no table, by charger.
        """
        for charger_id in charger_ids:
            self._left.setdefault(charger_id, now.known or now.wall)
            self._strange[charger_id] = strange.get(charger_id, ())
        self._plan(now)

    def back(self, charger_ids: Iterable[str]) -> None:
        """Record removed chargers that were added again."""
        for charger_id in charger_ids:
            self._left.pop(charger_id, None)
            self._strange.pop(charger_id, None)
            self._urgent.pop(charger_id, None)

    def forget(self, charger_id: str, now: Timestamp) -> bool:
        """Clear a removed charger's topics at once; return whether it is a removed charger."""
        if charger_id not in self._left:
            return False
        self._urgent[charger_id] = None
        self._plan(now)
        return True

    def _forget_if_asked(self, event: MqttMessage, now: Timestamp) -> Iterator[Effect]:
        """Handle ``bridge/forget``: the serial of a removed charger, bare or quoted."""
        charger_id = event.payload.decode("ascii", "replace").strip().strip('"')
        if event.retained:
            why = "it is retained"
        elif not is_serial(charger_id):
            why = "it is no serial"
        elif self.forget(charger_id, now):
            return
        elif charger_id in self._chargers:
            why = "that charger is served"
        else:
            why = "no charger of this serial left"
        yield LogEntry("warning", "forget.ignored", {"error": why})

    # -- the broker ---------------------------------------------------------------------------

    def connected(self, now: Timestamp) -> None:
        """Plan to say again that they are offline: the broker may have lost it."""
        self._is_connected = True
        self._is_told = False
        self._settled_s = now.mono_s + SETTLED_S
        self._plan(now)

    def disconnected(self) -> None:
        """Handle the end of the connection; what was sent is sent again."""
        self._is_connected = False

    def acked(self, message: Publish, now: Timestamp) -> Iterator[Output]:
        """Handle an acknowledgement; refused publications are retried elsewhere."""
        charger_id = self._emptying
        if charger_id is None or message.tag.rpartition(":")[0] != f"{TAG}{charger_id}":
            return
        self._acked.add(message.tag)
        if len(self._acked) >= message.parts:
            yield from self._done(charger_id, now)

    def offline(self, charger_ids: Iterable[str], now: Timestamp) -> Iterator[Effect]:
        """Publish removed chargers as offline, except those another bridge serves.

        Without a connection nobody knows who that is, and the next one has it said.
        """
        for charger_id in charger_ids if self._is_connected else ():
            if not self._is_served_elsewhere(charger_id, now):
                yield AvailabilityChanged(charger_id, is_online=False)

    # -- time ---------------------------------------------------------------------------------

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None."""
        return self._due_s if self._is_connected and self._emptying is None else None

    def tick(self, now: Timestamp) -> Iterator[Output]:
        """Publish who is offline, and clear the topics of the next charger that is due."""
        due_s = self.deadline_s()
        if due_s is None or now.mono_s < due_s:
            return
        if not self._is_told and now.mono_s >= self._settled_s:
            self._is_told = True
            yield from self.offline(self._left, now)
        charger_id = next(iter(self._urgent), None) or self._overdue(now)
        if charger_id is None:
            self._plan(now)
            return
        if self._is_served_elsewhere(charger_id, now):
            yield from self._done(charger_id, now)
            return
        self._emptying = charger_id
        self._acked.clear()
        yield ChargerCleared(
            charger_id,
            (*_NAMES, *self._strange.get(charger_id, ())),
            _DERIVED,
            # Where it was served until now a value may wait on the other connection.
            is_urgent=charger_id in self._urgent,
            tag=f"{TAG}{charger_id}",
            owner=NAME,
        )

    def _done(self, charger_id: str, now: Timestamp) -> Iterator[Output]:
        self._emptying = None
        self.back((charger_id,))
        self._plan(now)
        yield LogEntry("info", "charger.forgotten", {"charger_id": charger_id})
        yield ChargerForgotten(charger_id)

    def _overdue(self, now: Timestamp) -> str | None:
        known = now.known
        if known is None:
            return None
        return next((i for i, since in self._left.items() if known - since >= KEPT_FOR), None)

    def _plan(self, now: Timestamp) -> None:
        """Compute the next deadline."""
        if not self._left:
            self._due_s = None
        elif self._urgent or not self._is_told:
            self._due_s = max(now.mono_s, self._settled_s)
        else:
            wait_s = CHECK_EVERY_S
            if now.known is not None:
                first = min(self._left.values()) + KEPT_FOR - now.known
                wait_s = min(max(0.0, first.total_seconds()), CHECK_EVERY_S)
            self._due_s = max(now.mono_s + wait_s, self._settled_s)
