"""Two records are of one session when times, meters or energy say so, and never by the counter."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.records.session_identity import (
    DIFFERENT,
    EQUAL,
    LIKELY,
    SURE,
    is_again,
    likeness,
    report_key,
    supersedes,
)
from tests.core.sessions.rows import HOUR, NOON, REPORT

SECOND = timedelta(seconds=1)
Y2000 = datetime(2000, 1, 1, 0, 1, tzinfo=UTC)
# Nothing but the counter, the times and the energy.
PLAIN = replace(REPORT, meter_start_kwh=None, meter_stop_kwh=None, energy_kwh=5.0)
LISTED = replace(PLAIN, source="backfill", received_at=NOON + 9 * HOUR)
NO_START_FACTS = {"started_at": Y2000, "doubtful": ("started_at",)}
NO_START = replace(PLAIN, **NO_START_FACTS)
NO_STOP = replace(
    PLAIN, ended_at=NOON + 9999 * HOUR, doubtful=("ended_at",), placed_at=NOON + 2 * HOUR
)
NO_TIMES = replace(
    NO_START,
    ended_at=Y2000 + HOUR,
    doubtful=("started_at", "ended_at"),
    placed_at=NOON + 2 * HOUR,
)


def moved(report, by, **facts):
    """Return a report of another time."""
    times = {"started_at": report.started_at + by, "ended_at": report.ended_at + by}
    return replace(report, **{**times, **facts})


def metered(report, start_kwh):
    """Give a report meters that say what its energy says."""
    stop_kwh = start_kwh + report.energy_kwh
    return replace(report, meter_start_kwh=start_kwh, meter_stop_kwh=stop_kwh)


def test_the_key_is_the_charger_and_its_counter():
    """The start does not matter where there is a counter, and is the key where there is none."""
    assert report_key("EH1", 435, NOON) == report_key("EH1", 435, Y2000) == "EH1-435"
    assert report_key("EH1", None, NOON + SECOND / 9) == f"EH1-s{int(NOON.timestamp())}"


@pytest.mark.fault("F47", "F48")
@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # One counter, times that can be.
        (PLAIN, PLAIN, EQUAL),
        (PLAIN, replace(PLAIN, ended_at=NOON + 2 * HOUR, energy_kwh=6.0), SURE),
        (PLAIN, replace(PLAIN, energy_kwh=4.0), SURE),
        (PLAIN, moved(PLAIN, HOUR), LIKELY),
        (PLAIN, moved(PLAIN, HOUR, energy_kwh=6.0), LIKELY),
        (PLAIN, moved(PLAIN, HOUR, energy_kwh=4.0), DIFFERENT),
        (PLAIN, moved(PLAIN, 2 * HOUR), DIFFERENT),
        (PLAIN, moved(PLAIN, HOUR + 9 * SECOND), DIFFERENT),
        (PLAIN, replace(PLAIN, session_id=436), DIFFERENT),
        # The cloud's list beside it.
        (PLAIN, moved(LISTED, 9 * SECOND), SURE),
        (PLAIN, moved(LISTED, HOUR - 9 * SECOND, energy_kwh=3.0), DIFFERENT),
        (PLAIN, moved(LISTED, HOUR + 30 * SECOND), LIKELY),
        (PLAIN, moved(LISTED, HOUR + 61 * SECOND), DIFFERENT),
        (PLAIN, moved(LISTED, 3 * HOUR), DIFFERENT),
        # A start that cannot be.
        (NO_START, LISTED, SURE),
        (NO_START, replace(LISTED, energy_kwh=4.9), SURE),
        (NO_START, moved(LISTED, -2 * HOUR), DIFFERENT),
        (NO_START, moved(LISTED, 2 * HOUR), DIFFERENT),
        (NO_START, replace(NO_START, energy_kwh=5.5), SURE),
        # Its neighbour's, listed with a start that cannot be either.
        (
            NO_START,
            replace(NO_START, ended_at=NOON + HOUR - 76 * SECOND, energy_kwh=9.0),
            DIFFERENT,
        ),
        (
            NO_START,
            replace(LISTED, **NO_START_FACTS, ended_at=NOON + HOUR - 76 * SECOND, energy_kwh=9.0),
            DIFFERENT,
        ),
        (NO_START, replace(LISTED, **NO_START_FACTS, ended_at=NOON + HOUR - 76 * SECOND), LIKELY),
        (replace(NO_START, ended_at=NOON + HOUR + 40 * SECOND, energy_kwh=3.0), PLAIN, DIFFERENT),
        (replace(NO_START, ended_at=NOON - 30 * SECOND, measured_at=NOON), PLAIN, DIFFERENT),
        (replace(NO_START, ended_at=NOON + HOUR + 180 * SECOND), LISTED, LIKELY),
        # A stop that cannot be.
        (replace(NO_STOP, started_at=NOON + HOUR + 30 * SECOND), LISTED, LIKELY),
        (replace(NO_STOP, started_at=NOON - 10 * SECOND, energy_kwh=3.0), LISTED, SURE),
        (replace(NO_STOP, started_at=NOON - 40 * SECOND, energy_kwh=3.0), LISTED, DIFFERENT),
        (NO_STOP, replace(NO_STOP, started_at=NOON + 5 * HOUR, energy_kwh=3.0), DIFFERENT),
        (NO_STOP, LISTED, SURE),
        (NO_STOP, moved(LISTED, -2 * HOUR), DIFFERENT),
        (NO_STOP, replace(NO_STOP, energy_kwh=5.5), SURE),
        # Neither can be.
        (NO_TIMES, LISTED, LIKELY),
        (NO_TIMES, replace(LISTED, energy_kwh=4.0), DIFFERENT),
        (NO_TIMES, moved(LISTED, 5 * HOUR), DIFFERENT),
        (NO_TIMES, replace(NO_TIMES, energy_kwh=6.0, ended_at=Y2000 + 2 * HOUR), LIKELY),
        (NO_TIMES, replace(NO_TIMES, energy_kwh=3.0, ended_at=Y2000 + 2 * HOUR), DIFFERENT),
    ],
)
def test_one_counter_is_one_session_or_not(one, other, expected):
    """Cases A4 and A5, and it does not matter which came first."""
    assert likeness(one, other) == expected
    assert bool(likeness(other, one)) == bool(expected)


@pytest.mark.fault("F48")
@pytest.mark.parametrize("one", [PLAIN, NO_START, NO_STOP, NO_TIMES])
@pytest.mark.parametrize("other", [PLAIN, NO_START, NO_STOP, NO_TIMES])
def test_meters_that_follow_each_other_are_two_sessions(one, other):
    """A counter that stands still and a wrong clock deceive; the meter does not go back."""
    later = metered(replace(other, energy_kwh=7.0), 105.0)

    assert likeness(metered(one, 100.0), later) == DIFFERENT


@pytest.mark.parametrize("one", [PLAIN, NO_START, NO_STOP, NO_TIMES])
def test_meters_that_overlap_are_one_session_where_no_time_says_otherwise(one):
    """A correction of a session whose clock was wrong, told with the right one."""
    grown = metered(replace(PLAIN, energy_kwh=7.0), 100.0)

    assert likeness(metered(one, 100.0), grown)
    assert not likeness(metered(PLAIN, 100.0), moved(grown, 5000 * HOUR))


def test_a_session_without_energy_is_told_apart_by_its_times():
    """Its meter stands where the one before stopped."""
    nothing = metered(moved(PLAIN, 3 * HOUR, energy_kwh=0.0), 105.0)

    assert not likeness(metered(PLAIN, 100.0), nothing)
    assert likeness(nothing, replace(nothing, auth="x", measured_at=NOON))


def test_a_session_without_energy_is_corrected_like_any_other():
    """Meters that did not move say nothing, so the times decide."""
    nothing = metered(replace(PLAIN, energy_kwh=0.0), 105.0)

    assert likeness(nothing, replace(nothing, ended_at=NOON + 2 * HOUR)) == SURE


def test_meters_that_contradict_the_energy_say_nothing():
    """One of them was read wrongly: the times decide."""
    odd = replace(PLAIN, meter_start_kwh=200.0, meter_stop_kwh=300.0, energy_kwh=6.0)

    assert likeness(metered(PLAIN, 100.0), odd) == SURE


def test_a_session_of_seconds_is_told_by_its_times():
    """Both sources agree to the minute, and that is more than the session lasted."""
    short = replace(PLAIN, ended_at=NOON + 30 * SECOND)
    listed = moved(replace(LISTED, ended_at=short.ended_at, energy_kwh=4.0), 9 * SECOND)

    assert likeness(short, listed) == likeness(listed, short) == SURE
    assert not likeness(short, replace(listed, ended_at=NOON + 6 * HOUR))


def test_of_two_sessions_of_seconds_the_list_s_is_not_the_next_one():
    """The list's times overlap those of the next session by what the sources disagree."""
    next_one = replace(PLAIN, ended_at=NOON + 49 * SECOND, energy_kwh=40.0)
    times = {"started_at": NOON - 35 * SECOND, "ended_at": NOON + 7 * SECOND}
    listed = replace(LISTED, **times)

    assert likeness(next_one, listed) == likeness(listed, next_one) == DIFFERENT
    assert likeness(next_one, replace(listed, energy_kwh=40.0)) == LIKELY


