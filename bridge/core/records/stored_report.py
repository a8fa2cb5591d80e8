"""A session report as the store holds it."""

from datetime import datetime

import msgspec

from bridge.core.records.session_report import SessionReport


class StoredReport(msgspec.Struct, frozen=True):
    """A report as the store holds it.

    Attributes:
        key: Stable across repeats, restarts and sources.
        revision: 1, and one more for every change of content.
        report: The content.
        published: The broker acknowledged this revision.
        settled: A consumer acknowledged the key, or the settle window passed; no longer pending.
        published_at: When the broker acknowledged it (wall clock, UTC), or None.
    """

    key: str
    revision: int
    report: SessionReport
    published: bool = False
    settled: bool = False
    published_at: datetime | None = None
