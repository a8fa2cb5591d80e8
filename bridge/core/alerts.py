"""Alerts: conditions an operator should know of, until they are resolved."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from bridge.core.changes import AlertCleared, AlertRaised
from bridge.core.effects import Effect, LogEntry
from bridge.core.records.moment import Timestamp
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
        "vendor_change",
    }
)
# An alert names so many of what it is about, and counts the rest.
MAX_NAMED: Final = 10


class Alerts:
    """The open alerts. Raising one again with other words keeps its ``since``.

    A message names a charger as people call it, ``Garage (EH123456)``; the log has serials alone.

    Attributes:
        has_trouble: An alert is open that is more than advice.
    """

    def __init__(self, names: Iterable[tuple[str, str]] = ()) -> None:
        """Open none yet.

        Args:
            names: Serial and name of the chargers that have one.
        """
        self._open: dict[str, AlertRaised] = {}
        self.has_trouble = False
        self.name(names)

    def name(self, names: Iterable[tuple[str, str]]) -> None:
        """Use other names from the next message on."""
        self._names = dict(names)
        # Neither a level of a topic nor the beginning of a session's key.
        serials = "|".join(map(re.escape, self._names))
        # As text: a compiled expression is no state that a record can hold.
        self._serial = rf"(?<![\w/-])(?:{serials})(?![\w/-])" if serials else ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds that are open, oldest first."""
        return tuple(self._open)

    def is_open(self, kind: str) -> bool:
        """Return whether an alert is open."""
        return kind in self._open

    def raise_(
        self,
        kind: str,
        message: str,
        hint: str,
        now: Timestamp,
        began_at: datetime | None = None,
    ) -> Iterator[Effect]:
        """Open an alert, or change the words of an open one.

        Args:
            kind: Which one.
            message: What is wrong.
            hint: What to do.
            now: The time.
            began_at: Since when it is open, where that was earlier.
        """
        held = self._open.get(kind)
        named = self._named(message)
        if held is not None and (held.message, held.hint) == (named, hint):
            return
        since = held.since if held is not None else began_at or now.wall
        alert = AlertRaised(kind, named, hint, since)
        self._open[kind] = alert
        self.has_trouble = self.has_trouble or kind not in ADVICE
        if held is None:
            yield LogEntry(
                "warning", "alert.raised", {"kind": kind, "message": message, "hint": hint}
            )
        yield alert

    def _named(self, message: str) -> str:
        """Write the name of each charger before its serial."""
        if not self._serial:
            return message
        return re.sub(self._serial, lambda found: f"{self._names[found[0]]} ({found[0]})", message)

    def clear(self, kind: str) -> Iterator[Effect]:
        """Close an alert; does nothing when it is not open."""
        if self._open.pop(kind, None) is not None:
            self.has_trouble = not self._open.keys() <= ADVICE
            yield LogEntry("info", "alert.cleared", {"kind": kind})
            yield AlertCleared(kind)

    def explain(self, kind: str) -> Iterator[str]:
        """Say whether an alert is open, since when and why."""
        held = self._open.get(kind)
        if held is None:
            yield f"the alert {kind} is not open"
            return
        yield f"the alert is open since {iso_utc(held.since)}: {held.message}"
        yield f"what to do: {held.hint}"

    def publications(self) -> Iterator[AlertRaised]:
        """Yield every open alert again, after the broker lost them."""
        yield from self._open.values()