def test_two_starts_of_a_clock_that_was_never_set_are_two_sessions():
    """A counter that stands still and a clock that began again: more energy proves nothing."""
    later = replace(NO_TIMES, started_at=Y2000 + 5 * HOUR, ended_at=Y2000 + 6 * HOUR)

    assert likeness(NO_TIMES, replace(later, energy_kwh=6.0)) == DIFFERENT


def test_energy_alone_names_no_session_that_was_told_before_it_ended_or_is_empty():
    """Without counter and times the energy is all there is, and 0 kWh are many sessions'."""
    bare = replace(NO_TIMES, session_id=None)
    for one, other in ((bare, LISTED), (LISTED, bare)):
        assert likeness(one, other)
    for one, other in (
        (bare, moved(LISTED, 5 * HOUR)),
        (replace(bare, energy_kwh=0.0), replace(LISTED, energy_kwh=0.0)),
    ):
        assert not likeness(one, other)
        assert not likeness(other, one)


def test_without_a_counter_only_times_that_agree_make_one_session():
    """Seconds of disagreement are one session; sessions that do not overlap are two."""
    bare = replace(PLAIN, session_id=None)
    short = replace(bare, ended_at=NOON + 10 * SECOND)

    assert likeness(bare, moved(LISTED, 9 * SECOND))
    assert not likeness(bare, moved(PLAIN, 61 * SECOND))
    assert not likeness(short, moved(short, 20 * SECOND))
    assert likeness(replace(NO_START, session_id=None), LISTED)
    assert likeness(replace(NO_STOP, session_id=None), LISTED)
    assert likeness(replace(NO_TIMES, session_id=None), LISTED)  # the energy, to the last digit
    assert not likeness(replace(NO_TIMES, session_id=None), replace(LISTED, energy_kwh=4.99))
    by_meter = metered(replace(NO_TIMES, session_id=None), 100.0)
    assert likeness(by_meter, metered(PLAIN, 100.0))
    assert not likeness(metered(bare, 100.0), metered(moved(PLAIN, SECOND), 200.0))


