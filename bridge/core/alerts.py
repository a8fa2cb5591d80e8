"""What an operator should know of: retained under ``bridge/alert/<kind>``, emptied when solved."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from bridge.core.effects import Effect, LogEntry
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc

# Worth knowing, and nothing that the bridge fails to do: the rest means trouble, an unknown kind
# included, and ``bridge/health`` counts it.
ADVICE: Final = frozenset(
    {
        "access_open_offline",
        "access_nobody_offline",
        "broker_unreachable",
        "retained_command",
        "session_clock",
    }
)
# An alert names so many of what it is about, and counts the rest.
MAX_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Alert:
    """One open alert.

    Attributes:
        kind: Last level of its topic, snake_case; ``<kind>/<charger>`` where each charger has its
            own.
        message: What is wrong.
        hint: What to do about it.
        since: When it was first raised, ISO 8601 with ``Z``.
    """

    kind: str
    message: str
    hint: str
    since: str


class Alerts:
    """The open alerts. Raising one again with other words keeps its ``since``."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._open: dict[str, Alert] = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are open, oldest first."""
        return tuple(self._open)

    def is_open(self, kind: str) -> bool:
        """Say whether an alert is open."""
        return kind in self._open

    @property
    def has_trouble(self) -> bool:
        """True while an alert is open that is more than advice."""
        return not self._open.keys() <= ADVICE

    def raise_(self, kind: str, message: str, hint: str, now: Timestamp) -> Iterator[Effect]:
        """Open an alert, or change the words of an open one."""
        held = self._open.get(kind)
        if held is not None and (held.message, held.hint) == (message, hint):
            return
        since = held.since if held is not None else iso_utc(now.wall)
        alert = Alert(kind, message, hint, since)
        self._open[kind] = alert
        if held is None:
            yield LogEntry(
                "warning", "alert.raised", {"kind": kind, "message": message, "hint": hint}
            )
        yield self._publication(alert)

    def clear(self, kind: str) -> Iterator[Effect]:
        """Close an alert; does nothing when it is not open."""
        if self._open.pop(kind, None) is not None:
            yield LogEntry("info", "alert.cleared", {"kind": kind})
            yield Publish(self._topics.alert(kind), b"")

    def publications(self) -> Iterator[Publish]:
        """Every open alert again, after the broker lost them."""
        yield from map(self._publication, self._open.values())

    def _publication(self, alert: Alert) -> Publish:
        return Publish(self._topics.alert(alert.kind), msgspec.json.encode(alert))
