"""Publishes stored reports again, page by page to bound the memory.

Rules:

1. One request at a time, :data:`MAX_REQUESTS` at most wait. Pages are read as the broker takes what
   was read before.
2. A page begins where the last one ended. Reports that ended in the very same moment are told apart
   by their keys; a page of nothing but known ones ends the replay only when it is the last.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from datetime import datetime

import msgspec

from bridge.core.effects import Effect, LogEntry, ReadReports
from bridge.core.events import ReportsRead, ReportsReadFailed
from bridge.core.messages import Tag
from bridge.core.records.stored_report import StoredReport
from bridge.core.sessions.consumer_messages import ReplayRequest
from bridge.core.sessions.delivery import NAME

PAGE = 200
# The next page is read when no more than this is left to hand over.
REFILL_AT = 50
MAX_REQUESTS = 8


class ReplayRead(msgspec.Struct, frozen=True):
    """A read of the store for a replay, by number."""

    number: int


class Replay:
    """Reads stored reports requested by a consumer, in pages."""

    def __init__(self, *, page: int = PAGE) -> None:
        """Start with nothing asked for.

        Args:
            page: Most reports read at once.
        """
        self._reads = 0
        self._page = page
        self._requests: deque[ReplayRequest] = deque()
        self._since: datetime | None = None
        self._seen: set[str] = set()
        self._limit = page
        self._reading: ReplayRead | None = None

    @property
    def waiting(self) -> int:
        """Return how many requests are not completed, including the current one."""
        return len(self._requests)

    def request(self, request: ReplayRequest) -> bool:
        """Queue a request; False when too many wait or the same one does already."""
        if len(self._requests) >= MAX_REQUESTS or request in self._requests:
            return False
        self._requests.append(request)
        if len(self._requests) == 1:
            self._begin()
        return True

    def due(self, backlog: int) -> Iterator[Effect]:
        """Read the next page when little is left of the last.

        Args:
            backlog: How many reports wait to be handed over.
        """
        if self._requests and self._reading is None and backlog <= REFILL_AT:
            self._reads += 1
            self._reading = ReplayRead(self._reads)
            charger_id = self._requests[0].charger_id
            yield ReadReports(Tag(NAME, self._reading), charger_id, self._since, limit=self._limit)

    def waits_for(self, ref: Hashable) -> bool:
        """Return whether a read is the current one."""
        return self._reading is not None and ref == self._reading

    def read(self, event: ReportsRead) -> tuple[StoredReport, ...]:
        """Handle a page; return its reports that were not read before."""
        self._reading = None
        fresh = tuple(one for one in event.reports if one.key not in self._seen)
        if len(event.reports) < self._limit:
            self._end()
            return fresh
        last = event.reports[-1].report.ended_at
        if last == self._since and not fresh:
            self._limit += self._page  # a whole page ended in one moment: look further
        self._seen = {one.key for one in event.reports if one.report.ended_at == last}
        self._since = last
        return fresh

    def not_read(self, event: ReportsReadFailed) -> Iterator[Effect]:
        """Drop a request; the consumer can repeat it."""
        self._reading = None
        yield LogEntry("warning", "session.replay_failed", {"error": str(event.error)})
        self._end()

    def _begin(self) -> None:
        self._since = self._requests[0].since
        self._seen = set()
        self._limit = self._page

    def _end(self) -> None:
        self._requests.popleft()
        if self._requests:
            self._begin()
