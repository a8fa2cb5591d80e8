"""Session reports for the host: kept until it has them.

Rules:

1. Each report is sent once in a session of the host, oldest end first; one that is committed during
   the session comes behind the others.
2. A report is historical unless it is sent in the session in which it was committed.
3. At QoS 0 nothing is acknowledged. A report counts as delivered when the host's session and our
   connection both lasted for :data:`HOLDS_S` after it was sent: a broker notices within one and a
   half keep alive intervals that a host has vanished.
4. A host that misses a message finds that out at the next one, and asks for a rebirth. So there is
   one after :data:`PROBE_S`, which tells how many reports were sent, and a rebirth has everything
   sent again that does not count as delivered.
5. After :data:`BURST` reports they go out at :data:`REPORTS_A_SECOND`: a broker drops what a slow
   host does not read.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from bridge.core.rate_limiter import TokenBucket
from bridge.core.records.stored_report import StoredReport

HOLDS_S = 120.0
PROBE_S = 60.0
BURST = 100
REPORTS_A_SECOND = 20.0


@dataclass(slots=True)
class _Owed:
    """A report that the host may not have.

    Attributes:
        stored: Its row.
        is_late: It was committed before the host's session began.
    """

    stored: StoredReport
    is_late: bool


class ReportQueue:
    """The reports that are owed to the host."""

    def __init__(self) -> None:
        self._owed: dict[str, _Owed] = {}
        self._line: list[tuple[datetime, str, int]] = []
        # Of the current session, when each was sent, oldest first.
        self._sent: OrderedDict[tuple[str, int], float] = OrderedDict()
        self._bucket = TokenBucket(BURST, REPORTS_A_SECOND)
        self._paced_s: float | None = None
        self._is_open = False
        self._count = self._told = 0
        self._last_s = 0.0

    def __len__(self) -> int:
        """Return how many reports are owed."""
        return len(self._owed)

    def add(self, stored: StoredReport, *, is_late: bool) -> None:
        """Add a report; a revision that is not newer changes nothing."""
        held = self._owed.get(stored.key)
        if held is not None and held.stored.revision >= stored.revision:
            return
        self._owed[stored.key] = _Owed(stored, is_late or not self._is_open)
        heapq.heappush(self._line, (stored.report.at, stored.key, stored.revision))

    def drop(self, reports: Iterable[tuple[str, int]]) -> None:
        """Remove reports that are not owed any more."""
        for key, revision in reports:
            owed = self._owed.get(key)
            if owed is not None and owed.stored.revision == revision:
                del self._owed[key]

    def begin(self) -> None:
        """Handle the begin of a session of the host: everything owed is sent."""
        self._is_open = True
        self._sent.clear()
        self._line = [
            (owed.stored.report.at, key, owed.stored.revision) for key, owed in self._owed.items()
        ]
        heapq.heapify(self._line)

    def end(self) -> None:
        """Handle the end of a session of the host, or of our connection."""
        self._is_open = False
        self._paced_s = None
        self._sent.clear()
        for owed in self._owed.values():
            owed.is_late = True

    def first(self, mono_s: float) -> StoredReport | None:
        """Return the report that is next, or None where there is none that may go now."""
        self._skip()
        self._paced_s = None
        if not self._is_open or not self._line:
            return None
        if self._bucket.available(mono_s) < 1:
            self._paced_s = mono_s + 1 / REPORTS_A_SECOND
            return None
        return self._owed[self._line[0][1]].stored

    def waits(self, charger_id: str) -> bool:
        """Return whether the next report is one of this charger."""
        self._skip()
        if not self._is_open or not self._line:
            return False
        return self._owed[self._line[0][1]].stored.report.charger_id == charger_id

    def send(self, mono_s: float) -> bool:
        """Handle that the report of :meth:`first` is sent; return whether it is historical."""
        _, key, revision = heapq.heappop(self._line)
        self._bucket.consume(1)
        self._sent[key, revision] = self._last_s = mono_s
        self._count += 1
        return self._owed[key].is_late

    def again(self) -> None:
        """Handle a rebirth that the host asked for: it missed something."""
        for key, revision in self._sent:
            owed = self._owed.get(key)
            if owed is not None and owed.stored.revision == revision:
                owed.is_late = True
                heapq.heappush(self._line, (owed.stored.report.at, key, revision))
        self._sent.clear()

    def probe(self, mono_s: float) -> int | None:
        """Return how many reports were sent, where it is time to tell that; else None."""
        if self._probe_s is None or self._probe_s > mono_s:
            return None
        self._told = self._count
        return self._count

    @property
    def _probe_s(self) -> float | None:
        is_due = self._is_open and self._told != self._count
        return self._last_s + PROBE_S if is_due else None

    def delivered(self, mono_s: float) -> tuple[tuple[str, int], ...]:
        """Remove and return what counts as delivered."""
        found = []
        while self._sent:
            report, sent_s = next(iter(self._sent.items()))
            if sent_s + HOLDS_S > mono_s:
                break
            del self._sent[report]
            owed = self._owed.get(report[0])
            if owed is not None and owed.stored.revision == report[1]:
                del self._owed[report[0]]
                found.append(report)
        return tuple(found)

    def deadline_s(self) -> float | None:
        """Return when there is something to do, or None."""
        proved_s = next(iter(self._sent.values())) + HOLDS_S if self._sent else None
        wanted = (proved_s, self._paced_s, self._probe_s)
        return min((at for at in wanted if at is not None), default=None)

    def _skip(self) -> None:
        """Drop entries of replaced revisions and of delivered reports."""
        while self._line:
            _, key, revision = self._line[0]
            owed = self._owed.get(key)
            if owed is not None and owed.stored.revision == revision:
                return
            heapq.heappop(self._line)
