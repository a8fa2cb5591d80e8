"""Detects other bridges on the same base topic or with the same client id.

Rules:

1. Another bridge on this base topic is known by its heartbeat, and by ``bridge/info``, which tells
   its chargers. It is gone when it was not heard of for :data:`GONE_S`, or when ``bridge/state``
   becomes ``offline``.
2. A charger that we never served and whose availability somebody keeps is another bridge's, and so
   is one that left us and that another bridge says it serves: nothing of it is touched, and nobody
   who asks for it is told that it is unknown.
3. Of two bridges that serve one charger the one with the lower instance id carries out commands for
   it; the other stands back, so that nothing runs or is answered twice. Where the other does not
   tell its instance id, or has our client id and is therefore never there at the same time, nobody
   stands back.
4. A broker that says so, or that closes three connections in a row soon after they were made, has
   another client with our id. Many brokers do not say so. What is closed while something of ours
   was under way does not count: that may have been the reason.
5. What a resumed session kept comes before any of this is known: it waits for as long as another
   bridge needs to make itself heard (:mod:`bridge.core.commands.addressing`).
6. Whatever of this is so is named in one alert, which is cleared when it is over.
"""

import math
from collections.abc import Iterator

import msgspec

from bridge.core.alerts import Alerts
from bridge.core.domain_events import (
    NOTHING,
    BridgeInfoReceived,
    BridgeInfoWanted,
    BridgeStateReceived,
    EqualizersChanged,
    ForeignAvailabilityReceived,
    HeartbeatReceived,
    Input,
    Output,
    Outputs,
    ServedChargersChanged,
)
from bridge.core.easee.json_fields import one_line
from bridge.core.effects import Effect
from bridge.core.events import MqttConnected, MqttDisconnected, MqttMessage, Started, Tick
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc

ALERT = "second_bridge"
# Why a broker ended a connection: another client came with our id; no word at all.
TAKEN_OVER = 0x8E
CLOSED = 0x80
# Three heartbeats and some.
GONE_S = 35.0
# What was kept of it says nothing of now: its next heartbeat does.
PROVISIONAL_S = 15.0
# A connection that lived longer was not closed because of another client with its id: two of them
# wait 60 s for each other at most.
SOON_S = 75.0
CLOSED_IN_A_ROW = 3
# Two bridges that wait 60 s for each other have met again long before.
QUIET_S = 600.0
MAX_OTHERS = 8
MAX_KEPT = 1_000
MAX_NAMED = 5
ADVICE = "give each bridge an mqtt.client_id and an mqtt.base_topic of its own, or stop one of them"


class _Card(msgspec.Struct, gc=False):
    """What a bridge publishes in its heartbeat and in ``bridge/info``."""

    client_id: str = ""
    instance: str = ""
    started_at: str = ""
    chargers: tuple[str, ...] = ()
    equalizers: tuple[str, ...] = ()


class _Other(msgspec.Struct):
    """Another bridge.

    Attributes:
        client_id: What it calls itself, made safe to show.
        rank: Orders two bridges: instance id, then when it was started.
        chargers: What it serves, as far as it told.
        heard_s: Monotonic time at which it was heard of last.
        beats: How many heartbeats were heard.
    """

    client_id: str
    rank: tuple[str, str]
    chargers: frozenset[str] = frozenset()
    heard_s: float = -math.inf
    beats: int = 0


