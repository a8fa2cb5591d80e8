"""What is owed: session reports from committed to delivered.

Rules:

1. A row says what the charger last said of a session. A repeat changes nothing; new content raises
   the revision; what a source does not know (the REST interface knows no ``auth_reason``) never
   erases what another told.
2. A report is published only after it was committed, and is owed until the broker acknowledged
   this revision of it. An acknowledgement of an older revision settles nothing.
3. At most :data:`WINDOW` reports are handed over and not acknowledged; oldest end first, so each
   charger's reports go out in order.
4. A report the broker refuses three times is set aside. It is tried again when a connection is
   made anew, and once after the broker took the last of the others. So it never holds up the rest,
   is never forgotten, and refusals alone never keep the wire busy.
5. "No matching subscribers" (16) counts as delivered: the broker took it, nobody was there.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime

from bridge.core.effects import Effect, MarkPublished, Note
from bridge.core.messages import Publish
from bridge.core.sessions.reports import (
    SessionReport,
    document,
    report_fields,
    report_key,
    same_session,
    supersedes,
)
from bridge.core.topics import Topics
from bridge.core.values import hashed

# More would only sit in the broker's queue, and after a crash go out twice.
WINDOW = 10
MOST_REFUSALS = 3
# MQTT 5: from here on a reason code says no.
REFUSED = 0x80
TAG = "report:"


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as the store holds it.

    Attributes:
        key: Stable across repeats, restarts and sources.
        revision: 1, and one more for every change of content.
        report: The content.
        published: The broker acknowledged this revision.
    """

    key: str
    revision: int
    report: SessionReport
    published: bool = False


# -- the content of a row ----------------------------------------------------------------------


def find_row(
    report: SessionReport, rows: Sequence[StoredReport]
) -> tuple[str, StoredReport | None]:
    """Say which row a report belongs to.

    Args:
        report: What arrived.
        rows: What is stored with the same charger and counter.

    Returns:
        The key, and the row if there is one. Where the counter came round again, the key of the
        later arrival ends in the day its session began.
    """
    same = [row for row in rows if same_session(row.report, report)]
    if same:
        row = min(same, key=lambda row: abs(row.report.started_at - report.started_at))
        return row.key, row
    key = report_key(report.charger_id, report.session_id, report.started_at)
    if any(row.key == key for row in rows):
        key = f"{key}-{report.started_at:%Y%m%d}"
    return key, next((row for row in rows if row.key == key), None)


def merged(held: SessionReport, report: SessionReport) -> SessionReport:
    """Return what is known of a session after another record of it; ``held`` if nothing is new."""
    newer, older = (report, held) if supersedes(report, held) else (held, report)
    auth_known = newer.auth_reason is not None or bool(newer.auth)
    result = replace(
        newer,
        auth_reason=newer.auth_reason if auth_known else older.auth_reason,
        auth=newer.auth if auth_known else older.auth,
        meter_start_kwh=_first(newer.meter_start_kwh, older.meter_start_kwh),
        meter_stop_kwh=_first(newer.meter_stop_kwh, older.meter_stop_kwh),
    )
    return held if _content(result) == _content(held) else result


def _first(one: float | None, other: float | None) -> float | None:
    return other if one is None else one


def _content(report: SessionReport) -> tuple[object, ...]:
    """What a consumer would bill by: everything but where it came from and when."""
    return astuple(report)[:-3]


def report_document(stored: StoredReport, *, personal_data: bool, salt: bytes) -> bytes:
    """Write the ``session/report`` document.

    Args:
        stored: The row.
        personal_data: Show the tag as it is instead of hashed.
        salt: This installation's.
    """
    report = stored.report
    auth = report.auth if personal_data else hashed(report.auth, salt)
    return document(
        (
            ("key", stored.key),
            ("revision", stored.revision),
            *report_fields(report),
            ("auth", auth if report.auth else None),
            ("source", report.source),
            ("measured_at", report.measured_at),
            ("received_at", report.received_at),
        )
    )


# -- what is owed --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Debt:
    stored: StoredReport
    refusals: int = 0


