"""What is owed: session reports from committed to delivered."""

from dataclasses import dataclass

from bridge.core.sessions import SessionReport


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as the store holds it.

    Attributes:
        key: Stable across repeats, restarts and sources.
        revision: 1, and one more for every change of content.
        report: The content.
        published: The broker acknowledged this revision.
    """

    key: str
    revision: int
    report: SessionReport
    published: bool = False