def test_what_is_told_later_counts_and_first_hand_counts_more():
    """Case A3: a stamp from the future never outranks a later arrival."""
    later = replace(PLAIN, measured_at=NOON + 3 * HOUR)
    ahead = replace(PLAIN, measured_at=NOON + 9999 * HOUR, ranked_at=NOON + 2 * HOUR)

    assert supersedes(later, PLAIN)
    assert not supersedes(PLAIN, later)
    assert supersedes(later, ahead)
    assert not supersedes(LISTED, PLAIN)
    assert supersedes(PLAIN, LISTED)


def test_the_list_counts_more_where_a_session_went_on_after_the_charger_told_of_it():
    """Its correction was lost; a few seconds and a rounding are no correction."""
    on = replace(LISTED, ended_at=NOON + 2 * HOUR, energy_kwh=9.0)

    assert supersedes(on, PLAIN)
    assert not supersedes(PLAIN, on)
    assert supersedes(replace(PLAIN, ended_at=NOON + 2 * HOUR, energy_kwh=9.0), on)
    for change in ({"energy_kwh": 5.01}, {"ended_at": NOON + HOUR}, {"doubtful": ("ended_at",)}):
        assert not supersedes(replace(on, **change), PLAIN)
        assert supersedes(PLAIN, replace(on, **change))


def test_a_repetition_with_a_stamp_from_the_future_takes_nothing_away():
    """It may be the record from before a correction; more energy is one itself."""
    ahead = replace(PLAIN, measured_at=NOON + 9999 * HOUR, ranked_at=NOON + 5 * HOUR)
    corrected = replace(PLAIN, measured_at=NOON + 3 * HOUR, energy_kwh=6.0)

    assert not supersedes(ahead, corrected)
    assert supersedes(replace(ahead, energy_kwh=7.0), corrected)


