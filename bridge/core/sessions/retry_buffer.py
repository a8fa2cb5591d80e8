"""Reports that could not be committed, kept in memory until they can be.

They are not accepted, and a crash loses them: the cloud's list has the same sessions, but not why
they were authorized. So it is worth trying, and no promise.
"""

from collections import deque
from collections.abc import Iterator

from bridge.core.effects import Effect, SaveReport
from bridge.core.records.session_report import BACKFILL, SessionReport

MAX_UNSAVED = 500
RETRY_S = 60.0


class SaveRetryBuffer:
    """First-hand reports that wait for the store."""

    def __init__(self) -> None:
        self._reports: deque[SessionReport] = deque(maxlen=MAX_UNSAVED)
        self._due_s = 0.0
        self._failing = False

    def __len__(self) -> int:
        """Return how many reports wait."""
        return len(self._reports)

    def deadline_s(self) -> float | None:
        """Return when to retry, or None while no report waits."""
        return self._due_s if self._reports else None

    def add(self, report: SessionReport, mono_s: float) -> bool:
        """Add a report; return whether it is the first since one was saved.

        What the cloud's list brought is not kept: it is there to be asked for again.
        """
        is_first, self._failing = not self._failing, True
        if report.source != BACKFILL:
            if not self._reports:
                self._due_s = mono_s + RETRY_S
            self._reports.append(report)
        return is_first

    def saved(self) -> None:
        """Record that the store accepts reports."""
        self._failing = False

    def retry_now(self, mono_s: float) -> None:
        """Retry at once: the store works."""
        self._due_s = mono_s

    def tick(self, mono_s: float) -> Iterator[Effect]:
        """Retry what is due; failed reports come back."""
        if self._reports and mono_s >= self._due_s:
            due = tuple(self._reports)
            self._reports.clear()
            yield from map(SaveReport, due)
