"""Reports of one partition. Nobody else writes them meanwhile: the caller has the lease and a turn.

What is read before it is written is read without a lock: another owner would have another epoch,
and the write would be refused.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from bridge.adapters.store.postgres import fence
from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.tables import REPORTS
from bridge.adapters.store.postgres.text_escapes import unescaped
from bridge.adapters.store.row_format.digest import moment_or_none, time_text
from bridge.adapters.store.row_format.report_columns import checked, from_row, to_row
from bridge.core.records.lease import Lease
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.sessions.report_merge import entered

# A revision above this is a damaged number.
MAX_REVISIONS: Final = 1_000_000
# Rows deleted in one commit: what waits behind them waits a few milliseconds.
MAX_BATCH: Final = 500

# When a session counts as ended: what a charger's clock says may lie years ahead.
AT: Final = "coalesce(placed_at, ended_at)"
_SAME_COUNTER: Final = (
    f"{REPORTS.select} WHERE partition = $1 AND charger_id = $2"
    " AND (session_id = $3 OR session_id IS NULL) ORDER BY number"
)
_OF_CHARGER: Final = f"{REPORTS.select} WHERE partition = $1 AND charger_id = $2 ORDER BY number"
_FIRST_START: Final = (
    "SELECT min(started_at) FROM report WHERE partition = $1 AND charger_id = $2 AND doubtful = ''"
)
_REVISION: Final = "SELECT revision FROM report WHERE partition = $1 AND key = $2"
_BY_KEY: Final = f"{REPORTS.select} WHERE partition = $1 AND key = ANY($2::text[])"
_OWED: Final = f"{REPORTS.select} WHERE partition = $1 AND settled <> 1 ORDER BY number"
_KEPT: Final = "SELECT count(*) FROM report WHERE partition = $1 AND settled = 1 AND published = 0"
_PAGE: Final = (
    f"{REPORTS.select} WHERE (partition = $1 OR $1 IS NULL) AND {AT} >= $2"
    f" AND ({AT} < $3 OR $3 IS NULL) AND (charger_id = $4 OR $4 IS NULL)"
    f" AND ({AT}, key) > ($5, $6) ORDER BY {AT}, key LIMIT $7"
)
# The cloud tells a charger's last report again at every connection, for years if nobody charges
# there. Without its row it would be a new one each time. Last by the charger's clock, by when it
# counts as ended, and by when it said so: a burst of sessions comes in any order.
_NOT_THE_LAST: Final = " AND ".join(
    "EXISTS (SELECT 1 FROM report AS later"
    " WHERE later.partition = held.partition AND later.charger_id = held.charger_id"
    f" AND ({at.format('later')}, later.number) > ({at.format('held')}, held.number))"
    for at in ("{0}.ended_at", "{0}.measured_at", "coalesce({0}.placed_at, {0}.ended_at)")
)
_SETTLED: Final = (
    f"{REPORTS.select} AS held WHERE partition = $1 AND settled = 1 AND {_NOT_THE_LAST}"
)
_OLD: Final = (
    f"{_SETTLED} AND greatest({AT}, received_at, coalesce(published_at, '')) < $2 LIMIT $3"
)
_OLDEST: Final = f"{_SETTLED} ORDER BY number LIMIT $2"
_HAS_CONSUMER: Final = fence.fenced(
    "INSERT INTO flag SELECT partition, 'consumer' FROM fence ON CONFLICT DO NOTHING"
)


async def save(db: Connection, lease: Lease, report: SessionReport) -> tuple[StoredReport, bool]:
    """Merge a report with its row; return what the row is from now on, and whether it is new.

    Nothing is written: see :func:`put`.
    """
    rows = [
        stored
        for row in await _alike(db, lease, report)
        if (stored := checked(unescaped(row))) is not None
    ]
    stored, changed = entered(report, rows, await _first_started_at(db, lease, report.charger_id))
    if changed and stored.revision == 1:
        revision = await _revision_after_damage(db, lease, stored.key)
        stored = replace(stored, revision=revision)
    return stored, changed


async def _alike(db: Connection, lease: Lease, report: SessionReport) -> list[Any]:
    """Read the rows that may be of the same session."""
    if report.session_id is not None:
        return await db.fetch(_SAME_COUNTER, lease.partition, report.charger_id, report.session_id)
    # Without a counter any of the charger's may be it: its clock says nothing of where to look.
    return await db.fetch(_OF_CHARGER, lease.partition, report.charger_id)


async def _first_started_at(db: Connection, lease: Lease, charger_id: str) -> datetime | None:
    """Return when the first session of a charger began, of those whose times can be."""
    ((first,),) = await db.fetch(_FIRST_START, lease.partition, charger_id)
    try:
        return moment_or_none(first)
    except ValueError:
        return None  # damage; it is found where rows are checked


async def _revision_after_damage(db: Connection, lease: Lease, key: str) -> int:
    """Return the revision of a new row, above that of a damaged one in its place."""
    for (revision,) in await db.fetch(_REVISION, lease.partition, key):
        return revision + 1 if 0 <= revision < MAX_REVISIONS else 1
    return 1


async def put(db: Connection, lease: Lease, reports: Sequence[StoredReport]) -> None:
    """Commit rows as they are, in the place of those with the same key.

    Raises:
        LeaseLost: The lease has another epoch.
    """
    if reports:
        await fence.write(db, lease, REPORTS.put, *REPORTS.arrays(map(to_row, reports)))


async def find(
    db: Connection, lease: Lease, reports: Iterable[tuple[str, int]]
) -> list[StoredReport]:
    """Return the intact rows of these keys that have these revisions."""
    # A key that a consumer made up may hold what no key of ours does.
    revisions = {key: no for key, no in reports if key.isascii() and key.isprintable()}
    found = await db.fetch(_BY_KEY, lease.partition, list(revisions))
    rows = [checked(unescaped(row)) for row in found]
    return [row for row in rows if row is not None and revisions[row.key] == row.revision]


async def note_consumer(db: Connection, lease: Lease) -> None:
    """Record that a consumer received a report.

    Raises:
        LeaseLost: The lease has another epoch.
    """
    await fence.write(db, lease, _HAS_CONSUMER)


async def has_consumer(db: Connection, lease: Lease) -> bool:
    """Return whether a consumer has received a report since the partition was created."""
    query = "SELECT 1 FROM flag WHERE partition = $1 AND name = 'consumer'"
    return bool(await db.fetch(query, lease.partition))


async def kept(db: Connection, lease: Lease) -> int:
    """Count the kept reports."""
    ((count,),) = await db.fetch(_KEPT, lease.partition)
    return int(count)


async def forget(db: Connection, lease: Lease, settled_before: datetime) -> int:
    """Delete some settled reports of which nothing was heard since; return how many.

    The newest of a report's times counts: a charger's clock can be years behind, and so could ours.
    """
    found = await db.fetch(_OLD, lease.partition, time_text(settled_before), MAX_BATCH)
    return await _delete(db, lease, found)


async def delete_oldest_settled(db: Connection, lease: Lease) -> int:
    """Delete the oldest settled reports, whatever their age; return how many."""
    return await _delete(db, lease, await db.fetch(_OLDEST, lease.partition, MAX_BATCH))


async def _delete(db: Connection, lease: Lease, found: Iterable[Any]) -> int:
    """Delete rows that are settled for sure: a damaged one only seems to be."""
    rows = map(from_row, map(unescaped, found))
    keys = [row.key for row in rows if row is not None and row.settled]
    return await fence.write(db, lease, REPORTS.delete, keys) if keys else 0


async def read_owed(db: Connection, lease: Lease) -> tuple[tuple[StoredReport, ...], int]:
    """Read what is not settled, oldest end first, and how many of those rows are damaged."""
    rows = [checked(unescaped(row)) for row in await db.fetch(_OWED, lease.partition)]
    owed = sorted(
        (stored for stored in rows if stored is not None),
        key=lambda stored: (stored.report.at, stored.key),
    )
    return tuple(owed), sum(stored is None for stored in rows)


async def select(
    db: Connection,
    partition: int | None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    charger_id: str | None = None,
    after: tuple[str, str] = ("", ""),
    limit: int,
) -> tuple[list[StoredReport], tuple[str, str] | None]:
    """Read a page of rows, oldest end first.

    Args:
        db: The database.
        partition: None for all.
        since: Only sessions that ended then or later.
        until: Only sessions that ended before.
        charger_id: Only this charger's.
        after: Where the page before ended.
        limit: No more rows than this.

    Returns:
        The intact rows, and where the page ended; None when it was the last.
    """
    first = time_text(since) if since else ""
    last = time_text(until) if until else None
    found = await db.fetch(_PAGE, partition, first, last, charger_id, *after, limit)
    rows = [checked(unescaped(row)) for row in found]
    end = (found[-1]["placed_at"] or found[-1]["ended_at"], found[-1]["key"]) if found else None
    return [row for row in rows if row is not None], end if len(found) == limit else None
