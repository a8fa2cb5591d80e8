"""Delivery of session reports to consumers: committed, published, delivered.

Rules:

1. A report is published only after it was committed. The broker's acknowledgement makes it
   *published*, no more: of 4,344 messages a broker had acknowledged before it was killed, 399 never
   reached a subscriber. What is not settled goes out again on every new connection. Also when the
   broker says that it remembers our session: a killed one restores an older memory and says so too.
2. A report is *settled* when a consumer acknowledged its key, or when the connection has held for
   :data:`SETTLE_S` after the broker's acknowledgement. Then the broker has written it down. Where
   an acknowledgement is required it goes out again instead.
3. An acknowledgement counts for the revision it can mean, and never for a newer one: a consumer's
   bare key means a revision that was handed over, a broker's the very message.
4. One report of each charger is under way, oldest end first, so a charger's reports go out in
   order; at most :data:`WINDOW` of all chargers. What the broker had before comes after what it
   never had.
5. A report the broker refuses three times, or can never take, is set aside. It is tried again when
   a connection is made anew, once after the broker took the last of its charger's others, and every
   :data:`SET_ASIDE_S`. So it never holds up the rest, is never forgotten, and refusals alone never
   keep the wire busy.
6. "No matching subscribers" (16) is no delivery where a subscriber is required: that charger's
   reports wait, the oldest is tried less and less often, until there is a subscriber. Before
   the first consumer they are not pending but kept: it requests a replay. A consumer that
   asks is there: a replay lets everything try at once.
7. A drain is paced: a broker's queue for a slow or absent consumer is short, and what does not fit
   is dropped while its publisher is told that all is well. After :data:`BURST` reports they go out
   at :data:`REPORTS_A_SECOND`. What a consumer acknowledged makes room at once.
8. Where other channels deliver reports too, each gets every report at once, and a report is settled
   when all have delivered it (:mod:`bridge.core.sessions.report_channels`).
9. A broker that holds nothing (QoS 0) proves nothing either: a report stays owed until a consumer
   acknowledged it, and goes out again on every connection and every :data:`SETTLE_S`.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec
from msgspec.structs import replace

from bridge.core.backoff import exponential_delay_s
from bridge.core.changes import ReportDue, ReportPending, ReportsGivenUp
from bridge.core.delivery.outbox import PERMANENT_REJECTIONS, REFUSED
from bridge.core.effects import Effect, KeepReports, LogEntry, MarkPublished, SettleReports
from bridge.core.messages import Publish
from bridge.core.records.stored_report import StoredReport
from bridge.core.sessions.report_channels import ReportChannels, ReportKey
from bridge.core.sessions.report_merge import cleared

# More would only sit in the broker's queue, and after a crash go out twice.
WINDOW = 10
MAX_REFUSALS = 3
# An access list is mended without a new connection.
SET_ASIDE_S = 300.0
NO_SUBSCRIBERS = 0x10
TAG = "report:"
# Of the component that is given what became of the reports.
NAME = "sessions"
# mosquitto writes its memory every 30 minutes; half as much again for one that is late.
SETTLE_S = 45 * 60.0
# So many connections in a row that did not hold for that long: time will settle nothing here.
MAX_REDELIVERIES = 20
# A restarting consumer is back within seconds; one that is not installed never comes.
FIRST_PROBE_S = 5.0
MAX_PROBE_S = 300.0
# One commit for many, and a statement SQLite takes.
MAX_SETTLED_BATCH = 100
# mosquitto queues 1,000 messages for a consumer and drops the rest: 1,500 were acknowledged, 1,000
# arrived. Three days of 50 chargers are 600 reports.
BURST = 800
REPORTS_A_SECOND = 20.0
PACE_S = 0.5


class _Unpublished(msgspec.Struct):
    """A report that the broker has not taken on this connection.

    Attributes:
        handed: This revision was sent at least once, so a consumer may have it.
        again: The broker took it before.
    """

    stored: StoredReport
    refusals: int = 0
    handed: bool = False
    again: bool = False


class _ChargerQueue(msgspec.Struct):
    """The reports of one charger.

    Attributes:
        line: Heap of (again, end, key, revision); an entry whose revision is no longer pending is
            skipped.
        sent: What is under way, or None.
        set_aside: Keys the broker refuses.
        unheard: How many attempts in a row had no subscriber.
        not_before_s: When the next report is tried for a subscriber.
    """

    line: list[tuple[bool, datetime, str, int]] = msgspec.field(default_factory=list)
    sent: StoredReport | None = None
    set_aside: dict[str, None] = msgspec.field(default_factory=dict)
    unheard: int = 0
    not_before_s: float = 0.0


class ReportAck(msgspec.Struct, frozen=True):
    """An acknowledgement of a report by a consumer.

    Attributes:
        key: Of the report.
        revision: The one it has, or None when it did not say.
    """

    key: str
    revision: int | None = None


class ReportDelivery:
    """Publishes pending reports and determines when they are delivered."""

    def __init__(
        self,
        *,
        personal_data: bool,
        salt: bytes,
        require_subscriber: bool = True,
        require_acknowledgement: bool = False,
        channels: Iterable[str] = (),
        window: int = WINDOW,
    ) -> None:
        """Start without pending reports.

        Args:
            personal_data: Show tags as they are instead of hashed.
            salt: For the hash.
            require_subscriber: 16 is no delivery.
            require_acknowledgement: Only a consumer settles.
            channels: Names of the conventions that deliver reports in their own way.
            window: Most reports handed over and not acknowledged.
        """
        self._personal_data = personal_data
        self._salt = salt
        self._require_subscriber = require_subscriber
        self._require_acknowledgement = require_acknowledgement
        self._channels = ReportChannels(channels)
        self._window = window
        # With required acknowledgements there is a consumer, even before the first one.
        self._has_consumer = require_acknowledgement
        self._connected = False
        self._unpublished: dict[str, _Unpublished] = {}
        # When the broker took what is not settled, oldest first.
        self._published: OrderedDict[str, tuple[StoredReport, float]] = OrderedDict()
        # When pending reports were sent to a broker that holds nothing, oldest first.
        self._unproved: OrderedDict[str, float] = OrderedDict()
        self._holds = True
        self._queues: dict[str, _ChargerQueue] = {}
        # Chargers with something to send and nothing under way, in turn.
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._in_flight: dict[str, StoredReport] = {}
        self._probing: dict[str, _ChargerQueue] = {}
        # Heap of (when, charger); one that was tried meanwhile, or has another time, is skipped.
        self._probes: list[tuple[float, str]] = []
        self._refused = 0
        self._again_s = math.inf
        self._room = float(BURST)
        self._paced_s = 0.0
        self._repeated = 0

    # -- what others ask ---------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Return how many reports the broker has not acknowledged."""
        return len(self._unpublished)

    @property
    def moving(self) -> int:
        """Return how many may be published now; those without a subscriber are not counted."""
        return len(self._in_flight) + sum(
            len(queue.line) for one, queue in self._queues.items() if one not in self._probing
        )

    @property
    def unsettled(self) -> int:
        """Return how many are acknowledged by the broker but not delivered."""
        return len(self._published) + self._channels.waiting

    @property
    def refused(self) -> int:
        """Return how many are set aside because the broker refuses them."""
        return self._refused

    @property
    def is_looping(self) -> bool:
        """Return whether reports are repeated endlessly, without lasting connections or acks."""
        return self._repeated >= MAX_REDELIVERIES and bool(self._published or self._unpublished)

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None."""
        if not self._connected:
            return None
        wanted = []
        if (probe_s := self._next_probe_s()) is not None:
            wanted.append(probe_s)
        if self._published:
            wanted.append(next(iter(self._published.values()))[1] + SETTLE_S)
        if self._unproved:
            wanted.append(next(iter(self._unproved.values())) + SETTLE_S)
        if self._again_s < math.inf:
            wanted.append(self._again_s)
        if self._ready and self._room < 1:
            wanted.append(self._paced_s + PACE_S)
        return min(wanted, default=None)

    # -- the store ---------------------------------------------------------------------------

    def opened(
        self, unsettled: Iterable[StoredReport], mono_s: float, *, has_consumer: bool = True
    ) -> Iterator[Effect]:
        """Handle the undelivered reports of the store, at the start or after it was reopened.

        Args:
            unsettled: Its rows.
            mono_s: Now.
            has_consumer: A consumer received a report since the store was created.
        """
        self._has_consumer = self._has_consumer or has_consumer
        for stored in unsettled:
            self._owe(stored, again=stored.published)
            yield from self._pending(stored, is_late=True)
        yield from self._fill(mono_s)

    def saved(self, stored: StoredReport, changed: bool, mono_s: float) -> Iterator[Effect]:
        """Handle a committed report; an unchanged one that was published is not published again."""
        if changed or not (stored.published or stored.settled):
            self._owe(stored, again=False)
            self._listen_again(stored.report.charger_id)
            yield from self._pending(stored, is_late=False)
            yield from self._fill(mono_s)

    def delivered(self, channel: str, reports: Iterable[ReportKey]) -> Iterator[Effect]:
        """Handle deliveries of another channel."""
        yield from _settled(self._channels.delivered(channel, reports))

    @property
    def oldest_waiting(self) -> datetime | None:
        """Return when the oldest session ended whose report only waits for another channel."""
        return self._channels.oldest

    def give_up(self, before: datetime) -> Iterator[Effect]:
        """Settle what only waits for another channel and ended before."""
        if given_up := self._channels.give_up(before):
            yield LogEntry("warning", "session.given_up", {"reports": len(given_up)})
            yield ReportsGivenUp(tuple(given_up))
            yield from _settled(given_up)

    def replay(self, reports: Iterable[StoredReport], mono_s: float) -> Iterator[Effect]:
        """Publish stored reports once more, settled ones too."""
        self.heard_of_somebody()
        for stored in reports:
            if stored.key in self._published:
                self._owe_again(stored.key)
            elif stored.key in self._unproved:
                self._prove_again(stored.key)
            else:
                self._owe(stored, again=stored.published)
        yield from self._fill(mono_s)

    def heard_of_somebody(self) -> None:
        """Retry everything at once: a consumer is active."""
        self._has_consumer = True
        for charger_id in tuple(self._probing):
            self._queues[charger_id].unheard = 0
            self._listen_again(charger_id)
        self._try_all_again()

    # -- the broker --------------------------------------------------------------------------

    def connected(self, mono_s: float, *, holds: bool = True) -> Iterator[Effect]:
        """Handle a new connection: all undelivered reports are published, in order.

        Args:
            mono_s: Now.
            holds: The broker acknowledges messages and keeps them for a consumer.
        """
        self._connected, self._holds = True, holds
        self._probing.clear()
        self._probes.clear()
        for tag, stored in list(self._in_flight.items()):
            if self._is_current(stored):
                yield self._due(stored)
            else:
                self._queue_of(stored).sent = None
                del self._in_flight[tag]
        again = len(self._published)
        for key in list(self._published):
            self._owe_again(key)
        for key in list(self._unproved):
            self._prove_again(key)
        for queue in self._queues.values():
            queue.unheard = 0
        self._try_all_again()
        if again:
            self._repeated += 1
            yield LogEntry("info", "session.redelivered", {"reports": again})
        yield from self._fill(mono_s)

    def disconnected(self) -> None:
        """Stop publishing until there is a connection."""
        self._connected = False

    def acked(self, message: Publish, reason_code: int, mono_s: float) -> Iterator[Effect]:
        """Handle an acknowledgement; one of another message is ignored.

        Args:
            message: What was published.
            reason_code: The broker's.
            mono_s: Now.
        """
        stored = self._in_flight.pop(message.tag, None)
        if stored is None:
            return
        charger_id = stored.report.charger_id
        queue = self._queues[charger_id]
        queue.sent = None
        if not self._is_current(stored):
            pass
        elif reason_code >= REFUSED:
            yield from self._was_refused(queue, stored, reason_code, mono_s)
        elif reason_code == NO_SUBSCRIBERS and self._require_subscriber:
            if self._has_consumer:
                self._was_unheard(queue, stored, mono_s)
            else:
                del self._unpublished[stored.key]
                if kept := self._channels.ended([(stored.key, stored.revision)]):
                    yield KeepReports(tuple(kept))
        else:
            yield from self._was_taken(queue, stored, mono_s)
        self._tidy(charger_id, queue)
        yield from self._fill(mono_s)

    def tick(self, mono_s: float) -> Iterator[Effect]:
        """Mark reports delivered after the waiting time, and retry those without a subscriber."""
        if not self._connected:
            return
        kept = []
        for stored, since_s in self._published.values():
            if since_s + SETTLE_S > mono_s:
                break
            kept.append(stored)
        if self._require_acknowledgement:
            for stored in kept:
                self._owe_again(stored.key)
        else:
            yield from self._settle(kept)
        while self._unproved and next(iter(self._unproved.values())) + SETTLE_S <= mono_s:
            self._prove_again(next(iter(self._unproved)))
        if self._again_s <= mono_s:
            self._try_all_again()
        while (probe_s := self._next_probe_s()) is not None and probe_s <= mono_s:
            self._listen_again(self._probes[0][1])
        yield from self._fill(mono_s)

    # -- consumers ---------------------------------------------------------------------------

    def acknowledged(self, reports: Iterable[ReportAck], mono_s: float) -> Iterator[Effect]:
        """Handle a consumer's acknowledgement; unknown and newer revisions are left alone."""
        meant = [stored for one in reports if (stored := self._meant(one)) is not None]
        self._room = min(BURST, self._room + len(meant))
        self._has_consumer = self._has_consumer or bool(meant)
        yield from self._settle(meant)
        yield from self._fill(mono_s)

    def _meant(self, taken: ReportAck) -> StoredReport | None:
        """Return what is not settled and a consumer's word can mean, or None."""
        if (published := self._published.get(taken.key)) is not None:
            stored, may_have_it = published[0], True
        elif (unpublished := self._unpublished.get(taken.key)) is not None:
            stored, may_have_it = unpublished.stored, unpublished.handed
        else:
            return None
        is_meant = may_have_it if taken.revision is None else taken.revision == stored.revision
        return stored if is_meant else None

    def _settle(self, settled: Iterable[StoredReport]) -> Iterator[Effect]:
        reports = list(dict.fromkeys((stored.key, stored.revision) for stored in settled))
        if reports:
            self._repeated = 0
        for key, _ in reports:
            self._published.pop(key, None)
            self._unproved.pop(key, None)
            unpublished = self._unpublished.pop(key, None)
            if unpublished is not None:
                self._forgive(self._queues[unpublished.stored.report.charger_id], key)
        yield from _settled(self._channels.ended(reports))

    # -- debts -------------------------------------------------------------------------------

    def _owe(self, stored: StoredReport, *, again: bool) -> None:
        unpublished = self._unpublished.get(stored.key)
        held = unpublished.stored if unpublished is not None else None
        if held is None and stored.key in self._published:
            held = self._published[stored.key][0]
        if held is not None and held.revision >= stored.revision:
            return
        self._published.pop(stored.key, None)
        self._unproved.pop(stored.key, None)
        self._unpublished[stored.key] = _Unpublished(stored, handed=again, again=again)
        self._forgive(self._queue_of(stored), stored.key)
        self._queue(stored)

    def _owe_again(self, key: str) -> None:
        stored, _ = self._published.pop(key)
        self._unpublished[key] = _Unpublished(stored, handed=True, again=True)
        self._queue(stored)

    def _prove_again(self, key: str) -> None:
        del self._unproved[key]
        self._queue(self._unpublished[key].stored)

    def _queue_of(self, stored: StoredReport) -> _ChargerQueue:
        return self._queues.setdefault(stored.report.charger_id, _ChargerQueue())

    def _queue(self, stored: StoredReport) -> None:
        queue = self._queue_of(stored)
        _enter(queue, self._unpublished[stored.key])
        self._tidy(stored.report.charger_id, queue)

    def _tidy(self, charger_id: str, queue: _ChargerQueue) -> None:
        """Keep ``_ready`` consistent with the charger's queue."""
        if queue.line and queue.sent is None and charger_id not in self._probing:
            self._ready[charger_id] = None
        else:
            self._ready.pop(charger_id, None)

    def _listen_again(self, charger_id: str) -> None:
        """Retry whether there is a subscriber for this charger."""
        if (queue := self._probing.pop(charger_id, None)) is not None:
            self._tidy(charger_id, queue)

    def _next_probe_s(self) -> float | None:
        """Return when a report without a subscriber is tried next, or None."""
        while self._probes:
            probe_s, charger_id = self._probes[0]
            queue = self._probing.get(charger_id)
            if queue is not None and queue.not_before_s == probe_s:
                return probe_s
            heapq.heappop(self._probes)
        return None

    def _forgive(self, queue: _ChargerQueue, key: str) -> None:
        """Reset the refusal count."""
        if key in queue.set_aside:
            del queue.set_aside[key]
            self._refused -= 1

    def _is_current(self, stored: StoredReport) -> bool:
        unpublished = self._unpublished.get(stored.key)
        return unpublished is not None and unpublished.stored.revision == stored.revision

    # -- fates -------------------------------------------------------------------------------

    def _was_taken(
        self, queue: _ChargerQueue, stored: StoredReport, mono_s: float
    ) -> Iterator[Effect]:
        queue.unheard = 0
        if not self._holds:
            self._unproved[stored.key] = mono_s
            if not queue.line:
                self._try_again(stored.report.charger_id, queue)
            return
        self._has_consumer = True
        del self._unpublished[stored.key]
        self._published[stored.key] = replace(stored, published=True), mono_s
        if not stored.published:
            yield MarkPublished(stored.key, stored.revision)
        if not queue.line:
            self._try_again(stored.report.charger_id, queue)

    def _was_unheard(self, queue: _ChargerQueue, stored: StoredReport, mono_s: float) -> None:
        queue.unheard += 1
        wait_s = exponential_delay_s(queue.unheard, first_s=FIRST_PROBE_S, longest_s=MAX_PROBE_S)
        queue.not_before_s = mono_s + wait_s
        self._probing[stored.report.charger_id] = queue
        heapq.heappush(self._probes, (queue.not_before_s, stored.report.charger_id))
        self._queue(stored)

    def _was_refused(
        self, queue: _ChargerQueue, stored: StoredReport, reason_code: int, mono_s: float
    ) -> Iterator[Effect]:
        unpublished = self._unpublished[stored.key]
        unpublished.refusals = (
            MAX_REFUSALS if reason_code in PERMANENT_REJECTIONS else unpublished.refusals + 1
        )
        if unpublished.refusals < MAX_REFUSALS:
            self._queue(stored)
            return
        queue.set_aside[stored.key] = None
        self._refused += 1
        self._again_s = min(self._again_s, mono_s + SET_ASIDE_S)
        yield LogEntry(
            "error",
            "ledger.report_refused",
            {"key": stored.key, "reason_code": reason_code, "refusals": unpublished.refusals},
        )

    def _try_all_again(self) -> None:
        self._again_s = math.inf
        for charger_id, queue in self._queues.items():
            self._try_again(charger_id, queue)

    def _try_again(self, charger_id: str, queue: _ChargerQueue) -> None:
        """Queue the reports that were set aside for one more attempt."""
        for key in queue.set_aside:
            unpublished = self._unpublished[key]
            unpublished.refusals = MAX_REFUSALS - 1
            _enter(queue, unpublished)
        self._refused -= len(queue.set_aside)
        queue.set_aside.clear()
        self._tidy(charger_id, queue)

    # -- handing over ------------------------------------------------------------------------

    def _fill(self, mono_s: float) -> Iterator[Effect]:
        self._room = min(BURST, self._room + (mono_s - self._paced_s) * REPORTS_A_SECOND)
        self._paced_s = mono_s
        while self._may_send:
            charger_id, _ = self._ready.popitem(last=False)
            queue = self._queues[charger_id]
            unpublished = self._next(queue)
            if unpublished is not None:
                due = self._due(unpublished.stored)
                self._in_flight[due.tag] = queue.sent = unpublished.stored
                unpublished.handed = True
                self._room -= 1
                yield due

    @property
    def _may_send(self) -> bool:
        has_room = self._room >= 1 and len(self._in_flight) < self._window
        return self._connected and has_room and bool(self._ready)

    def _next(self, queue: _ChargerQueue) -> _Unpublished | None:
        while queue.line:
            _, _, key, revision = heapq.heappop(queue.line)
            unpublished = self._unpublished.get(key)
            if unpublished is not None and unpublished.stored.revision == revision:
                return unpublished
        return None

    def _pending(self, stored: StoredReport, *, is_late: bool) -> Iterator[Effect]:
        """Give a report to the other channels, where there are any."""
        if self._channels.owe(stored):
            yield ReportPending(self._cleared(stored), is_late)

    def _due(self, stored: StoredReport) -> ReportDue:
        return ReportDue(self._cleared(stored), f"{TAG}{stored.key}:{stored.revision}", NAME)

    def _cleared(self, stored: StoredReport) -> StoredReport:
        return cleared(stored, personal_data=self._personal_data, salt=self._salt)


def _settled(reports: list[ReportKey]) -> Iterator[Effect]:
    for start in range(0, len(reports), MAX_SETTLED_BATCH):
        yield SettleReports(tuple(reports[start : start + MAX_SETTLED_BATCH]))


def _enter(queue: _ChargerQueue, unpublished: _Unpublished) -> None:
    stored = unpublished.stored
    heapq.heappush(queue.line, (unpublished.again, stored.report.at, stored.key, stored.revision))
