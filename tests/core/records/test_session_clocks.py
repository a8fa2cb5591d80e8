"""Times that cannot be are told from those that can."""

from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.records.session_clocks import (
    A_YEAR,
    AHEAD,
    before_first,
    impossible,
    is_default,
    latest,
)
from tests.core.sessions.rows import HOUR, NOON

BOTH = ("started_at", "ended_at")
NOW = NOON + 5 * HOUR


@pytest.mark.parametrize("year", [1, 1970, 1980, 2000, 2001, 2010, 2017, 2020])
def test_the_defaults_of_clocks_are_known(year):
    """Case A4: the New Year's Days that clocks begin with; a start on one spoils no right stop."""
    default = datetime(year, 1, 1, 0, 3, tzinfo=UTC)

    assert is_default(default)
    assert impossible(default, NOON, NOW) == ("started_at",)
    assert impossible(default, default + timedelta(days=3), NOW) == BOTH
    assert impossible(default, None, NOW) == ("started_at",)


def test_other_days_are_days():
    """The 31st of December 2019 and the 2nd of January 2020 are days like any other."""
    for day in (datetime(2019, 12, 31, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC)):
        assert not is_default(day)
    assert impossible(NOON, NOON + HOUR, NOW) == ()
    assert impossible(NOON, None, NOW) == ()


def test_nothing_lies_ahead_of_its_arrival():
    """Cases A1 and A2: by more than two clocks differ."""
    assert impossible(NOON, NOW + AHEAD, NOW) == ()
    assert impossible(NOON, NOW + timedelta(days=3), NOW) == ("ended_at",)
    assert impossible(NOW + timedelta(days=3), NOON, NOW) == ("started_at",)
    assert impossible(NOW + HOUR, NOW + 2 * HOUR, NOW) == BOTH
    assert impossible(NOW + HOUR, NOW + 2 * HOUR, None) == ()


def test_a_session_goes_forward_and_lasts_less_than_a_year():
    """Case A2: a start behind its stop is no reason to refuse."""
    assert impossible(NOON + HOUR, NOON, NOW) == BOTH
    assert impossible(NOON - A_YEAR, NOON + HOUR, NOW) == ("started_at",)


def test_what_lies_a_year_before_the_first_session_cannot_be():
    """Case A4: and a charger without a first session has none before it."""
    early = NOON - A_YEAR - HOUR

    assert before_first(early, NOON, NOON) == ("started_at",)
    assert before_first(early, early + HOUR / 2, NOON) == BOTH
    assert before_first(early, early, None) == before_first(NOON, NOON, NOON) == ()


def test_nothing_told_lies_ahead_of_its_stamp_and_its_arrival():
    """As far as either can be believed: waiting makes no time right."""
    default = datetime(2000, 1, 1, tzinfo=UTC)
    assert latest(NOON, NOW, trusted=True) == NOON
    assert latest(NOW + HOUR, NOW, trusted=True) == NOW
    assert latest(NOON, NOW, trusted=False) == NOON
    assert latest(default, NOW, trusted=True) == NOW
    assert latest(default, NOW, trusted=False) is None
