"""Backfill: reads sessions from the cloud's list that are missing in the store.

The stream repeats only the newest report of a charger. What came while we were away is known to the
cloud's REST interface alone, which lacks the ``auth_reason``; the stream may bring that later.

Rules:

1. A charger is looked up at the start, after the stream opened, once a day, when a number is
   missing, and after a report could not be stored. Shortly after, not at once: the stream repeats
   what it has, which is worth more.
2. The endpoint takes 10 requests an hour for each charger. Backfill keeps to 6 of them, so that
   somebody who asks is answered too, and asks for one charger at a time.
3. A look goes back to 48 hours before the newest session we know, further where a number is
   missing, and never beyond what retention keeps: what was removed must not come again.
4. What a look did not bring is named in an alert until it comes or its neighbours are forgotten.
   So are sessions that the cloud lists under numbers the charger does not use.
5. A session that was told and cannot be read is looked up at once, and again less and less often;
   two looks an hour are kept for that. One whose times cannot be is looked up when it came.
6. Nothing is asked while the wall clock is not trusted: the period would be a wrong one.
"""

import heapq
import itertools
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain

import msgspec

from bridge.core.alerts import MAX_NAMED, Alerts
from bridge.core.backoff import exponential_delay_s
from bridge.core.easee.rest_requests import sessions_request
from bridge.core.easee.session_list import session_list
from bridge.core.effects import Effect, LogEntry, ReadReports, SaveReport, SendRequest
from bridge.core.events import CloudFailed, CloudResponse, ReportsRead, ReportsReadFailed
from bridge.core.messages import Tag
from bridge.core.rate_limiter import free_at_s
from bridge.core.records.moment import Timestamp
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import CLOSE, UnreadText
from bridge.core.sessions.counter_reconciliation import SLACK, reconcile_counters
from bridge.core.sessions.delivery import NAME
from bridge.core.sessions.gaps import Gap, StoredSession, format_ranges, gaps, known
from bridge.core.sessions.unread import SAME_NUMBER_WITHIN, Unread
from bridge.errors import DecodeError

LOOKBACK = timedelta(hours=48)
# After a store was lost: far enough for a bill of last month, one request for each charger.
AFTER_DAMAGE = timedelta(days=31)
# A session of this minute is still being written down.
AHEAD = timedelta(minutes=1)
SETTLING_S = 5.0
# A burst of offline sessions comes in any order; what is missing may be on its way.
GAP_WAIT_S = 60.0
MAX_PER_HOUR = 6
# With those kept for unreadable sessions; the vendor accepts ten.
MAX_URGENT_PER_HOUR = 8
HOUR_S = 3600.0
MIN_INTERVAL_S = 30.0
SPACING_S = 2.0
DAY_S = 86_400.0
FIRST_RETRY_S = 60.0
MAX_RETRY_S = 3600.0
TIMEOUT_S = 30.0
LOST_EVENT_AFTER_S = 120.0
UNTRUSTED_RETRY_S = 60.0
# A look that fails so often in a row finds nothing; what is missing is then named.
FAILURES_BEFORE_ALERT = 3
# Of one charger: half a year of five a day. Gaps are looked for among the newest.
MAX_KNOWN = 1_000
MAX_READ = 20_000
# Of so many chargers at once: of thousands it would be a queue that everything else waits behind.
MAX_READING = 4
NEVER = float("inf")
# Instead of a number, where there is none.
NOBODY = -1
# A session that cannot be read is looked for again after this, then after twice as long.
FIRST_SEARCH_S = 600.0
GAP_ALERT = "session_gap"
NUMBERS_ALERT = "session_numbers"


class _ChargerSessions(msgspec.Struct):
    """What is known of one charger's sessions.

    Attributes:
        charger_id: The charger.
        known: Stored sessions with a number, by key.
        unnumbered: Stored sessions without a number, by key.
        newest: When the newest stored session counts as ended, or None.
        loaded: The store was read.
        due_s: When to look next.
        asked_s: When it was looked lately, oldest first.
        deep: Rows of this charger may be lost.
        back_to: A report that could not be stored began then, or None.
        searches: How often a session that cannot be read was looked for in vain.
        sought: Missing numbers that a look did not bring.
        left_out: Numbers of the cloud's that the charger does not use.
    """

    charger_id: str
    known: dict[str, StoredSession] = msgspec.field(default_factory=dict)
    unnumbered: dict[str, StoredSession] = msgspec.field(default_factory=dict)
    newest: datetime | None = None
    loaded: bool = False
    due_s: float = NEVER
    asked_s: tuple[float, ...] = ()
    failures: int = 0
    searches: int = 0
    deep: bool = False
    back_to: datetime | None = None
    sought: frozenset[int] = frozenset()
    gaps: tuple[Gap, ...] = ()
    left_out: frozenset[int] = frozenset()