@pytest.mark.fault("F47")
def test_a_right_stamp_counts_whenever_it_comes():
    """Case A3: the correction came late, and was told before what had no right stamp arrived."""
    for stamp in (NOON + 9999 * HOUR, NOON + 5 * HOUR):  # ahead, and none
        held = replace(PLAIN, measured_at=stamp, ranked_at=NOON + 5 * HOUR)
        corrected = replace(PLAIN, measured_at=NOON + 2 * HOUR, received_at=NOON + 6 * HOUR)

        assert supersedes(replace(corrected, energy_kwh=6.0), held)
        assert supersedes(replace(corrected, energy_kwh=4.0), held)
        before = replace(corrected, energy_kwh=4.0, measured_at=NOON + HOUR / 2)
        assert not supersedes(before, held)


def test_without_a_stamp_less_energy_is_a_repetition():
    """Nobody can say what was told first."""
    bare = replace(PLAIN, measured_at=NOON + 5 * HOUR, ranked_at=NOON + 5 * HOUR)
    later = replace(bare, measured_at=NOON + 6 * HOUR, ranked_at=NOON + 6 * HOUR)

    assert supersedes(replace(later, energy_kwh=6.0), bare)
    assert not supersedes(replace(later, energy_kwh=4.0), bare)
    assert not supersedes(replace(later, energy_kwh=4.0), PLAIN)


spans = st.tuples(st.integers(0, 200), st.integers(1, 100))


@given(spans, spans, st.integers(1, 9), st.integers(1, 9))
def test_of_one_charger_s_mouth_sessions_apart_are_two_and_overlapping_ones_are_one(a, b, x, y):
    """Contract 6, whatever the times and energies are."""
    one, other = (
        replace(
            PLAIN,
            started_at=NOON + start * HOUR,
            ended_at=NOON + (start + length) * HOUR,
            energy_kwh=float(kwh),
        )
        for (start, length), kwh in ((a, x), (b, y))
    )
    overlap = min(one.ended_at, other.ended_at) - max(one.started_at, other.started_at)

    shorter = min(one.ended_at - one.started_at, other.ended_at - other.started_at)
    earlier, later = sorted((one, other), key=lambda report: report.ended_at)

    if overlap < timedelta():
        assert not likeness(one, other)
    elif overlap > timedelta() and overlap >= shorter / 2:
        assert likeness(one, other)
    elif earlier.ended_at < later.ended_at:
        assert bool(likeness(one, other)) is (later.energy_kwh >= earlier.energy_kwh)


def test_an_observation_told_again_is_the_session_the_list_mended():
    """Its clock still says 2000; times that can be on both sides say more."""
    mended = replace(NO_TIMES, started_at=NOON, ended_at=NOON + HOUR, doubtful=(), placed_at=None)

    assert likeness(mended, NO_TIMES) == EQUAL
    assert likeness(replace(mended, session_id=None), NO_TIMES) == EQUAL
    assert likeness(PLAIN, moved(PLAIN, 3 * HOUR)) == DIFFERENT
    other = replace(NO_TIMES, started_at=Y2000 + 9 * HOUR, ended_at=Y2000 + 19 * HOUR)
    assert likeness(NO_TIMES, other) != EQUAL


@pytest.mark.fault("F47")
def test_a_time_that_lay_ahead_is_no_other_session_when_it_comes():
    """The list mended it; days later the clock's time can be, and the stamp tells it again."""
    ahead = replace(PLAIN, measured_at=NOON + 9999 * HOUR, ranked_at=NOON + 2 * HOUR)
    again = moved(ahead, 72 * HOUR, ranked_at=NOON + 80 * HOUR)

    assert likeness(ahead, again) == EQUAL
    bare, bare_again = (replace(one, measured_at=one.ranked_at) for one in (ahead, again))
    assert likeness(bare, bare_again) == EQUAL  # neither had a stamp
    assert not likeness(ahead, replace(again, energy_kwh=5.1))
    assert not likeness(ahead, replace(again, measured_at=NOON + 9998 * HOUR))
    assert not likeness(ahead, replace(again, ended_at=again.ended_at + HOUR))
    assert not likeness(PLAIN, moved(PLAIN, 72 * HOUR))


