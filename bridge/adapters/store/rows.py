"""Reports as rows, and the queries about them. Every query runs inside the caller's transaction."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog

from bridge.adapters.store.schema import (
    DIGEST_PLACE,
    REPORT_WIDTH,
    REPORT_WIDTH_1,
    SELECT,
    SELECT_1,
    SELECT_NUMBERED,
    Row,
    digest_of,
    is_intact_report,
    overwritten,
    time_text,
)
from bridge.core.sessions.ledger import StoredReport, find_row, merged
from bridge.core.sessions.reports import SessionReport

log = structlog.get_logger()

# A revision above this is a damaged number.
MOST_REVISIONS = 1_000_000
# Rows deleted in one commit: what waits behind them waits a few milliseconds.
MOST_AT_ONCE = 500

_INSERT: Final = "INSERT INTO report VALUES"
_MARKS: Final = ", ".join("?" * REPORT_WIDTH)
# An update in place keeps its page and its place in the index: less is written.
PUT: Final = f"{_INSERT} ({_MARKS}) ON CONFLICT (key) DO UPDATE SET {overwritten(SELECT)}"

# The cloud tells a charger's last report again at every connection, for years if nobody charges
# there. Without its row it would be a new one each time. Last by the charger's clock, and by when
# it said so: a burst of sessions comes in any order.
_NOT_THE_LAST: Final = (
    "EXISTS (SELECT 1 FROM report AS later WHERE later.charger_id = report.charger_id"
    " AND (later.ended_at, later.rowid) > (report.ended_at, report.rowid))"
    " AND EXISTS (SELECT 1 FROM report AS later WHERE later.charger_id = report.charger_id"
    " AND (later.measured_at, later.rowid) > (report.measured_at, report.rowid))"
)


# -- rows --------------------------------------------------------------------------------------


def to_row(stored: StoredReport) -> Row:
    """Return the columns of a report, in the order of the table."""
    report = stored.report
    columns = (
        stored.key,
        stored.revision,
        report.charger_id,
        report.session_id,
        time_text(report.started_at),
        time_text(report.ended_at),
        report.energy_kwh,
        report.meter_start_kwh,
        report.meter_stop_kwh,
        report.auth_reason,
        report.auth,
        report.source,
        time_text(report.measured_at),
        time_text(report.received_at),
        int(stored.published),
    )
    delivery = (
        int(stored.settled),
        None if stored.published_at is None else time_text(stored.published_at),
    )
    return (*columns, digest_of((*columns, *delivery)), *delivery)


def from_row(row: Row) -> StoredReport | None:
    """Return the report in a row, or None when the row is not what was written.

    A row of version 1 has no ``settled``: what was published there is.
    """
    if len(row) not in (REPORT_WIDTH_1, REPORT_WIDTH) or not is_intact_report(row):
        return None
    key, revision, charger_id, session_id, started_at, ended_at, *numbers = row[:10]
    auth, source, measured_at, received_at, published = row[10:DIGEST_PLACE]
    energy_kwh, meter_start_kwh, meter_stop_kwh, auth_reason = numbers
    settled, published_at = row[DIGEST_PLACE + 1 :] or (published, None)
    report = SessionReport(
        charger_id=charger_id,
        session_id=session_id,
        started_at=datetime.fromisoformat(started_at),
        ended_at=datetime.fromisoformat(ended_at),
        energy_kwh=energy_kwh,
        meter_start_kwh=meter_start_kwh,
        meter_stop_kwh=meter_stop_kwh,
        auth_reason=auth_reason,
        auth=auth,
        source=source,
        measured_at=datetime.fromisoformat(measured_at),
        received_at=datetime.fromisoformat(received_at),
    )
    return StoredReport(
        key,
        revision,
        report,
        bool(published),
        bool(settled),
        datetime.fromisoformat(published_at) if published_at else None,
    )


def checked(row: Row) -> StoredReport | None:
    """Return the report in a row; say so and return None when the row is damaged."""
    stored = from_row(row)
    if stored is None:
        log.error("store.row_damaged", key=repr(row[0])[:40])
    return stored


def is_newer(one: StoredReport, other: StoredReport) -> bool:
    """Say whether a row is a later state of the same key: it only ever moves on."""
    return (one.revision, one.settled, one.published) > (
        other.revision,
        other.settled,
        other.published,
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
    found = db.execute(
        f"{SELECT} WHERE charger_id = ? AND session_id IS ?", (report.charger_id, report.session_id)
    ).fetchall()
    rows = [stored for row in found if (stored := checked(row)) is not None]
    key, held = find_row(report, rows)
    if held is None:
        require_room()
        stored = StoredReport(key, _revision_after_damage(db, key), report)
    elif (content := merged(held.report, report)) is held.report:
        return held, False
    else:
        stored = StoredReport(key, held.revision + 1, content)
    put(db, (stored,))
    return stored, True


def put(db: sqlite3.Connection, reports: Iterable[StoredReport]) -> None:
    """Write rows as they are, in the place of those with the same key."""
    db.executemany(PUT, (to_row(stored) for stored in reports))


def find(db: sqlite3.Connection, key: str) -> StoredReport | None:
    """Return the intact row of a key."""
    row = db.execute(f"{SELECT} WHERE key = ?", (key,)).fetchone()
    return checked(row) if row else None


def _revision_after_damage(db: sqlite3.Connection, key: str) -> int:
    """Return the revision of a new row, above that of a damaged one in its place."""
    row = db.execute("SELECT revision FROM report WHERE key = ?", (key,)).fetchone()
    revision = row[0] if row else 0
    return revision + 1 if isinstance(revision, int) and 0 <= revision < MOST_REVISIONS else 1


def mark_published(db: sqlite3.Connection, key: str, revision: int, at: datetime | None) -> None:
    """Note that the broker took this revision; a newer one stays owed."""
    stored = find(db, key)
    if stored is not None and stored.revision == revision and not stored.published:
        put(db, (replace(stored, published=True, published_at=at),))


def settle(db: sqlite3.Connection, reports: Iterable[tuple[str, int]]) -> None:
    """Owe these no more, each by key and revision.

    A newer revision stays owed: it can have been committed after somebody took the one before it.
    """
    for key, revision in reports:
        stored = find(db, key)
        if stored is not None and stored.revision == revision and not stored.settled:
            put(db, (replace(stored, settled=True),))


def mark_owed(
    db: sqlite3.Connection, since: datetime | None, charger_id: str | None
) -> tuple[StoredReport, ...]:
    """Owe rows again; return them, oldest first."""
    held = select(db, since=since, charger_id=charger_id)
    owed = tuple(
        replace(stored, published=False, settled=False, published_at=None) for stored in held
    )
    put(db, owed)
    return owed


def forget(db: sqlite3.Connection, settled_before: datetime) -> int:
    """Delete some settled reports of which nothing was heard since; return how many.

    The newest of a report's times counts: a charger's clock can be years behind, and so could ours.
    """
    found = db.execute(
        f"{SELECT_NUMBERED} WHERE settled = 1 AND {_NOT_THE_LAST}"
        " AND max(ended_at, received_at, coalesce(published_at, '')) < ? LIMIT ?",
        (time_text(settled_before), MOST_AT_ONCE),
    ).fetchall()
    return _delete(db, found)


def shed(db: sqlite3.Connection, most: int = MOST_AT_ONCE) -> int:
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
    """
    is_first_version = db.execute("PRAGMA user_version").fetchone()[0] <= 1
    query = (
        f"{SELECT_1 if is_first_version else SELECT} WHERE ended_at >= ?"
        " AND (ended_at < ? OR ? IS NULL) AND (charger_id = ? OR ? IS NULL) ORDER BY ended_at, key"
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
        key=lambda stored: (stored.report.ended_at, stored.key),
    )
    return tuple(owed), sum(stored is None for stored in rows)


def count_damaged(db: sqlite3.Connection) -> int:
    """Count the damaged rows among what is settled."""
    return sum(checked(row) is None for row in db.execute(f"{SELECT} WHERE settled IS 1"))
