"""Sessions whose times cannot be are named until they are known, for a week at most."""

from dataclasses import replace
from datetime import timedelta

from msgspec import structs

from bridge.core.alerts import MAX_NAMED, Alerts
from bridge.core.records.moment import Timestamp
from bridge.core.sessions.suspects import NAMED_FOR, Suspects
from tests.core.sessions.rows import NOON, row
from tests.native import publishes

NOW = Timestamp(NOON + timedelta(days=1), 1000.0)


def odd(number):
    """A row whose stop cannot be."""
    stored = row(number)
    return structs.replace(stored, report=replace(stored.report, doubtful=("ended_at",)))


def said(effects):
    """The payloads of the alert."""
    return [effect.payload for effect in publishes(effects)]


def test_it_is_named_until_its_times_are_known():
    """Cases A1 and A4: and an alert that nothing changed is not repeated."""
    alerts = Alerts()
    suspects = Suspects(alerts)
    assert said(suspects.saved([row(1)], NOW)) == []
    (told,) = said(suspects.saved([odd(2), row(3)], NOW))
    assert b"EH123456-2" in told
    assert said(suspects.saved([odd(2)], NOW)) == []
    assert not alerts.has_trouble

    assert said(suspects.saved([row(2)], NOW)) == [b""]


def test_it_is_let_go_after_a_week_by_a_clock_that_can_be_believed():
    """Nobody can do anything about it any more; the report says it for good."""
    suspects = Suspects(Alerts())
    list(suspects.saved([odd(2)], NOW))
    later = NOW.wall + NAMED_FOR
    assert said(suspects.tick(Timestamp(later, 2000.0, trusted=False))) == []

    assert said(suspects.tick(Timestamp(later, 2000.0))) == [b""]


def test_many_are_counted():
    """The newest are named."""
    suspects = Suspects(Alerts())
    (told,) = said(suspects.saved([odd(n) for n in range(1, MAX_NAMED + 4)], NOW))

    assert b"EH123456-13" in told
    assert b"and 3 more" in told
