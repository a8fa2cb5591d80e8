"""What the store holds: the schema, rows that can tell whether they are intact, and the queries.

Every query runs inside a transaction of the caller's.
"""

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from bridge.core.sessions.ledger import StoredReport, find_row, merged
from bridge.core.sessions.reports import SessionReport

log = structlog.get_logger()

SALT_BYTES = 32
# A revision above this is a damaged number.
MOST_REVISIONS = 1_000_000

# "CBRD": a file without it and without our table is somebody else's.
APPLICATION_ID: Final = 0x43425244

# Step n brings a store from version n to n + 1; steps are added, never changed.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
        """
        CREATE TABLE report (
            key TEXT PRIMARY KEY,
            revision INTEGER NOT NULL,
            charger_id TEXT NOT NULL,
            session_id INTEGER,
            started_at TEXT NOT NULL,
            ended_at TEXT NOT NULL,
            energy_kwh REAL NOT NULL,
            meter_start_kwh REAL,
            meter_stop_kwh REAL,
            auth_reason INTEGER,
            auth TEXT NOT NULL,
            source TEXT NOT NULL,
            measured_at TEXT NOT NULL,
            received_at TEXT NOT NULL,
            published INTEGER NOT NULL,
            digest BLOB NOT NULL
        )
        """,
        "CREATE INDEX report_session ON report (charger_id, session_id)",
    ),
)

SELECT: Final = (
    "SELECT key, revision, charger_id, session_id, started_at, ended_at, energy_kwh,"
    " meter_start_kwh, meter_stop_kwh, auth_reason, auth, source, measured_at, received_at,"
    " published, digest FROM report"
)
REPLACE: Final = (
    "INSERT OR REPLACE INTO report VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

# What SQLite hands out after damage can be of any type.
Row = Sequence[Any]


# -- rows --------------------------------------------------------------------------------------


def to_row(stored: StoredReport) -> Row:
    """Return the columns of a report, its hash last."""
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
    return (*columns, _digest(columns))


def from_row(row: Row) -> StoredReport | None:
    """Return the report in a row, or None when the row is not what was written."""
    try:
        if _digest(row[:-1]) != row[-1]:
            return None
    except (TypeError, ValueError):  # a damaged text column can come back as bytes
        return None
    key, revision, charger_id, session_id, started_at, ended_at, *numbers = row[:-6]
    auth, source, measured_at, received_at, published, _ = row[-6:]
    energy_kwh, meter_start_kwh, meter_stop_kwh, auth_reason = numbers
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
    return StoredReport(key, revision, report, bool(published))


def time_text(at: datetime) -> str:
    """Spell a moment so that texts sort as moments do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def lenient_text(data: bytes) -> str:
    """Read a text column whatever is in it: its hash will tell."""
    return data.decode("utf-8", "surrogateescape")


def _digest(columns: Row) -> bytes:
    return hashlib.sha256(json.dumps(list(columns)).encode("ascii")).digest()


# -- queries -----------------------------------------------------------------------------------


def save(db: sqlite3.Connection, report: SessionReport) -> tuple[StoredReport, bool]:
    """Merge a report into its row; return the row and whether its content is new."""
    found = db.execute(
        f"{SELECT} WHERE charger_id = ? AND session_id IS ?", (report.charger_id, report.session_id)
    ).fetchall()
    rows = [stored for row in found if (stored := checked(row)) is not None]
    key, held = find_row(report, rows)
    if held is None:
        stored = StoredReport(key, _revision_after_damage(db, key), report)
    elif (content := merged(held.report, report)) is held.report:
        return held, False
    else:
        stored = StoredReport(key, held.revision + 1, content)
    db.execute(REPLACE, to_row(stored))
    return stored, True


def _revision_after_damage(db: sqlite3.Connection, key: str) -> int:
    """Return the revision of a new row, above that of a damaged one in its place."""
    row = db.execute("SELECT revision FROM report WHERE key = ?", (key,)).fetchone()
    revision = row[0] if row else 0
    return revision + 1 if isinstance(revision, int) and 0 <= revision < MOST_REVISIONS else 1


def mark_published(db: sqlite3.Connection, key: str, revision: int) -> None:
    """Settle this revision; a newer one stays owed."""
    row = db.execute(f"{SELECT} WHERE key = ?", (key,)).fetchone()
    stored = checked(row) if row else None
    if stored is not None and stored.revision == revision and not stored.published:
        db.execute(REPLACE, to_row(replace(stored, published=True)))


def mark_owed(
    db: sqlite3.Connection, since: datetime | None, charger_id: str | None
) -> tuple[StoredReport, ...]:
    """Owe rows again; return them, oldest first."""
    owed = tuple(replace(row, published=False) for row in select(db, since, charger_id))
    db.executemany(REPLACE, (to_row(stored) for stored in owed))
    return owed


def salt(db: sqlite3.Connection) -> bytes:
    """Return the installation's salt, made on first use."""
    row = db.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()
    if row is not None and isinstance(row[0], bytes):
        return row[0]
    salt = secrets.token_bytes(SALT_BYTES)
    db.execute("INSERT OR REPLACE INTO meta VALUES ('salt', ?)", (salt,))
    return salt


def select(
    db: sqlite3.Connection, since: datetime | None, charger_id: str | None
) -> Iterator[StoredReport]:
    """Read rows oldest first, optionally from a session end on and of one charger."""
    query = f"{SELECT} WHERE ended_at >= ? AND (charger_id = ? OR ? IS NULL) ORDER BY ended_at, key"
    first = time_text(since) if since else ""
    for row in db.execute(query, (first, charger_id, charger_id)).fetchall():
        stored = checked(row)
        if stored is not None:
            yield stored


def read_all(db: sqlite3.Connection) -> tuple[list[StoredReport], int]:
    """Read every row, oldest first; return the intact ones and how many are damaged."""
    rows = [checked(row) for row in db.execute(f"{SELECT} ORDER BY ended_at, key")]
    intact = [stored for stored in rows if stored is not None]
    return intact, len(rows) - len(intact)


def checked(row: tuple[Any, ...]) -> StoredReport | None:
    """Return the report in a row; say so and return None when the row is damaged."""
    stored = from_row(row)
    if stored is None:
        log.error("store.row_damaged", key=repr(row[0])[:40])
    return stored