class Neighbours:
    """Everything that is known of other bridges.

    Args:
        topics: The tree.
        alerts: Where what is wrong is said.
        client_id: Ours, at the broker.
        instance: Of this bridge: stable and unique.
    """

    name = "neighbours"
    interests = frozenset(
        {
            Started,
            MqttConnected,
            MqttDisconnected,
            HeartbeatReceived,
            BridgeInfoReceived,
            BridgeStateReceived,
            ForeignAvailabilityReceived,
            ServedChargersChanged,
            EqualizersChanged,
        }
    )

    def __init__(self, topics: Topics, alerts: Alerts, *, client_id: str, instance: str) -> None:
        self._topics = topics
        self._alerts = alerts
        self._client_id = client_id
        self._rank = (instance, "")
        self._ours: frozenset[str] = frozenset()
        self._chargers: frozenset[str] = frozenset()
        self._equalizers: frozenset[str] = frozenset()
        self._others: dict[tuple[str, str], _Other] = {}
        self._kept: dict[str, bytes] = {}
        self._connected_s = -math.inf
        self._was_online = False
        self._taken_over = 0
        self._closed = 0
        self._lost_s = -math.inf

    def handle(self, event: Input, now: Timestamp) -> Outputs:  # noqa: C901 - one case per event
        """Handle messages of other bridges, changes of the connection, and ticks."""
        match event:
            case HeartbeatReceived(message):
                return self._heard(message, now)
            case BridgeInfoReceived(message, is_kept):
                return self.info(message, now, is_kept=is_kept)
            case BridgeStateReceived(payload, is_kept):
                return self.state(payload, now, is_kept=is_kept)
            case ForeignAvailabilityReceived(charger_id, payload):
                self.availability(charger_id, payload)
            case ServedChargersChanged(charger_ids):
                return self.serve(charger_ids, now)
            case EqualizersChanged(serials):
                self._equalizers = frozenset(serials)
                return self._served(now)
            case MqttConnected():
                self.connected(now)
            case MqttDisconnected():
                return self.disconnected(event, now)
            case Started():
                self.started(iso_utc(now.wall))
            case Tick():
                return self.tick(now)
        return NOTHING

    def started(self, started_at: str) -> None:
        """Set the start time of this process, which distinguishes it from a copy."""
        self._rank = (self._rank[0], started_at)

    def serve(self, charger_ids: tuple[str, ...], now: Timestamp) -> Iterator[Effect]:
        """Set the chargers that are served here."""
        self._chargers = frozenset(charger_ids)
        yield from self._served(now)

    def _served(self, now: Timestamp) -> Iterator[Effect]:
        self._ours = self._chargers | self._equalizers
        yield from self._tell(now)

    # -- the connection ----------------------------------------------------------------------

    def connected(self, now: Timestamp) -> None:
        """Record that the broker accepted the connection."""
        self._connected_s = now.mono_s
        self._was_online = False
        self._kept.clear()

    def disconnected(self, event: MqttDisconnected, now: Timestamp) -> Iterator[Effect]:
        """Record how a connection ended."""
        if event.code == TAKEN_OVER:
            self._taken_over += 1
            self._lost_s = now.mono_s
        elif event.code == CLOSED and now.mono_s - self._connected_s < SOON_S:
            self._closed += not event.was_busy
            self._lost_s = now.mono_s
        else:
            self._closed = 0
        yield from self._tell(now)

    # -- what others say ---------------------------------------------------------------------

    def _heard(self, event: MqttMessage, now: Timestamp) -> Iterator[Output]:
        """Handle a heartbeat; a new bridge does not know this one and its chargers yet."""
        if self.is_new(event):
            yield BridgeInfoWanted()
        yield from self.heartbeat(event, now)

    def heartbeat(self, event: MqttMessage, now: Timestamp) -> Iterator[Effect]:
        """Handle a heartbeat, own or foreign."""
        other = self._find(event.payload)
        if other is None:
            return
        other.beats += 1
        other.heard_s = now.mono_s
        yield from self._tell(now)

    def is_new(self, event: MqttMessage) -> bool:
        """Return whether a heartbeat is the first one of another bridge."""
        other = self._find(event.payload)
        return other is not None and other.beats == 0

    def info(self, event: MqttMessage, now: Timestamp, *, is_kept: bool) -> Iterator[Effect]:
        """Handle the info message of a bridge.

        Args:
            event: As it arrived.
            now: The time.
            is_kept: It may be old: the broker kept it.
        """
        other = self._find(event.payload)
        if other is None or (is_kept and other.rank[0] == self._rank[0]):
            return  # what an earlier process of ours said
        card = _card(event.payload)
        other.chargers = frozenset((*card.chargers, *card.equalizers))
        was_lost = now.mono_s < self._lost_s + QUIET_S
        if not is_kept or (was_lost and other.client_id == self._client_id):
            other.heard_s = now.mono_s
        elif self._was_online:
            other.heard_s = max(other.heard_s, now.mono_s - GONE_S + PROVISIONAL_S)
        yield from self._tell(now)

    def state(self, payload: bytes, now: Timestamp, *, is_kept: bool) -> Iterator[Effect]:
        """Handle a message on ``bridge/state``, live or retained."""
        if is_kept:
            self._was_online = payload == b"online"
        elif payload == b"offline":
            for other in self._others.values():
                other.heard_s = -math.inf
            yield from self._tell(now)

    def availability(self, charger_id: str, payload: bytes) -> None:
        """Handle the availability of a charger that was never served here."""
        self._kept.pop(charger_id, None)
        if payload and len(self._kept) < MAX_KEPT:
            self._kept[charger_id] = payload

    # -- what other components ask ------------------------------------------------------------

    def is_left(self, charger_id: str, now: Timestamp) -> bool:
        """Return whether commands for a charger are left to another bridge."""
        if charger_id in self._ours:
            return self.acts_for(charger_id, now)
        # Before we know our own chargers one that is kept may be ours.
        may_be_ours = not (self._ours or self.is_there(now))
        return not may_be_ours and self.keeps(charger_id, now)

    def keeps(self, charger_id: str, now: Timestamp) -> bool:
        """Return whether a charger that is not served here belongs to another bridge."""
        payload = self._kept.get(charger_id)
        is_its = payload == b"online" or (payload is not None and self.is_there(now))
        return is_its or self.serves(charger_id, now)

    def serves(self, charger_id: str, now: Timestamp) -> bool:
        """Return whether another bridge reports that it serves a charger."""
        return any(charger_id in other.chargers for other in self._alive(now))

    def is_there(self, now: Timestamp) -> bool:
        """Return whether another bridge is active on this base topic."""
        return any(self._alive(now))

    def shared(self, now: Timestamp) -> frozenset[str]:
        """Return our chargers that another bridge serves too."""
        return self._ours & frozenset[str]().union(*(o.chargers for o in self._alive(now)))

    def acts_for(self, charger_id: str, now: Timestamp) -> bool:
        """Return whether another bridge executes the commands for a charger served here."""
        return any(
            charger_id in other.chargers and self._goes_first(other) for other in self._alive(now)
        )

    def _goes_first(self, other: _Other) -> bool:
        is_there_too = other.client_id != self._client_id
        return is_there_too and bool(other.rank[0]) and other.rank < self._rank

    # -- time ---------------------------------------------------------------------------------

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None."""
        if not self._alerts.is_open(ALERT):
            return None
        ends = [o.heard_s + GONE_S for o in self._others.values() if o.heard_s > -math.inf]
        if self._lost_s > -math.inf:
            ends.append(self._lost_s + QUIET_S)
        return min(ends, default=None)

    def tick(self, now: Timestamp) -> Iterator[Effect]:
        """Drop bridges that are gone."""
        deadline_s = self.deadline_s()
        if deadline_s is None or now.mono_s < deadline_s:
            return
        gone = [rank for rank, o in self._others.items() if now.mono_s >= o.heard_s + GONE_S]
        for rank in gone:
            del self._others[rank]
        if now.mono_s >= self._lost_s + QUIET_S:
            self._taken_over = self._closed = 0
            self._lost_s = -math.inf
        yield from self._tell(now)

    # -- inside -------------------------------------------------------------------------------

    def _find(self, payload: bytes) -> _Other | None:
        """Return the bridge that sent a message, or None for this one or an unknown one."""
        card = _card(payload)
        rank = (one_line(card.instance)[:64], one_line(card.started_at)[:64])
        name = one_line(card.client_id)[:64]
        if rank == self._rank or not (rank[0] or name):
            return None
        found = self._others.get(rank)
        if found is None:
            if len(self._others) >= MAX_OTHERS:
                del self._others[min(self._others, key=lambda old: self._others[old].heard_s)]
            found = self._others[rank] = _Other(name, rank)
        found.client_id = name or found.client_id
        return found

    def _alive(self, now: Timestamp) -> Iterator[_Other]:
        for other in self._others.values():
            # Of a copy of ourselves the last words of our own earlier process must not be proof.
            is_sure = other.rank[0] != self._rank[0] or other.beats > 1
            if is_sure and now.mono_s < other.heard_s + GONE_S:
                yield other

    def _tell(self, now: Timestamp) -> Iterator[Effect]:
        said = [*self._of_our_id(), *(self._of(other) for other in self._alive(now))]
        if said:
            yield from self._alerts.raise_(ALERT, "; ".join(said), ADVICE, now)
        else:
            yield from self._alerts.clear(ALERT)

    def _of_our_id(self) -> Iterator[str]:
        if self._taken_over:
            times = "once" if self._taken_over == 1 else f"{self._taken_over} times"
            yield (
                f"another client with the id {self._client_id} took over the connection to the"
                f" broker {times}"
            )
        elif self._closed >= CLOSED_IN_A_ROW:
            yield (
                f"the broker closed {self._closed} connections in a row soon after they were made,"
                f" as it does when another client has the id {self._client_id}"
            )

    def _of(self, other: _Other) -> str:
        copy = ", a copy of this one's folder" if other.rank[0] == self._rank[0] else ""
        same = "the same " if other.client_id == self._client_id else ""
        who = f"another bridge ({same}client id {other.client_id or 'unknown'}{copy})"
        where = f"works on the base topic {self._topics.base}"
        shared = sorted(self._ours & other.chargers)
        if not shared:
            return f"{who} {where}"
        names = ", ".join(shared[:MAX_NAMED]) + ", …" * (len(shared) > MAX_NAMED)
        if same:
            by = "whichever is connected"
        elif not other.rank[0]:
            by = "both"
        else:
            by = "that one only" if self._goes_first(other) else "this one only"
        return f"{who} {where} and serves {names} too: commands are carried out by {by}"


def _card(payload: bytes) -> _Card:
    try:
        return msgspec.json.decode(payload, type=_Card)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _Card()
