"""Sessions with impossible times: listed in an alert for a week or until corrected."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from bridge.core.alerts import MAX_NAMED, Alerts
from bridge.core.effects import Effect
from bridge.core.records.moment import Timestamp
from bridge.core.records.stored_report import StoredReport

ALERT = "session_clock"
NAMED_FOR = timedelta(days=7)
MAX_SUSPECTS = 1_000
_HINT = (
    "the energy is right and counts; the cloud's list is asked for the times; see that the charger"
    " is online long enough to set its clock"
)


class Suspects:
    """Which stored sessions have times that cannot be."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        # By key: when it counts as ended.
        self._named: dict[str, datetime] = {}

    def saved(self, rows: Iterable[StoredReport], now: Timestamp) -> Iterator[Effect]:
        """Handle the current state of rows."""
        before = dict(self._named)
        for row in rows:
            self._named.pop(row.key, None)
            if row.report.doubtful and len(self._named) < MAX_SUSPECTS:
                self._named[row.key] = row.report.at
        if self._named or before:
            yield from self.tick(now, changed=self._named != before)

    def tick(self, now: Timestamp, *, changed: bool = False) -> Iterator[Effect]:
        """Drop old entries, and update the alert."""
        if now.trusted:
            old = [key for key, at in self._named.items() if now.wall - at > NAMED_FOR]
            for key in old:
                del self._named[key]
            changed = changed or bool(old)
        if not changed:
            return
        if not self._named:
            yield from self._alerts.clear(ALERT)
            return
        keys = sorted(self._named, key=self._named.__getitem__, reverse=True)
        more = len(keys) - MAX_NAMED
        yield from self._alerts.raise_(
            ALERT,
            "sessions with a time that cannot be:"
            f" {', '.join(keys[:MAX_NAMED])}{f' and {more} more' * (more > 0)}",
            _HINT,
            now,
        )
