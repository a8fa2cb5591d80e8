"""Alerts about the store: it fails, or a part of what it held is lost."""

from collections.abc import Iterator

from bridge.core.alerts import Alerts
from bridge.core.domain_events import NOTHING, Input, Output, Outputs, StoreWorks
from bridge.core.events import (
    CommandSaved,
    CommandSaveFailed,
    ReportSaved,
    ReportSaveFailed,
    StoreFailed,
    StoreOpened,
)
from bridge.core.records.moment import Timestamp

ALERT = "storage"


class StoreAlerts:
    """Raise and clear the alerts about the store.

    Args:
        alerts: The alerts to raise them in.
    """

    name = "store"
    interests = frozenset(
        {StoreOpened, StoreFailed, CommandSaved, CommandSaveFailed, ReportSaved, ReportSaveFailed}
    )

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle the results of writing and opening."""
        match event:
            case CommandSaved() | ReportSaved():
                return self._works()
            case CommandSaveFailed(_, error):
                return self._fails(str(error), error.hint, now)
            case StoreFailed(message, hint):
                return self._fails(message, hint, now)
            case ReportSaveFailed():  # its alert comes with the report
                return (StoreWorks(is_ok=False),)
            case StoreOpened():
                return self._opened(event, now)
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""

    def _works(self) -> Iterator[Output]:
        yield StoreWorks(is_ok=True)
        yield from self._alerts.clear(ALERT)

    def _fails(self, message: str, hint: str, now: Timestamp) -> Iterator[Output]:
        yield StoreWorks(is_ok=False)
        yield from self._alerts.raise_(ALERT, message, hint, now)

    def _opened(self, event: StoreOpened, now: Timestamp) -> Iterator[Output]:
        yield from self._works()
        for problem in event.problems:
            yield from self._alerts.raise_(problem.kind, problem.message, problem.hint, now)
