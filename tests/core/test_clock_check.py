"""A clock is doubted when somebody with a better one says so, and only then."""

from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.clock_check import TOLERANCE_S, ServerClock

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
NOON_S = NOON.timestamp()


def test_nothing_told_contradicts_nobody():
    """A cloud that names no time leaves the clock as it was."""
    assert not ServerClock().disagrees(0.0, 10.0)
    assert ServerClock().ahead_s(NOON_S, 10.0) == 0.0


@pytest.mark.parametrize("off_s", [-TOLERANCE_S, -3.0, 0.0, 3.0, TOLERANCE_S])
def test_a_few_minutes_are_granted(off_s):
    """What two clocks may differ by is no contradiction."""
    reference = ServerClock()
    reference.update(NOON, 10.0)

    assert not reference.disagrees(NOON_S + off_s, 10.0)


@pytest.mark.parametrize("off_s", [-3600.0, -301.0, 301.0, 86400.0])
def test_more_is_not(off_s):
    """Slow or fast; the last word counts, and it is carried on."""
    reference = ServerClock()
    reference.update(NOON - timedelta(days=1), 10.0)
    reference.update(NOON, 10.0)

    assert reference.disagrees(NOON_S + off_s, 10.0)
    assert reference.disagrees(NOON_S + off_s + 500.0, 510.0)
    assert reference.ahead_s(NOON_S + off_s + 500.0, 510.0) == off_s


def test_a_clock_that_is_set_right_is_believed_again():
    """Nobody has to be asked for it: what was told goes on."""
    reference = ServerClock()
    reference.update(NOON, 10.0)

    assert reference.disagrees(NOON_S - 3600.0, 20.0)
    assert not reference.disagrees(NOON_S + 15.0, 25.0)


def test_the_time_that_was_told_goes_on():
    """It tells what time it is now; before anything was told nobody knows."""
    reference = ServerClock()
    assert reference.now(10.0) is None

    reference.update(NOON, 10.0)
    assert reference.now(70.0) == NOON + timedelta(minutes=1)