def test_a_repetition_shares_a_time_where_nothing_else_names_the_session():
    """Without a number and meters one time told alike is enough, and none is not."""
    nameless = replace(NO_TIMES, session_id=None)
    assert is_again(nameless, replace(nameless, started_at=Y2000 - HOUR))
    assert is_again(nameless, replace(nameless, ended_at=Y2000 + 2 * HOUR))
    assert not is_again(nameless, moved(nameless, HOUR))
    plain = replace(PLAIN, session_id=None)
    assert not is_again(plain, plain)  # nothing is wrong with its times: they are compared


def test_a_repetition_has_one_number_and_one_stamp_or_none():
    """One of the two may have come when its stamp did not lie ahead any more."""
    ahead = replace(PLAIN, measured_at=NOON + 99 * HOUR, ranked_at=NOON + 2 * HOUR)
    assert is_again(ahead, replace(ahead, ranked_at=None))
    assert not is_again(NO_TIMES, replace(NO_TIMES, session_id=436))
    bare = replace(NO_TIMES, measured_at=NOON + 9 * HOUR, ranked_at=NOON + 9 * HOUR)
    assert is_again(bare, replace(bare, measured_at=NOON, ranked_at=NOON))
    assert not is_again(bare, NO_TIMES)


def test_without_a_counter_a_start_alone_names_a_session_of_the_same_energy():
    """Neither the start nor the energy is enough by itself."""
    nameless = replace(NO_STOP, session_id=None)
    assert likeness(nameless, LISTED) == SURE
    assert likeness(replace(nameless, energy_kwh=3.0), LISTED) == DIFFERENT
    assert likeness(replace(nameless, started_at=NOON - 120 * SECOND), LISTED) == DIFFERENT


def test_an_energy_of_less_than_a_kilowatt_hour_names_a_session_too():
    """Without counter, times and meters the list's energy is the charger's to the last digit."""
    nameless = replace(NO_TIMES, session_id=None, energy_kwh=0.5)
    assert likeness(nameless, replace(LISTED, energy_kwh=0.5)) == SURE


def at(start_s, end_s, report=PLAIN, **facts):
    """Return a report of other times, in seconds after noon."""
    times = {"started_at": NOON + start_s * SECOND, "ended_at": NOON + end_s * SECOND}
    return replace(report, **times, **facts)