class BackfillRead(msgspec.Struct, frozen=True):
    """A read of the store for the backfill, by number."""

    number: int


class _PendingLookup(msgspec.Struct, frozen=True):
    """A request that is under way."""

    charger_id: str
    started_s: float


class Backfill:
    """Reads missing sessions from the cloud and reports those that stay missing."""

    def __init__(self, alerts: Alerts, unread: Unread, *, keep_days: int) -> None:
        """Start without chargers.

        Args:
            alerts: Where missing numbers are named.
            unread: Sessions that were told and cannot be read.
            keep_days: Retention of settled reports.
        """
        self._alerts = alerts
        self._numbers = itertools.count(1)
        self._unread = unread
        self._keep = timedelta(days=keep_days)
        self._sessions: dict[str, _ChargerSessions] = {}
        # Heap of when to look at which charger; what is not due_s of the charger any more is void.
        self._due: list[tuple[float, str]] = []
        self._reads: dict[Hashable, str] = {}
        # Chargers whose stored reports are to be read, in order.
        self._unloaded: dict[str, None] = {}
        # Never more than one.
        self._lookups: dict[Hashable, _PendingLookup] = {}
        self._free_s = float("-inf")
        self._store_open = False
        self._damaged = False

    # -- what others ask ---------------------------------------------------------------------

    def waits_for(self, ref: Hashable) -> bool:
        """Return whether a request or a read is still of interest: its charger is served."""
        return ref in self._lookups or ref in self._reads

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None."""
        for lookup in self._lookups.values():
            return lookup.started_s + LOST_EVENT_AFTER_S
        first = self._first()
        return None if first is None else max(first.due_s, self._free_s)

    # -- what happens ------------------------------------------------------------------------

    def serve(self, charger_ids: Iterable[str]) -> Iterator[Effect]:
        """Add chargers."""
        for charger_id in charger_ids:
            if charger_id not in self._sessions:
                self._sessions[charger_id] = _ChargerSessions(charger_id, deep=self._damaged)
                self._unloaded[charger_id] = None
        yield from self._load()

    def leave(self, charger_ids: Iterable[str], now: Timestamp) -> Iterator[Effect]:
        """Remove chargers; requests in progress for them are ignored."""
        gone = {charger_id for charger_id in charger_ids if self._sessions.pop(charger_id, None)}
        self._reads = {number: one for number, one in self._reads.items() if one not in gone}
        for charger_id in gone:
            self._unloaded.pop(charger_id, None)
        self._lookups = {
            number: lookup
            for number, lookup in self._lookups.items()
            if lookup.charger_id not in gone
        }
        if gone:
            yield from self._tell(now)
            yield from self._load()

    def store_opened(self, *, damaged: bool) -> Iterator[Effect]:
        """Handle the opening of the store.

        Args:
            damaged: Rows were lost; the cloud may still know them.
        """
        self._store_open = True
        if damaged:
            self._damaged = True
            for sessions in self._sessions.values():
                sessions.loaded, sessions.deep = False, True
            reading = set(self._reads.values())
            self._unloaded = {one: None for one in self._sessions if one not in reading}
        yield from self._load()

    def stream_opened(self, mono_s: float) -> None:
        """Record that sessions may have been missed until now."""
        for sessions in self._sessions.values():
            self._want(sessions, mono_s + SETTLING_S)

    def saved(self, stored: StoredReport, changed: bool, now: Timestamp) -> Iterator[Effect]:
        """Handle a committed report."""
        sessions = self._sessions.get(stored.report.charger_id)
        if sessions is None:
            return
        if changed and stored.report.doubtful:
            self._want(sessions, now.mono_s + GAP_WAIT_S)
        if self._enter(sessions, stored):
            yield from self._count(sessions, now)

    def unreadable(self, charger_id: str, mono_s: float) -> None:
        """Record that a session report could not be read."""
        sessions = self._sessions.get(charger_id)
        if sessions is not None:
            sessions.searches = 0
            self._want(sessions, mono_s + SETTLING_S, most=MAX_URGENT_PER_HOUR)

    def refused(self, report: SessionReport, mono_s: float) -> None:
        """Record that a report could not be stored: the cloud still has it."""
        sessions = self._sessions.get(report.charger_id)
        if sessions is not None:
            before, began = sessions.back_to, known_start(report)
            sessions.back_to = began if before is None else min(before, began)
            self._want(sessions, mono_s + MAX_RETRY_S)

    def read(self, event: ReportsRead, now: Timestamp) -> Iterator[Effect]:
        """Handle the stored reports of a charger."""
        sessions = self._sessions[self._reads.pop(event.tag.ref)]
        sessions.loaded = True
        for stored in event.reports[-MAX_KNOWN:]:
            self._enter(sessions, stored)
        self._want(sessions, now.mono_s + SETTLING_S)
        yield from self._count(sessions, now)
        yield from self._load()

    def not_read(self, event: ReportsReadFailed) -> None:
        """Record that the store could not be read; it is tried again when it opens."""
        if (charger_id := self._reads.pop(event.tag.ref, None)) is not None:
            self._store_open = False
            self._unloaded[charger_id] = None

    def answered(self, event: CloudResponse, now: Timestamp) -> Iterator[Effect]:
        """Handle the cloud's list; new sessions in it are stored."""
        if event.tag.ref not in self._lookups:
            return
        charger_id, sessions = self._done(event.tag.ref, now)
        try:
            found = session_list(event.body, charger_id, received_at=now.wall)
        except DecodeError as error:
            yield from self._put_off(charger_id, sessions, str(error), None, now)
            return
        sure = (one for one in sessions.known.values() if one.is_sure)
        reports, left_out = reconcile_counters(found.reports, sure)
        sessions.failures, sessions.back_to, sessions.deep = 0, None, False
        self._look_at(sessions, now.mono_s + DAY_S)
        # What will be missing when these are stored: no second look would find it.
        listed = (one for report in reports if (one := known(report)) is not None)
        after = chain(sessions.known.values(), listed)
        sessions.sought |= {number for gap in gaps(after) for number in gap.numbers}
        told = (*sessions.known.values(), *sessions.unnumbered.values())
        stored = [text for text in found.unread if _is_told(text, told)]
        unread = [text for text in found.unread if text not in stored]
        facts = {"charger_id": charger_id, "sessions": len(reports), "unreadable": len(unread)}
        yield LogEntry("info", "session.backfilled", facts)
        for report in reports:
            yield SaveReport(report)
        yield from self._left_out(charger_id, sessions, left_out, now)
        earlier = (text for text in self._unread.texts(charger_id) if _is_earlier(text, told))
        yield from self._unread.told((*stored, *earlier), now)
        for text in unread:
            yield from self._unread.take(text, now)
        yield from self._unread.looked(charger_id, now)
        self._search_again(charger_id, sessions, now.mono_s)
        yield from self._tell(now)

    def failed(self, event: CloudFailed, now: Timestamp) -> Iterator[Effect]:
        """Handle a failed request; it is repeated later."""
        if event.tag.ref not in self._lookups:
            return
        charger_id, sessions = self._done(event.tag.ref, now)
        wait_s = event.error.retry_after_s
        yield from self._put_off(charger_id, sessions, str(event.error), wait_s, now)

    def tick(self, now: Timestamp) -> Iterator[Effect]:
        """Send the request for the next charger that is due."""
        for ref, lookup in tuple(self._lookups.items()):
            if now.mono_s < lookup.started_s + LOST_EVENT_AFTER_S:
                return
            charger_id, sessions = self._done(ref, now)
            yield from self._put_off(charger_id, sessions, "no answer", None, now)
        if now.mono_s < self._free_s:
            return
        first = self._first()
        if first is None or now.mono_s < first.due_s:
            return
        if not now.trusted:
            self._free_s = now.mono_s + UNTRUSTED_RETRY_S
            return
        number = next(self._numbers)
        charger_id = first.charger_id
        self._lookups[number] = _PendingLookup(charger_id, now.mono_s)
        self._look_at(first, NEVER)
        first.asked_s = (*first.asked_s, now.mono_s)[-MAX_URGENT_PER_HOUR:]
        until = now.wall + AHEAD
        since = min(self._since(charger_id, first, now), until)
        request = sessions_request(charger_id, since, until)
        yield SendRequest(Tag(NAME, number), request, TIMEOUT_S)

    # -- how ---------------------------------------------------------------------------------

    def _load(self) -> Iterator[Effect]:
        """Read what is stored of the chargers that are new, of a few at a time."""
        while self._store_open and self._unloaded and len(self._reads) < MAX_READING:
            charger_id = next(iter(self._unloaded))
            del self._unloaded[charger_id]
            ref = BackfillRead(next(self._numbers))
            self._reads[ref] = charger_id
            yield ReadReports(Tag(NAME, ref), charger_id, limit=MAX_READ)

    def _want(self, sessions: _ChargerSessions, due_s: float, *, most: int = MAX_PER_HOUR) -> None:
        if not sessions.loaded:
            return
        if sessions.asked_s:
            due_s = max(due_s, sessions.asked_s[-1] + MIN_INTERVAL_S)
        due_s = max(due_s, free_at_s(sessions.asked_s, most, HOUR_S))
        if due_s < sessions.due_s:
            self._look_at(sessions, due_s)

    def _look_at(self, sessions: _ChargerSessions, due_s: float) -> None:
        """Schedule the next look at a charger, in place of any other."""
        sessions.due_s = due_s
        if due_s != NEVER:
            heapq.heappush(self._due, (due_s, sessions.charger_id))

    def _first(self) -> _ChargerSessions | None:
        """Return the charger that is due first, or None."""
        while self._due:
            due_s, charger_id = self._due[0]
            sessions = self._sessions.get(charger_id)
            if sessions is not None and sessions.due_s == due_s:
                return sessions
            heapq.heappop(self._due)
        return None

    def _search_again(self, charger_id: str, sessions: _ChargerSessions, mono_s: float) -> None:
        """Schedule another search for unreadable sessions: the list may contain them later."""
        if self._unread.earliest(charger_id) is None:
            sessions.searches = 0
            return
        sessions.searches += 1
        wait_s = exponential_delay_s(sessions.searches, first_s=FIRST_SEARCH_S, longest_s=DAY_S)
        self._want(sessions, mono_s + wait_s)

    def _left_out(
        self,
        charger_id: str,
        sessions: _ChargerSessions,
        reports: tuple[SessionReport, ...],
        now: Timestamp,
    ) -> Iterator[Effect]:
        """Raise the alert for sessions listed under numbers the charger does not use."""
        numbers = frozenset(one.session_id for one in reports if one.session_id is not None)
        if numbers == sessions.left_out:
            return
        sessions.left_out = numbers
        if numbers:
            facts = {"charger_id": charger_id, "sessions": len(numbers)}
            yield LogEntry("warning", "session.counter_mismatch", facts)
        all_of = {one: found.left_out for one, found in sorted(self._sessions.items())}
        if not any(all_of.values()):
            yield from self._alerts.clear(NUMBERS_ALERT)
            return
        yield from self._alerts.raise_(
            NUMBERS_ALERT,
            "the cloud numbers sessions differently from the charger; not taken, for they may be"
            f" there already: {_named(all_of)}",
            "look these numbers up in the Easee app, and compare the times with the reports",
            now,
        )

    def _since(self, charger_id: str, sessions: _ChargerSessions, now: Timestamp) -> datetime:
        wanted = [min(sessions.newest or now.wall, now.wall) - LOOKBACK]
        if (told_at := self._unread.earliest(charger_id)) is not None:
            wanted.append(told_at - LOOKBACK)
        wanted.extend(gap.after - SLACK for gap in sessions.gaps)
        if sessions.back_to is not None:
            wanted.append(sessions.back_to - SLACK)
        if sessions.deep:
            wanted.append(now.wall - AFTER_DAMAGE)
        return max(min(wanted), now.wall - self._keep + SLACK)

    def _done(self, ref: Hashable, now: Timestamp) -> tuple[str, _ChargerSessions]:
        lookup = self._lookups.pop(ref)
        self._free_s = now.mono_s + SPACING_S
        return lookup.charger_id, self._sessions[lookup.charger_id]

    def _put_off(
        self,
        charger_id: str,
        sessions: _ChargerSessions,
        why: str,
        wait_s: float | None,
        now: Timestamp,
    ) -> Iterator[Effect]:
        sessions.failures += 1
        retry_s = exponential_delay_s(
            sessions.failures, first_s=FIRST_RETRY_S, longest_s=MAX_RETRY_S
        )
        self._look_at(sessions, now.mono_s + max(retry_s, wait_s or 0.0))
        facts = {"charger_id": charger_id, "error": why, "failures": sessions.failures}
        yield LogEntry("warning", "session.backfill_failed", facts)
        missing = {number for gap in sessions.gaps for number in gap.numbers}
        if sessions.failures >= FAILURES_BEFORE_ALERT and not missing <= sessions.sought:
            sessions.sought |= missing
            yield from self._tell(now)

    def _enter(self, sessions: _ChargerSessions, stored: StoredReport) -> bool:
        """Enter a stored session; say whether it is a new one."""
        report = stored.report
        if sessions.newest is None or report.at > sessions.newest:
            sessions.newest = report.at
        found = known(report)
        if found is None:
            nameless = known(replace(report, session_id=NOBODY))
            if nameless is not None:
                _put(sessions.unnumbered, stored.key, nameless)
            return False
        sessions.unnumbered.pop(stored.key, None)
        if sessions.known.get(stored.key) == found:
            return False
        _put(sessions.known, stored.key, found)
        sessions.sought -= {found.number}
        return True

    def _count(self, sessions: _ChargerSessions, now: Timestamp) -> Iterator[Effect]:
        """Find out what is missing now."""
        before, sessions.gaps = sessions.gaps, gaps(sessions.known.values())
        if any(number not in sessions.sought for gap in sessions.gaps for number in gap.numbers):
            self._want(sessions, now.mono_s + GAP_WAIT_S)
        if sessions.gaps != before:
            yield from self._tell(now)

    def _tell(self, now: Timestamp) -> Iterator[Effect]:
        missing = {
            charger_id: numbers
            for charger_id, sessions in sorted(self._sessions.items())
            if (numbers := sessions.sought & {n for gap in sessions.gaps for n in gap.numbers})
        }
        if not missing:
            yield from self._alerts.clear(GAP_ALERT)
            return
        yield from self._alerts.raise_(
            GAP_ALERT,
            f"missing sessions: {_named(missing)}",
            "look the numbers up in the Easee app; the charger may still report them",
            now,
        )


