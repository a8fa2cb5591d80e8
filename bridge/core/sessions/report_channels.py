"""Other channels that deliver session reports besides the native topics.

Rules:

1. A report is settled when its delivery on the native topics has ended and each other channel has
   delivered it. Until then its row in the store stays as it is, and so it goes out again after a
   restart, on every channel.
2. A newer revision takes the place of an older one on every channel.
3. A channel that delivers nothing does not hold a report for ever: what only waits for it is given
   up when it is as old as delivered reports may become.
"""

from collections.abc import Iterable
from datetime import datetime

from bridge.core.records.stored_report import StoredReport

ReportKey = tuple[str, int]


class ReportChannels:
    """Which reports other channels have not delivered, and which of them only wait for that."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Start without reports.

        Args:
            names: Of the channels.
        """
        self._names = frozenset(names)
        self._open: dict[str, tuple[int, set[str]]] = {}
        # Revision, by key, of those whose native delivery has ended.
        self._held: dict[str, int] = {}
        # When their sessions ended, by key, of all that are open.
        self._at: dict[str, datetime] = {}

    @property
    def waiting(self) -> int:
        """Return how many reports only wait for a channel."""
        return len(self._held)

    @property
    def oldest(self) -> datetime | None:
        """Return when the oldest session ended whose report only waits for a channel."""
        return min((self._at[key] for key in self._held), default=None)

    def give_up(self, before: datetime) -> list[ReportKey]:
        """Drop what only waits for a channel and ended before; return it, to be settled."""
        old = [each for each in self._held.items() if self._at[each[0]] < before]
        for key, _ in old:
            del self._held[key], self._open[key], self._at[key]
        return old

    def owe(self, stored: StoredReport) -> bool:
        """Add a report; return whether the channels have to be given it."""
        held = self._open.get(stored.key)
        if not self._names or (held is not None and held[0] >= stored.revision):
            return False
        self._open[stored.key] = stored.revision, set(self._names)
        self._at[stored.key] = stored.report.at
        self._held.pop(stored.key, None)
        return True

    def ended(self, reports: Iterable[ReportKey]) -> list[ReportKey]:
        """Handle the end of native deliveries; return those that no channel owes any more."""
        free = []
        for key, revision in reports:
            if key in self._open and self._open[key][0] == revision:
                self._held[key] = revision
            else:
                free.append((key, revision))
        return free

    def delivered(self, channel: str, reports: Iterable[ReportKey]) -> list[ReportKey]:
        """Handle deliveries of a channel; return what is to be settled now."""
        free = []
        for key, revision in reports:
            still_open = self._open.get(key)
            if still_open is None or still_open[0] != revision:
                continue
            still_open[1].discard(channel)
            if still_open[1]:
                continue
            del self._open[key], self._at[key]
            if self._held.pop(key, None) is not None:
                free.append((key, revision))
        return free
