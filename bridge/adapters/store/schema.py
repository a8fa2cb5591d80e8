"""The tables, how an older store becomes a newer one, and how a row is told from damage.

Rules:

1. Every row ends in, or carries, a SHA-256 of its other columns: SQLite has no checksums, and of
   3,000 flipped bits 881 changed data unnoticed. It guards against faults, not against people.
2. Steps are added to :data:`MIGRATIONS`, never changed. A step is committed with the number it
   leads to, so a store is of one version or of the next, whatever happens in between.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

# "CBRD": a file without it and without our table is somebody else's.
APPLICATION_ID: Final = 0x43425244
PAGE_BYTES: Final = 4096

# What SQLite hands out after damage can be of any type.
Row = Sequence[Any]
Step = str | Callable[[sqlite3.Connection], None]

# A report as version 1 had it, and as it is now, in the order of the table.
SELECT_1: Final = (
    "SELECT key, revision, charger_id, session_id, started_at, ended_at, energy_kwh,"
    " meter_start_kwh, meter_stop_kwh, auth_reason, auth, source, measured_at, received_at,"
    " published, digest FROM report"
)
SELECT: Final = SELECT_1.replace(" FROM", ", settled, published_at FROM")
SELECT_NUMBERED: Final = SELECT.replace("SELECT ", "SELECT rowid, ", 1)
REPORT_WIDTH_1: Final = 16
REPORT_WIDTH: Final = 18
DIGEST_PLACE: Final = 15
PUBLISHED_PLACE: Final = 14
COMMAND_WIDTH: Final = 12


def time_text(at: datetime) -> str:
    """Spell a moment so that texts sort as moments do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def lenient_text(data: bytes) -> str:
    """Read a text column whatever is in it: its hash will tell."""
    return data.decode("utf-8", "surrogateescape")


def digest_of(columns: Row) -> bytes:
    """Hash the columns of a row, all but the hash."""
    return hashlib.sha256(json.dumps(list(columns), default=_spelled).encode("ascii")).digest()


def _spelled(value: object) -> dict[str, str]:
    """Write bytes as no text can be written: a column that became text is not what it was."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    raise TypeError


def overwritten(select: str) -> str:
    """Write what an ``ON CONFLICT (key) DO UPDATE`` sets: every column of a query but the key."""
    names = select.removeprefix("SELECT key, ").partition(" FROM")[0].split(", ")
    return ", ".join(f"{name} = excluded.{name}" for name in names)


def is_intact_report(row: Row) -> bool:
    """Say whether a report's row, of this version or of version 1, is what was written."""
    covered = [*row[:DIGEST_PLACE], *row[DIGEST_PLACE + 1 :]]
    return _matches(covered, row[DIGEST_PLACE])


def is_intact_command(row: Row) -> bool:
    """Say whether a command's row is what was written."""
    return _matches(row[:-1], row[-1])


def _matches(covered: Row, digest: object) -> bool:
    try:
        return digest_of(covered) == digest
    except (TypeError, ValueError):  # a column of a type we never write
        return False


def _settle_what_was_published(db: sqlite3.Connection) -> None:
    """Hash the rows of version 1 anew; what it had delivered counts as settled.

    A damaged row keeps its hash, and so stays recognisable.
    """
    last = 0
    select = f"{SELECT_NUMBERED} WHERE rowid > ? ORDER BY rowid LIMIT 1"
    while row := db.execute(select, (last,)).fetchone():
        last, *held = row[: 1 + REPORT_WIDTH_1]
        if is_intact_report(held):
            settled = held[PUBLISHED_PLACE]
            digest = digest_of([*held[:DIGEST_PLACE], settled, None])
            db.execute(
                "UPDATE report SET settled = ?, digest = ? WHERE rowid = ?", (settled, digest, last)
            )


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
)
