"""Retention and usage of the store.

Rules:

1. Only what is settled is removed, once a day, when it is older than ``store.keep_days``; and only
   while the wall clock is trusted: one that stands in the future would remove everything.
2. From 80 per cent on the operator is warned, from 95 again: settled reports then make room for new
   ones. At 100 nothing is accepted, and requested again later. Pending reports stay.
"""

from collections.abc import Iterator
from datetime import timedelta

from bridge.core.alerts import Alerts
from bridge.core.effects import Effect, LogEntry, MaintainStore
from bridge.core.events import StoreMaintained
from bridge.core.records.moment import Timestamp

FIRST_S = 60.0
MEASURE_EVERY_S = 600.0
# While the alert is raised: it must not outlast its condition.
WARNED_EVERY_S = 30.0
FORGET_EVERY_S = 86_400.0
# A command's answer is remembered for a day, and its message as long as a broker may deliver it
# again, so that a repetition is recognised.
COMMANDS_KEPT = timedelta(hours=25)
ALERT = "storage_filling"

_LEVELS = (
    (1.0, "the store is full: new session reports are not taken"),
    (0.95, "the store is nearly full: delivered reports are deleted"),
    (0.8, "the store is filling up"),
)
_HINT = "raise store.max_mib or lower store.keep_days, and have consumers acknowledge reports"


class Retention:
    """Decides when the store is tidied and what is said of its size."""

    def __init__(self, alerts: Alerts, *, keep_days: int) -> None:
        self._alerts = alerts
        self._keep = timedelta(days=keep_days)
        self._due_s: float | None = None
        self._forget_s = float("-inf")
        self._level: str | None = None

    def opened(self, mono_s: float) -> None:
        """Schedule the maintenance of the store after it was opened."""
        self._due_s = mono_s + FIRST_S

    def deadline_s(self) -> float | None:
        """Return when the store is maintained next, or None while it is not open."""
        return self._due_s

    def tick(self, now: Timestamp) -> Iterator[Effect]:
        """Request cleanup and usage of the store, when that is due."""
        if self._due_s is None or now.mono_s < self._due_s:
            return
        self._due_s = now.mono_s + MEASURE_EVERY_S
        if now.trusted and now.mono_s >= self._forget_s:
            self._forget_s = now.mono_s + FORGET_EVERY_S
            yield MaintainStore(now.wall - self._keep, now.wall - COMMANDS_KEPT)
        else:
            yield MaintainStore()

    def maintained(self, event: StoreMaintained, now: Timestamp) -> Iterator[Effect]:
        """Handle the store's usage and raise an alert when it is filling up."""
        if event.forgotten:
            yield LogEntry("info", "store.expired_rows_deleted", {"rows": event.forgotten})
        share = event.used_share
        words = next((words for least, words in _LEVELS if share >= least), None)
        if words is not None and self._due_s is not None:
            self._due_s = min(self._due_s, now.mono_s + WARNED_EVERY_S)
        if words == self._level:
            return
        self._level = words
        if words is None:
            yield from self._alerts.clear(ALERT)
        else:
            message = f"{words} ({share:.0%} used, {event.free_bytes >> 20} MiB free)"
            yield from self._alerts.raise_(ALERT, message, _HINT, now)