def known_start(report: SessionReport) -> datetime:
    """Return when a report's session began, as far as that can be believed."""
    return report.at if report.doubtful else report.started_at


def _put(sessions: dict[str, StoredSession], key: str, session: StoredSession) -> None:
    """Store a session in a bounded dictionary; the oldest is dropped."""
    sessions[key] = session
    if len(sessions) > MAX_KNOWN:
        del sessions[min(sessions, key=lambda one: sessions[one].ended_at)]


def _is_told(text: UnreadText, sessions: Collection[StoredSession]) -> bool:
    """Return whether a session that cannot be read in the list is stored."""
    same = [one for one in sessions if one.number in (NOBODY, text.session_id)]
    if any(one.is_sure and text.names(one.started_at, one.ended_at) for one in same):
        return True
    # Its times cannot be compared; where the counter counts, the number is enough.
    numbered = [one for one in same if one.number == text.session_id]
    if len(numbered) != 1 or numbered[0].is_sure or text.ended_at is None:
        return False
    return abs(text.ended_at - numbered[0].ended_at) <= SAME_NUMBER_WITHIN


def _is_earlier(text: UnreadText, sessions: Collection[StoredSession]) -> bool:
    """Return whether a text is an earlier record of a stored session that continued."""
    return any(
        one.number == text.session_id
        and one.is_sure
        and text.told_at <= one.ended_at + CLOSE
        and bool(text.names(one.started_at, one.ended_at))
        for one in sessions
    )


def _named(missing: Mapping[str, Collection[int]]) -> str:
    """Format numbers by charger, of ten chargers at most."""
    named = [f"{one}: {format_ranges(numbers)}" for one, numbers in missing.items() if numbers]
    more = len(named) - MAX_NAMED
    return f"{'; '.join(named[:MAX_NAMED])}{f' and {more} chargers' * (more > 0)}"