NAMELESS = replace(LISTED, session_id=None)
LOST = replace(NO_TIMES, session_id=None)
LESS = {"energy_kwh": 3.0}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # Half of the shorter one is shared, or less.
        (PLAIN, at(1800, 5400, energy_kwh=4.0), SURE),
        (PLAIN, at(2160, 5760, energy_kwh=4.0), DIFFERENT),
        (at(0, 40), at(20, 60, NAMELESS), SURE),
        (at(0, 40), at(24, 64, NAMELESS), DIFFERENT),
        # One second of one clock.
        (PLAIN, at(3601, 7200, energy_kwh=6.0), LIKELY),
        (at(0, 10), at(9, 11, energy_kwh=4.0), DIFFERENT),
        # Short ones: starts within a minute, ends within five of the list's and one of one clock.
        (at(0, 90), at(60, 90, LISTED, energy_kwh=4.0), SURE),
        (at(0, 30), at(0, 330, LISTED, energy_kwh=4.0), SURE),
        (at(0, 1, energy_kwh=6.0), at(0, 61), SURE),
        (at(0, 1, energy_kwh=6.0), at(0, 100), DIFFERENT),
        # Without a counter.
        (PLAIN, at(60, 3600, NAMELESS), SURE),
        (replace(NO_STOP, session_id=None), at(60, 3600, LISTED), SURE),
        (replace(NO_START, session_id=None), at(0, 3900, LISTED), SURE),
        (replace(NO_START, session_id=None), at(0, 7200, LISTED), DIFFERENT),
        (metered(LOST, 100.0), metered(replace(LISTED, energy_kwh=4.9), 100.0), SURE),
        (LOST, at(5400, 7500, LISTED), SURE),
        (replace(LOST, energy_kwh=0.001), replace(LISTED, energy_kwh=0.002), SURE),
        # One time on both sides.
        (NO_STOP, replace(NO_STOP, started_at=NOON + 20 * SECOND, **LESS), SURE),
        (NO_START, replace(NO_START, ended_at=NOON + HOUR + 20 * SECOND, **LESS), SURE),
        # An end beside a whole session.
        (replace(NO_START, ended_at=NOON - SECOND, measured_at=NOON), PLAIN, LIKELY),
        (replace(NO_START, ended_at=NOON + 30 * SECOND), LISTED, LIKELY),
        (replace(NO_START, ended_at=NOON + 30 * SECOND, **LESS), LISTED, DIFFERENT),
        (replace(NO_START, ended_at=NOON + 60 * SECOND, **LESS), LISTED, DIFFERENT),
        (replace(NO_START, ended_at=NOON + HOUR + 20 * SECOND, **LESS), LISTED, SURE),
        (replace(NO_START, ended_at=NOON + HOUR + 120 * SECOND, measured_at=NOON), PLAIN, LIKELY),
        (replace(NO_START, ended_at=NOON + HOUR + 300 * SECOND), LISTED, LIKELY),
        # A start beside a whole session.
        (replace(NO_STOP, started_at=NOON - 20 * SECOND, **LESS), LISTED, SURE),
        (replace(NO_STOP, started_at=NOON + HOUR - 60 * SECOND, **LESS), LISTED, DIFFERENT),
        (replace(NO_STOP, started_at=NOON + HOUR + 60 * SECOND), LISTED, LIKELY),
        # Neither: not told five minutes before it ended, one default, one duration, one energy.
        (NO_TIMES, at(5400, 7500, LISTED), LIKELY),
        (
            NO_TIMES,
            replace(NO_TIMES, started_at=Y2000 + SECOND, ended_at=Y2000 + 2 * HOUR, energy_kwh=6.0),
            LIKELY,
        ),
        (
            NO_TIMES,
            replace(NO_TIMES, started_at=Y2000 + 5 * HOUR, ended_at=Y2000 + 6 * HOUR + 60 * SECOND),
            EQUAL,
        ),
        (replace(NO_TIMES, energy_kwh=0.0), replace(LISTED, energy_kwh=0.02), LIKELY),
        # Meters: a watt-hour is nothing, and ten contradict an energy.
        (metered(replace(PLAIN, energy_kwh=0.001), 0.0), metered(PLAIN, 0.0), SURE),
        (
            metered(replace(NO_TIMES, energy_kwh=0.001), 0.0),
            metered(replace(NO_TIMES, started_at=Y2000 + 9 * HOUR), 0.0),
            DIFFERENT,
        ),
        (metered(replace(PLAIN, energy_kwh=0.0), 105.0), metered(PLAIN, 100.0), SURE),
        (metered(replace(PLAIN, energy_kwh=0.0), 0.001), metered(PLAIN, -5.0), SURE),
        (
            replace(PLAIN, energy_kwh=0.0, meter_start_kwh=0.0, meter_stop_kwh=0.01),
            metered(PLAIN, 5.0),
            DIFFERENT,
        ),
    ],
)
def test_a_limit_belongs_to_what_it_limits(one, other, expected):
    """What is compared with a limit is compared with all of it."""
    assert likeness(one, other) == expected
    assert bool(likeness(other, one)) == bool(expected)


FUTURE = NOON + 9999 * HOUR
RANKED = replace(PLAIN, measured_at=FUTURE, ranked_at=NOON + 2 * HOUR)


@pytest.mark.parametrize(
    ("report", "held", "expected"),
    [
        (RANKED, PLAIN, True),  # no less
        (replace(RANKED, energy_kwh=4.0), RANKED, True),
        (
            replace(RANKED, energy_kwh=4.0, measured_at=NOON + 9 * HOUR, ranked_at=NOON + 9 * HOUR),
            RANKED,
            False,  # it has no stamp
        ),
        (replace(PLAIN, energy_kwh=4.0), RANKED, True),
        (at(0, 7200, LISTED, energy_kwh=60.0), replace(PLAIN, energy_kwh=59.8), False),
        (at(0, 3620, LISTED, energy_kwh=9.0), PLAIN, False),
        (at(0, 7200, LISTED, energy_kwh=0.02), replace(PLAIN, energy_kwh=0.0), False),
    ],
)
def test_a_limit_decides_whose_word_counts(report, held, expected):
    """Equal energy is no less, and what the list rounds is no session that went on."""
    assert supersedes(report, held) is expected
