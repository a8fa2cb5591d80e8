"""A cloud that counts differently from the charger must not bill anybody twice."""

from dataclasses import replace
from datetime import timedelta

from bridge.core.sessions.counter_reconciliation import reconcile_counters
from bridge.core.sessions.gaps import StoredSession
from tests.core.sessions.rows import HOUR, NOON, REPORT

KNOWN = [
    StoredSession(435, NOON, NOON + HOUR),
    StoredSession(436, NOON + 2 * HOUR, NOON + 3 * HOUR),
]
LISTED = replace(REPORT, started_at=NOON + timedelta(seconds=7), source="backfill")


def test_where_both_count_alike_everything_is_used():
    """Seconds of difference do not matter, new numbers are new sessions."""
    new = replace(LISTED, session_id=437, started_at=NOON + 5 * HOUR, ended_at=NOON + 6 * HOUR)

    assert reconcile_counters([LISTED, new], KNOWN) == ([LISTED, new], ())
    assert reconcile_counters([LISTED], []) == ([LISTED], ())


def test_where_the_cloud_counts_differently_the_charger_s_number_stands():
    """Known sessions are recognised by their times; what is not known is left out."""
    other = replace(LISTED, session_id=90_001)
    new = replace(LISTED, session_id=90_003, started_at=NOON + 5 * HOUR, ended_at=NOON + 6 * HOUR)

    assert reconcile_counters([other, new], KNOWN) == ([LISTED], (new,))
    known = replace(LISTED, started_at=NOON + 2 * HOUR, ended_at=NOON + 3 * HOUR, session_id=436)
    assert reconcile_counters([other, new, known], KNOWN) == ([LISTED, known], (new,))


def test_what_has_no_number_or_no_time_says_nothing_of_the_numbers():
    """It is compared with what is stored, by whoever stores it."""
    unnumbered = replace(LISTED, session_id=None)
    wrong = replace(LISTED, session_id=90_001, doubtful=("started_at",))

    assert reconcile_counters([unnumbered, wrong], KNOWN) == ([unnumbered, wrong], ())


def test_sessions_that_began_in_the_same_minute_are_two():
    """Somebody unplugged and plugged in again: they do not overlap."""
    first = StoredSession(435, NOON, NOON + timedelta(seconds=20))
    second = replace(
        LISTED,
        session_id=436,
        started_at=NOON + timedelta(seconds=50),
        ended_at=NOON + timedelta(seconds=80),
    )

    assert reconcile_counters([second], [first]) == ([second], ())


def test_a_counter_that_came_round_is_no_other_way_of_counting():
    """The same number months later is a new session of a replaced charger."""
    later = replace(LISTED, started_at=NOON + 5000 * HOUR, ended_at=NOON + 5001 * HOUR)

    assert reconcile_counters([later], KNOWN) == ([later], ())