class Ledger:
    """Publishes what is owed and notes what was delivered."""

    def __init__(
        self, topics: Topics, *, personal_data: bool, salt: bytes, window: int = WINDOW
    ) -> None:
        """Start with nothing owed.

        Args:
            topics: Where to publish.
            personal_data: Show tags as they are instead of hashed.
            salt: For the hash.
            window: Most reports handed over and not acknowledged.
        """
        self._topics = topics
        self._personal_data = personal_data
        self._salt = salt
        self._window = window
        self._connected = False
        self._debts: dict[str, _Debt] = {}
        # Heap of (end, key, revision); an entry whose revision is not owed any more is skipped.
        self._line: list[tuple[datetime, str, int]] = []
        self._in_flight: dict[str, StoredReport] = {}
        self._set_aside: dict[str, None] = {}

    @property
    def owed(self) -> int:
        """How many reports the broker has not acknowledged."""
        return len(self._debts)

    @property
    def refused(self) -> int:
        """How many of them are set aside because the broker refuses them."""
        return len(self._set_aside)

    def opened(self, owed: Iterable[StoredReport]) -> Iterator[Effect]:
        """Take what the store says is owed, at the start or after it was opened again."""
        for stored in owed:
            self._owe(stored)
        yield from self._fill()

    def saved(self, stored: StoredReport, changed: bool) -> Iterator[Effect]:
        """Take a committed report; an unchanged and published one is not owed."""
        if changed or not stored.published:
            self._owe(stored)
            yield from self._fill()

    def connected(self, session_present: bool) -> Iterator[Effect]:  # noqa: ARG002 - what is acknowledged but not settled will ask
        """Take a new connection: what was handed over and not acknowledged goes out again."""
        self._connected = True
        for tag, stored in list(self._in_flight.items()):
            if self._is_current(stored):
                yield self._publication(stored)
            else:
                del self._in_flight[tag]
        self._try_again()
        yield from self._fill()

    def disconnected(self) -> None:
        """Hand nothing over until there is a connection."""
        self._connected = False

    def acked(self, message: Publish, reason_code: int) -> Iterator[Effect]:
        """Take an acknowledgement; one of a message that is no report is ignored."""
        stored = self._in_flight.pop(message.tag, None)
        if stored is None:
            return
        if not self._is_current(stored):
            pass
        elif reason_code >= REFUSED:
            yield from self._was_refused(stored, reason_code)
        else:
            del self._debts[stored.key]
            yield MarkPublished(stored.key, stored.revision)
            if not self._line:
                self._try_again()
        yield from self._fill()

    def _owe(self, stored: StoredReport) -> None:
        debt = self._debts.get(stored.key)
        if debt is not None and debt.stored.revision >= stored.revision:
            return
        self._debts[stored.key] = _Debt(stored)
        self._set_aside.pop(stored.key, None)
        self._queue(stored)

    def _queue(self, stored: StoredReport) -> None:
        heapq.heappush(self._line, (stored.report.ended_at, stored.key, stored.revision))

    def _was_refused(self, stored: StoredReport, reason_code: int) -> Iterator[Effect]:
        debt = self._debts[stored.key]
        debt.refusals += 1
        if debt.refusals < MOST_REFUSALS:
            self._queue(stored)
            return
        self._set_aside[stored.key] = None
        yield Note(
            "error",
            "ledger.report_refused",
            {"key": stored.key, "reason_code": reason_code, "refusals": debt.refusals},
        )

    def _try_again(self) -> None:
        """Let what was set aside stand in line for one more attempt: it may be mended."""
        for key in self._set_aside:
            debt = self._debts[key]
            debt.refusals = MOST_REFUSALS - 1
            self._queue(debt.stored)
        self._set_aside.clear()

    def _is_current(self, stored: StoredReport) -> bool:
        debt = self._debts.get(stored.key)
        return debt is not None and debt.stored.revision == stored.revision

    def _fill(self) -> Iterator[Effect]:
        while self._connected and self._line and len(self._in_flight) < self._window:
            _, key, revision = heapq.heappop(self._line)
            debt = self._debts.get(key)
            if debt is None or debt.stored.revision != revision:
                continue
            message = self._publication(debt.stored)
            self._in_flight[message.tag] = debt.stored
            yield message

    def _publication(self, stored: StoredReport) -> Publish:
        return Publish(
            self._topics.session(stored.report.charger_id, "report"),
            report_document(stored, personal_data=self._personal_data, salt=self._salt),
            retained=False,
            tag=f"{TAG}{stored.key}:{stored.revision}",
        )
