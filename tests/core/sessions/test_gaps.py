"""What is missing between known numbers is found, and nothing else is said to be."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.sessions.gaps import MAX_GAP, Gap, StoredSession, format_ranges, gaps
from tests.core.sessions.rows import HOUR, NOON


def known(number, hour=None):
    """A session that ended some hours after noon; by default as many as its number."""
    end = NOON + (number if hour is None else hour) * HOUR
    return StoredSession(number, end - HOUR / 2, end)


def test_a_gap_says_which_numbers_and_between_which_moments():
    """So the cloud can be asked for just that period."""
    assert gaps([known(5), known(9), known(4)]) == (Gap(6, 8, NOON + 5 * HOUR, NOON + 8.5 * HOUR),)


def test_nothing_is_missing_before_the_first_or_after_the_last():
    """What was before we came is not ours to miss."""
    assert gaps([]) == gaps([known(435)]) == gaps([known(435), known(436)]) == ()


def test_a_reset_counter_is_no_gap():
    """435, then 1 and 2: the charger was replaced; 2 to 4 is missing 3."""
    rows = [known(434), known(435), known(1, 500), known(2, 501), known(4, 503)]

    assert [(gap.first, gap.last) for gap in gaps(rows)] == [(3, 3)]


def test_a_counter_that_was_set_is_no_gap():
    """A jump no charger makes by charging is not a list of a million missing sessions."""
    assert gaps([known(1), known(MAX_GAP + 3, 9)]) == ()
    assert len(gaps([known(1), known(MAX_GAP + 2, 9)])) == 1


def test_a_number_known_from_another_time_is_not_missing():
    """A charger whose clock was wrong for one session reported it all the same."""
    wrong = StoredSession(435, NOON - timedelta(days=9000), NOON - timedelta(days=9000))

    assert gaps([known(434), known(436), wrong]) == ()


def test_numbers_are_spelled_as_people_do():
    """Neighbours are joined."""
    assert format_ranges([442, 440, 437, 441]) == "437, 440-442"
    assert format_ranges([]) == ""


@given(st.sets(st.integers(0, 40), min_size=1), st.sets(st.integers(0, 40)))
def test_of_a_counter_that_only_rises_exactly_what_is_missing_is_found(all_of, lost):
    """Whatever was lost, in whatever runs."""
    here = all_of - lost or all_of
    found = [number for gap in gaps(map(known, here)) for number in gap.numbers]

    assert found == [n for n in range(min(here), max(here)) if n not in here]
