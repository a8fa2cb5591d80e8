"""How the store is, is told: while it fails, and what it lost."""

import pytest

from bridge.core.alerts import Alerts
from bridge.core.domain_events import StoreWorks
from bridge.core.events import (
    CommandSaved,
    CommandSaveFailed,
    ReportSaved,
    ReportSaveFailed,
    StoreFailed,
    StoreOpened,
)
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.records.store_problem import StoreProblem
from bridge.core.store_alerts import StoreAlerts
from bridge.errors import StoreError, StoreFull
from tests.conftest import NOON
from tests.core.sessions.rows import REPORT, row
from tests.native import as_messages

NOW = Timestamp(NOON, 1.0)


class Desk:
    """The alerts of a store."""

    def __init__(self):
        self.alerts = Alerts()
        self.store = StoreAlerts(self.alerts)

    def take(self, event):
        """Return whether the store works by it, and what is told."""
        outputs = as_messages(self.store.handle(event, NOW))
        (works,) = [one.is_ok for one in outputs if isinstance(one, StoreWorks)]
        told = [one.payload.decode() for one in outputs if isinstance(one, Publish)]
        return works, told


@pytest.mark.parametrize(
    "good", [CommandSaved("k", "done"), ReportSaved(row(1), True), StoreOpened(())]
)
@pytest.mark.parametrize(
    "bad",
    [CommandSaveFailed("k", StoreFull("full", hint="free some")), StoreFailed("full", "free")],
)
def test_the_alert_stands_until_something_is_stored(good, bad):
    """With the store's own words."""
    desk = Desk()
    works, (told,) = desk.take(bad)
    assert not works
    assert "full" in told
    assert "free" in told
    assert desk.take(good) == (True, [""])
    assert desk.alerts.kinds == ()


def test_a_report_that_is_not_saved_has_an_alert_of_its_own():
    """Here is only noted that the store does not work."""
    assert Desk().take(ReportSaveFailed(REPORT, StoreError("full"))) == (False, [])


def test_what_was_lost_is_told():
    """In the store's words, an alert for each problem."""
    desk = Desk()
    problems = (
        StoreProblem("store_replaced", "it was set aside", "check the disk"),
        StoreProblem("reports_damaged", "2 stored rows", "look them up"),
    )
    works, told = desk.take(StoreOpened((), problems))
    assert works
    assert desk.alerts.kinds == ("store_replaced", "reports_damaged")
    assert "it was set aside" in told[0]
    assert "look them up" in told[1]
