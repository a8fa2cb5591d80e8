"""Finds missing session numbers.

Rules:

1. A charger counts its sessions, and the numbers strictly increase. So a number between two known
   ones that nobody told us of is a session we did not get. What came before the first we ever
   stored is not ours to miss.
2. A counter that falls was reset (the charger was replaced), and one that jumps by more than
   :data:`MAX_GAP` was set: neither is a gap.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import pairwise

import msgspec

from bridge.core.records.session_clocks import STARTED
from bridge.core.records.session_report import SessionReport

MAX_GAP = 1000


class StoredSession(msgspec.Struct, frozen=True):
    """A session that is stored.

    Attributes:
        number: The charger's counter.
        started_at: When it began, or where that cannot be when it counts as ended.
        ended_at: When it counts as ended.
        is_sure: Its times can be.
    """

    number: int
    started_at: datetime
    ended_at: datetime
    is_sure: bool = True


def known(report: SessionReport) -> StoredSession | None:
    """Return what is known of a report's session; None when it has no number."""
    if report.session_id is None:
        return None
    began_at = report.at if STARTED in report.doubtful else report.started_at
    return StoredSession(report.session_id, began_at, report.at, not report.doubtful)


class Gap(msgspec.Struct, frozen=True):
    """Missing session numbers.

    Attributes:
        first: The lowest.
        last: The highest.
        after: End of the known session before: they began later.
        before: Start of the known session after: they ended earlier.
    """

    first: int
    last: int
    after: datetime
    before: datetime

    @property
    def numbers(self) -> range:
        """All of them."""
        return range(self.first, self.last + 1)


def gaps(sessions: Iterable[StoredSession]) -> tuple[Gap, ...]:
    """Find what is missing, oldest first."""
    rows = sorted(sessions, key=lambda one: (one.ended_at, one.number))
    numbers = {one.number for one in rows}
    found: list[Gap] = []
    for before, after in pairwise(rows):
        missing = range(before.number + 1, after.number)
        if len(missing) <= MAX_GAP:
            found.extend(
                Gap(run.start, run.stop - 1, before.ended_at, after.started_at)
                for run in _runs(number for number in missing if number not in numbers)
            )
    return tuple(found)


def format_ranges(numbers: Iterable[int]) -> str:
    """Format numbers as ranges: ``437, 440-442``."""
    return ", ".join(
        str(run.start) if len(run) == 1 else f"{run.start}-{run.stop - 1}"
        for run in _runs(sorted(numbers))
    )


def _runs(ascending: Iterable[int]) -> Iterator[range]:
    """Join neighbours."""
    run: range | None = None
    for number in ascending:
        if run is not None and number == run.stop:
            run = range(run.start, number + 1)
            continue
        if run is not None:
            yield run
        run = range(number, number + 1)
    if run is not None:
        yield run
