"""Who left the account: three whole lists in a quarter of an hour, and nothing less."""

from datetime import timedelta

import pytest

from bridge.core.records.moment import Timestamp
from bridge.core.sources.absence import EMPTY_FOR_S, MIN_INTERVAL_S, WINDOW_S, Absence
from tests.conftest import NOON

ONE, TWO = "EH123456", "EH123457"
BOTH = (ONE, TWO)


def lists(absence, *spoken, start=0.0, every=60.0, is_whole=True):
    """Take lists at regular times; return who left by which."""
    found = []
    for number, ids in enumerate(spoken):
        seconds = start + number * every
        now = Timestamp(NOON + timedelta(seconds=seconds), seconds)
        found.append(absence.listed(ids, BOTH, now, is_whole=is_whole))
    return found


@pytest.fixture
def absence():
    """Both chargers were listed once."""
    absence = Absence()
    lists(absence, BOTH, start=-60.0)
    return absence


def test_three_lists_without_a_charger_mean_that_it_left(absence):
    """The third says so, once; the second makes it doubtful."""
    assert lists(absence, (ONE,), (ONE,)) == [(), ()]
    assert absence.is_counting
    assert absence.doubtful == (TWO,)
    assert lists(absence, (ONE,), start=120.0) == [(TWO,)]
    assert not absence.is_counting
    assert lists(absence, (ONE,), start=180.0) == [()]


def test_a_list_with_it_in_between_starts_the_count_again(absence):
    """Only lists in a row prove anything."""
    assert lists(absence, (ONE,), (ONE,), BOTH, (ONE,), (ONE,)) == [()] * 5
    assert lists(absence, (ONE,), start=300.0) == [(TWO,)]


def test_lists_too_far_apart_prove_nothing(absence):
    """Three within a quarter of an hour; of slower ones the last three count."""
    assert lists(absence, *[(ONE,)] * 5, every=WINDOW_S) == [()] * 5
    assert lists(absence, *[(ONE,)] * 2, start=4 * WINDOW_S + 60.0) == [(), (TWO,)]


def test_what_is_said_twice_in_one_breath_counts_once(absence):
    """A hub that hints again and again makes us ask again and again."""
    assert lists(absence, *[(ONE,)] * 5, every=MIN_INTERVAL_S / 10) == [()] * 5


def test_a_list_that_was_not_read_whole_proves_nothing(absence):
    """The charger may be among the entries that were dropped; one that is there is there."""
    assert lists(absence, *[(ONE,)] * 5, is_whole=False) == [()] * 5
    assert not absence.is_counting
    lists(absence, (ONE,), (ONE,))
    lists(absence, BOTH, start=120.0, is_whole=False)
    assert not absence.is_counting


def test_an_empty_list_must_stand_for_ten_minutes(absence):
    """It looks like an outage; when nothing else comes for so long it is not one."""
    before = int(EMPTY_FOR_S / 60.0)
    assert lists(absence, *[()] * before) == [()] * before
    assert absence.doubtful == BOTH
    assert lists(absence, (), start=EMPTY_FOR_S) == [BOTH]


def test_an_outage_in_between_makes_the_time_begin_again(absence):
    """One list with a charger on it ends the emptiness."""
    lists(absence, *[()] * 9)
    lists(absence, BOTH, start=9 * 60.0)
    assert lists(absence, (), (), (), start=EMPTY_FOR_S) == [(), (), ()]


def test_who_was_never_listed_cannot_leave():
    """A configured charger may be one that the list does not show; a remembered one was shown."""
    absence = Absence()
    assert lists(absence, *[(ONE,)] * 5) == [()] * 5
    absence.remembered((TWO,))
    assert lists(absence, *[(ONE,)] * 3, start=300.0)[-1] == (TWO,)
