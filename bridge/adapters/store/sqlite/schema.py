"""Tables, migrations and checksums of the store.

Rules:

1. Every row ends in, or carries, a SHA-256 of its other columns: SQLite has no checksums, and of
   3,000 flipped bits 881 changed data unnoticed. It guards against faults, not against people.
2. Steps are added to :data:`MIGRATIONS`, never changed. A step is committed with the number it
   leads to, so a store is of one version or of the next, whatever happens in between.
"""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Final

from bridge.adapters.store.row_format.digest import Row, digest_of
from bridge.adapters.store.row_format.report_columns import (
    DIGEST_PLACE,
    PUBLISHED_PLACE,
    is_intact_report,
    judged_columns,
)

# "CBRD": a file without it and without our table is somebody else's.
APPLICATION_ID: Final = 0x43425244
# Of a new file. A commit of a row or two sends fewer bytes to the disk in small pages.
PAGE_BYTES: Final = 1024
# A file keeps the page size that it was made with; up to 1.0.0 that was 4 KiB.
PAGE_SIZES: Final = (PAGE_BYTES, 4096)

Step = str | Callable[[sqlite3.Connection], None]

# A report as the versions had it, the last as it is now, in the order of the table.
SELECT_1: Final = (
    "SELECT key, revision, charger_id, session_id, started_at, ended_at, energy_kwh,"
    " meter_start_kwh, meter_stop_kwh, auth_reason, auth, source, measured_at, received_at,"
    " published, digest FROM report"
)
SELECT_2: Final = SELECT_1.replace(" FROM", ", settled, published_at FROM")
SELECT: Final = SELECT_2.replace(" FROM", ", incomplete, doubtful, placed_at, ranked_at FROM")
SELECT_NUMBERED: Final = SELECT.replace("SELECT ", "SELECT rowid, ", 1)


# A consumer received a report since the store was created.
HAS_CONSUMER: Final = "INSERT OR IGNORE INTO meta VALUES ('consumer', x'31')"


def lenient_text(data: bytes) -> str:
    """Read a text column whatever is in it: its hash will tell."""
    return data.decode("utf-8", "surrogateescape")


def page_bytes(db: sqlite3.Connection) -> int:
    """Return the page size of an open file."""
    return int(db.execute("PRAGMA page_size").fetchone()[0])


def overwritten(select: str) -> str:
    """Write what an ``ON CONFLICT (key) DO UPDATE`` sets: every column of a query but the key."""
    names = select.removeprefix("SELECT key, ").partition(" FROM")[0].split(", ")
    return ", ".join(f"{name} = excluded.{name}" for name in names)


def _settle_what_was_published(db: sqlite3.Connection) -> None:
    """Hash the rows of version 1 anew; what it had delivered counts as settled."""
    for number, held in _numbered(db, SELECT_1):
        settled = held[PUBLISHED_PLACE]
        digest = digest_of([*held[:DIGEST_PLACE], settled, None])
        db.execute(
            "UPDATE report SET settled = ?, digest = ? WHERE rowid = ?", (settled, digest, number)
        )


def _judge_clocks(db: sqlite3.Connection) -> None:
    """Mark impossible times in the rows of version 2; keys do not change."""
    for number, held in _numbered(db, SELECT_2):
        judged = judged_columns(held)
        digest = digest_of([*held[:DIGEST_PLACE], *held[DIGEST_PLACE + 1 :], *judged])
        db.execute(
            "UPDATE report SET incomplete = ?, doubtful = ?, placed_at = ?, ranked_at = ?,"
            " digest = ? WHERE rowid = ?",
            (*judged, digest, number),
        )
    taken = db.execute("SELECT 1 FROM report WHERE published = 1 OR settled = 1").fetchone()
    if taken:
        db.execute(HAS_CONSUMER)


def _numbered(db: sqlite3.Connection, select: str) -> Iterator[tuple[int, Row]]:
    """Read intact rows with their numbers, one after the other, while they are changed.

    A damaged row keeps its hash, and so stays recognisable.
    """
    last = 0
    query = f"{select.replace('SELECT ', 'SELECT rowid, ', 1)} WHERE rowid > ? ORDER BY rowid"
    while row := db.execute(f"{query} LIMIT 1", (last,)).fetchone():
        last, *held = row
        if is_intact_report(held):
            yield last, held


MIGRATIONS: Final[tuple[tuple[Step, ...], ...]] = (
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
    (
        "ALTER TABLE report ADD COLUMN settled INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE report ADD COLUMN published_at TEXT",
        _settle_what_was_published,
        """
        CREATE TABLE command (
            key TEXT PRIMARY KEY,
            charger_id TEXT NOT NULL,
            command TEXT NOT NULL,
            name TEXT NOT NULL,
            content TEXT NOT NULL,
            state TEXT NOT NULL,
            received_at TEXT NOT NULL,
            expires_at TEXT NOT NULL,
            body BLOB NOT NULL,
            answer BLOB NOT NULL,
            flash INTEGER NOT NULL,
            digest BLOB NOT NULL
        )
        """,
    ),
    (
        "ALTER TABLE report ADD COLUMN incomplete TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE report ADD COLUMN doubtful TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE report ADD COLUMN placed_at TEXT",
        "ALTER TABLE report ADD COLUMN ranked_at TEXT",
        _judge_clocks,
        """
        CREATE TABLE unread (
            key TEXT PRIMARY KEY,
            charger_id TEXT NOT NULL,
            text TEXT NOT NULL,
            reason TEXT NOT NULL,
            source TEXT NOT NULL,
            measured_at TEXT NOT NULL,
            received_at TEXT NOT NULL,
            session_id INTEGER,
            started_at TEXT,
            ended_at TEXT,
            digest BLOB NOT NULL
        )
        """,
    ),
)
