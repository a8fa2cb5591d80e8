"""Hash of a row, and times as text."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from bridge.core.records.store_problem import StoreProblem

# What a database hands out after damage can be of any type.
Row = Sequence[Any]
DAMAGE_HINT: Final = "check the disk; what is missing is looked up in the cloud"


def time_text(at: datetime) -> str:
    """Return a timestamp as text that sorts chronologically."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def time_or_none(at: datetime | None) -> str | None:
    """Return a timestamp as text, None as None."""
    return None if at is None else time_text(at)


def moment_or_none(text: str | None) -> datetime | None:
    """Return the timestamp of a text, None of nothing."""
    return datetime.fromisoformat(text) if text else None


def digest_of(columns: Row) -> bytes:
    """Hash the columns of a row, all but the hash."""
    return hashlib.sha256(json.dumps(list(columns), default=_spelled).encode("ascii")).digest()


def _spelled(value: object) -> dict[str, str]:
    """Write bytes as no text can be written: a column that became text is not what it was."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    raise TypeError


def is_intact(covered: Row, digest: object) -> bool:
    """Return whether columns are those that were hashed."""
    try:
        return digest_of(covered) == digest
    except (TypeError, ValueError):  # a column of a type we never write
        return False


def damaged_rows(count: int) -> StoreProblem:
    """Return what the operator is told of rows that fail their check."""
    return StoreProblem(
        "reports_damaged", f"{count} stored rows fail their check and are not used", DAMAGE_HINT
    )
