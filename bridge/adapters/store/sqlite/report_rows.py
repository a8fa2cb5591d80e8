"""Rows of reports and their queries. Every query runs inside the caller's transaction."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from bridge.adapters.store.row_format.digest import Row, moment_or_none, time_text
from bridge.adapters.store.row_format.report_columns import (
    DIGEST_PLACE,
    PUBLISHED_PLACE,
    REPORT_WIDTH,
    REPORT_WIDTH_2,
    checked,
    from_row,
    to_row,
)
from bridge.adapters.store.sqlite.schema import (
    HAS_CONSUMER,
    SELECT,
    SELECT_1,
    SELECT_2,
    SELECT_NUMBERED,
    overwritten,
)
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.sessions.report_merge import entered

# A revision above this is a damaged number.
MAX_REVISIONS = 1_000_000
# Before clocks were judged.
VERSION_2: Final = 2
# Rows deleted in one commit: what waits behind them waits a few milliseconds.
MAX_BATCH = 500

_INSERT: Final = "INSERT INTO report VALUES"
_MARKS: Final = ", ".join("?" * REPORT_WIDTH)
# An update in place keeps its page and its place in the index: less is written.
PUT: Final = f"{_INSERT} ({_MARKS}) ON CONFLICT (key) DO UPDATE SET {overwritten(SELECT)}"
# An index is written again for every column of it that is set, changed or not.
_PUT_STATUS: Final = (
    "UPDATE report SET published = ?, settled = ?, published_at = ?, digest = ? WHERE key = ?"
)

# When a session counts as ended: what a charger's clock says may lie years ahead.
_AT: Final = "coalesce(placed_at, ended_at)"

# The cloud tells a charger's last report again at every connection, for years if nobody charges
# there. Without its row it would be a new one each time. Last by the charger's clock, by
# when it counts as ended, and by when it said so: a burst of sessions comes in any order.
_NOT_THE_LAST: Final = (
    "EXISTS (SELECT 1 FROM report AS later WHERE later.charger_id = report.charger_id"
    " AND (later.ended_at, later.rowid) > (report.ended_at, report.rowid))"
    " AND EXISTS (SELECT 1 FROM report AS later WHERE later.charger_id = report.charger_id"
    " AND (later.measured_at, later.rowid) > (report.measured_at, report.rowid))"
    " AND EXISTS (SELECT 1 FROM report AS later WHERE later.charger_id = report.charger_id"
    " AND (coalesce(later.placed_at, later.ended_at), later.rowid)"
    " > (coalesce(report.placed_at, report.ended_at), report.rowid))"
)


# -- changing ----------------------------------------------------------------------------------


def save(
    db: sqlite3.Connection, report: SessionReport, require_room: Callable[[], object]
) -> tuple[StoredReport, bool]:
    """Merge a report into its row; return the row and whether its content is new.

    Args:
        db: The store.
        report: What arrived.
        require_room: Called before a row is added; raises ``StoreFull``.
    """
    rows = [stored for row in _alike(db, report) if (stored := checked(row)) is not None]
    stored, changed = entered(report, rows, _first_started_at(db, report.charger_id))
    if changed:
        if stored.revision == 1:
            require_room()
            stored = replace(stored, revision=_revision_after_damage(db, stored.key))
        put(db, (stored,))
    return stored, changed


def _alike(db: sqlite3.Connection, report: SessionReport) -> list[Row]:
    """Read the rows that may be of the same session."""
    if report.session_id is not None:
        return db.execute(
            f"{SELECT} WHERE charger_id = ? AND (session_id = ? OR session_id IS NULL)",
            (report.charger_id, report.session_id),
        ).fetchall()
    # Without a counter any of the charger's may be it: its clock says nothing of where to look.
    return db.execute(f"{SELECT} WHERE charger_id = ?", (report.charger_id,)).fetchall()


def _first_started_at(db: sqlite3.Connection, charger_id: str) -> datetime | None:
    """Return when the first session of a charger began, of those whose times can be."""
    query = "SELECT min(started_at) FROM report WHERE charger_id = ? AND doubtful = ''"
    try:
        return moment_or_none(db.execute(query, (charger_id,)).fetchone()[0])
    except (TypeError, ValueError):
        return None  # damage; it is found where rows are checked


def put(db: sqlite3.Connection, reports: Iterable[StoredReport]) -> None:
    """Write rows as they are, in the place of those with the same key."""
    db.executemany(PUT, (to_row(stored) for stored in reports))


def _put_status(db: sqlite3.Connection, reports: Iterable[StoredReport]) -> None:
    """Write how far reports have been delivered into their intact rows."""
    for stored in reports:
        row = to_row(stored)
        status = row[PUBLISHED_PLACE], *row[DIGEST_PLACE + 1 : REPORT_WIDTH_2], row[DIGEST_PLACE]
        db.execute(_PUT_STATUS, (*status, stored.key))


def find(db: sqlite3.Connection, key: str) -> StoredReport | None:
    """Return the intact row of a key."""
    row = db.execute(f"{SELECT} WHERE key = ?", (key,)).fetchone()
    return checked(row) if row else None


def _revision_after_damage(db: sqlite3.Connection, key: str) -> int:
    """Return the revision of a new row, above that of a damaged one in its place."""
    row = db.execute("SELECT revision FROM report WHERE key = ?", (key,)).fetchone()
    revision = row[0] if row else 0
    return revision + 1 if isinstance(revision, int) and 0 <= revision < MAX_REVISIONS else 1


def mark_published(db: sqlite3.Connection, key: str, revision: int, at: datetime | None) -> None:
    """Record that the broker acknowledged this revision; a newer or kept one stays pending."""
    db.execute(HAS_CONSUMER)
    stored = find(db, key)
    if stored is not None and stored.revision == revision and not stored.published:
        _put_status(db, (replace(stored, published=True, settled=False, published_at=at),))


def settle(db: sqlite3.Connection, reports: Iterable[tuple[str, int]]) -> None:
    """Mark these reports delivered, each by key and revision.

    A newer revision stays pending: it may have been committed after the acknowledged one.
    """
    db.execute(HAS_CONSUMER)
    _put_status(
        db,
        (replace(stored, settled=True, published=True) for stored in _unsettled(db, reports)),
    )


def keep(db: sqlite3.Connection, reports: Iterable[tuple[str, int]]) -> None:
    """Mark these reports kept: settled, but never published, because there is no consumer yet."""
    _put_status(db, (replace(stored, settled=True) for stored in _unsettled(db, reports)))


def kept(db: sqlite3.Connection) -> int:
    """Count the kept reports."""
    query = "SELECT count(*) FROM report WHERE settled = 1 AND published = 0"
    return int(db.execute(query).fetchone()[0])


def _unsettled(
    db: sqlite3.Connection, reports: Iterable[tuple[str, int]]
) -> Iterator[StoredReport]:
    for key, revision in reports:
        stored = find(db, key)
        if stored is not None and stored.revision == revision and not stored.settled:
            yield stored


def has_consumer(db: sqlite3.Connection) -> bool:
    """Return whether a consumer has received a report since the store was created."""
    return db.execute("SELECT 1 FROM meta WHERE name = 'consumer'").fetchone() is not None


def mark_pending(
    db: sqlite3.Connection, since: datetime | None, charger_id: str | None
) -> tuple[StoredReport, ...]:
    """Mark rows pending again; return them, oldest first."""
    db.execute(HAS_CONSUMER)
    held = select(db, since=since, charger_id=charger_id)
    owed = tuple(
        replace(stored, published=False, settled=False, published_at=None) for stored in held
    )
    _put_status(db, owed)
    return owed


def forget(db: sqlite3.Connection, settled_before: datetime) -> int:
    """Delete some settled reports of which nothing was heard since; return how many.

    The newest of a report's times counts: a charger's clock can be years behind, and so could ours.
    """
    found = db.execute(
        f"{SELECT_NUMBERED} WHERE settled = 1 AND {_NOT_THE_LAST}"
        f" AND max({_AT}, received_at, coalesce(published_at, '')) < ? LIMIT ?",
        (time_text(settled_before), MAX_BATCH),
    ).fetchall()
    return _delete(db, found)


def delete_oldest_settled(db: sqlite3.Connection, most: int = MAX_BATCH) -> int:
    """Delete the oldest settled reports, whatever their age; return how many."""
    found = db.execute(
        f"{SELECT_NUMBERED} WHERE settled = 1 AND {_NOT_THE_LAST} ORDER BY rowid LIMIT ?", (most,)
    ).fetchall()
    return _delete(db, found)


def _delete(db: sqlite3.Connection, found: list[Row]) -> int:
    """Delete rows that are settled for sure: a damaged one only seems to be."""
    gone = [(rowid,) for rowid, *row in found if (stored := from_row(row)) and stored.settled]
    db.executemany("DELETE FROM report WHERE rowid = ?", gone)
    return len(gone)


# -- reading -----------------------------------------------------------------------------------


def select(
    db: sqlite3.Connection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    charger_id: str | None = None,
) -> Iterator[StoredReport]:
    """Read rows oldest first.

    Args:
        db: The store, also one that an older program made.
        since: Only sessions that ended then or later.
        until: Only sessions that ended before.
        charger_id: Only this charger's.

    What cannot have ended when it says counts as ended when it came.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    columns = SELECT_1 if version <= 1 else SELECT_2 if version == VERSION_2 else SELECT
    at = "ended_at" if version <= VERSION_2 else _AT
    query = (
        f"{columns} WHERE {at} >= ?"
        f" AND ({at} < ? OR ? IS NULL) AND (charger_id = ? OR ? IS NULL) ORDER BY {at}, key"
    )
    first = time_text(since) if since else ""
    last = time_text(until) if until else None
    for row in db.execute(query, (first, last, last, charger_id, charger_id)):
        stored = checked(row)
        if stored is not None:
            yield stored


def read_owed(db: sqlite3.Connection) -> tuple[tuple[StoredReport, ...], int]:
    """Read what is not settled, oldest end first, and how many of those rows are damaged."""
    rows = [checked(row) for row in db.execute(f"{SELECT} WHERE settled IS NOT 1")]
    owed = sorted(
        (stored for stored in rows if stored is not None),
        key=lambda stored: (stored.report.at, stored.key),
    )
    return tuple(owed), sum(stored is None for stored in rows)


def count_damaged(db: sqlite3.Connection) -> int:
    """Count the damaged rows among what is settled."""
    return sum(checked(row) is None for row in db.execute(f"{SELECT} WHERE settled IS 1"))
