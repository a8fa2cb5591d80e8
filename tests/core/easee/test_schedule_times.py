"""When a schedule lets the charger charge, over both changes of the clock in a year."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.schedule_times import (
    UNKNOWN,
    Standing,
    is_zone,
    merged_periods,
    standing,
    zone,
)
from bridge.core.easee.schedules import Period, Schedule, Schedules

OSLO = "Europe/Oslo"
ZONES = ("Europe/Oslo", "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")


def at(text):
    """Read a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def night(start="22:00", stop="06:00", zone_name=OSLO, **days):
    """Make a daily schedule that is in force, or a weekly one."""
    minutes = [int(text[:2]) * 60 + int(text[3:]) for text in (start, stop)]
    schedule = Schedule(zone_name, (Period(*minutes, 16, **days),), enabled=True)
    return Schedules("weekly", weekly=schedule) if days else Schedules("daily", daily=schedule)


@pytest.mark.parametrize(
    ("schedules", "now", "in_period", "next_start", "next_stop"),
    [
        # Winter: 22:00 is 21:00 UTC.
        (night(), "2026-11-22T12:00", False, "2026-11-22T21:00", "2026-11-23T05:00"),
        (night(), "2026-11-22T21:00", True, "2026-11-23T21:00", "2026-11-23T05:00"),
        (night(), "2026-11-23T05:00", False, "2026-11-23T21:00", "2026-11-24T05:00"),
        # The night of the 29th of March is an hour shorter.
        (night(), "2026-03-28T22:00", True, "2026-03-29T20:00", "2026-03-29T04:00"),
        (night(), "2026-03-29T12:00", False, "2026-03-29T20:00", "2026-03-30T04:00"),
        # The night of the 25th of October is an hour longer.
        (night(), "2026-10-24T21:00", True, "2026-10-25T21:00", "2026-10-25T05:00"),
        (night(), "2026-10-24T12:00", False, "2026-10-24T20:00", "2026-10-25T05:00"),
        # 02:30 does not exist on the 29th of March: an hour later by the clock, as RFC 5545 says.
        (
            night("02:30", "04:00"),
            "2026-03-28T12:00",
            False,
            "2026-03-29T01:30",
            "2026-03-29T02:00",
        ),
        # 02:30 comes twice on the 25th of October: the first of the two.
        (
            night("02:30", "04:00"),
            "2026-10-24T12:00",
            False,
            "2026-10-25T00:30",
            "2026-10-25T03:00",
        ),
        # What the change leaves nothing of does not take place: the next one is a day later.
        (
            night("02:15", "02:45", "America/New_York"),
            "2026-03-08T12:00",
            False,
            "2026-03-09T06:15",
            "2026-03-09T06:45",
        ),
        (
            night("08:00", "10:00", "UTC", first_day=6, last_day=0),
            "2026-11-22T12:00",
            True,
            "2026-11-29T08:00",
            "2026-11-23T10:00",
        ),
        (
            night("22:00", "06:00", "UTC", first_day=0, last_day=1),
            "2026-11-24T06:00",
            False,
            "2026-11-30T22:00",
            "2026-12-01T06:00",
        ),
    ],
)
def test_what_the_schedule_in_force_means(schedules, now, in_period, next_start, next_stop):
    """Whether a period lasts, and when the next one begins and ends."""
    assert standing(schedules, at(now)) == Standing(in_period, at(next_start), at(next_stop))


def test_a_delayed_start_says_when_it_is():
    """Whether a car waits depends on when it came, so that is not told."""
    schedules = Schedules("delayed", Schedule(OSLO, (Period(22 * 60),), enabled=True))

    assert standing(schedules, at("2026-03-29T12:00")) == Standing(None, at("2026-03-29T20:00"))


def test_without_a_schedule_in_force_nothing_is_told():
    """Nor while the zone is not known to this machine, or another schedule is in force."""
    for schedules in (
        Schedules(),
        Schedules("tariff"),
        Schedules("ocpp.direct", daily=night().daily),
        Schedules("daily"),
        night(zone_name="Mars/Base_1"),
    ):
        assert standing(schedules, at("2026-11-22T12:00")) == UNKNOWN
        assert UNKNOWN.changes_at is None


def test_a_schedule_without_a_pause_never_changes():
    """From midnight to midnight, or two halves of the day that touch."""
    halves = (Period(0, 720, 16), Period(720, 0, 16))
    for periods in ((Period(0, 0, 16),), halves):
        schedules = Schedules("daily", daily=Schedule(OSLO, periods, enabled=True))
        assert standing(schedules, at("2026-03-28T12:00")) == Standing(in_period=True)


@pytest.mark.parametrize("name", [*ZONES, "Etc/GMT+1"])
def test_names_of_time_zones(name):
    """Every name of the database is one."""
    assert is_zone(name)
    assert zone(name) is not None


@pytest.mark.parametrize(
    "name", ["", "Europe", "europe/oslo", "Europe/Osl", "../etc/passwd", "/etc/hosts", "CET ", 5]
)
def test_what_is_no_time_zone(name):
    """A folder, a wrong spelling, a path and a number name none."""
    assert not is_zone(name)


# -- the promise -----------------------------------------------------------------------------------

CHANGES = [
    datetime(2026, 3, 29, tzinfo=UTC),
    datetime(2026, 10, 25, tzinfo=UTC),
    datetime(2026, 3, 8, tzinfo=UTC),
    datetime(2026, 11, 1, tzinfo=UTC),
    datetime(2026, 4, 5, tzinfo=UTC),
    datetime(2026, 7, 1, tzinfo=UTC),
]
MINUTES = st.integers(0, 24 * 60 - 1)


@st.composite
def lives(draw):
    """Draw a daily schedule of one period, and a time within days of a change of the clock."""
    start, stop = draw(MINUTES), draw(MINUTES)
    now = draw(st.sampled_from(CHANGES)) + timedelta(minutes=draw(st.integers(-4000, 4000)))
    return Schedule(draw(st.sampled_from(ZONES)), (Period(start, stop),)), now


def wall_minute(moment, name):
    """Return the local time of the day in minutes."""
    local = moment.astimezone(ZoneInfo(name))
    return local.hour * 60 + local.minute


@given(lives())
def test_every_start_and_stop_is_at_its_local_time(life):
    """Every day has one start, at the schedule's own time by the wall clock or behind a gap."""
    schedule, now = life
    [period] = schedule.periods
    found = standing(Schedules("daily", daily=schedule), now)
    if period.start == period.stop:
        assert found == Standing(in_period=True)
        return
    assert found.next_start > now < found.next_stop
    # 24 hours, the change of the clock, and a period that the change leaves nothing of.
    assert found.next_start - now <= timedelta(hours=49)
    assert found.next_stop - now <= timedelta(hours=49)
    for moment, minute in ((found.next_start, period.start), (found.next_stop, period.stop)):
        behind = (wall_minute(moment, schedule.timezone) - minute) % (24 * 60)
        local = moment.astimezone(ZoneInfo(schedule.timezone))
        gap = local.utcoffset() - (moment - timedelta(hours=3)).astimezone(local.tzinfo).utcoffset()
        assert behind in (0, max(gap, timedelta()) // timedelta(minutes=1))
    assert found.in_period is (found.next_stop < found.next_start)


@given(lives())
def test_what_is_told_holds_until_it_changes(life):
    """Up to the next change nothing is different, and at it something is."""
    schedule, now = life
    schedules = Schedules("daily", daily=schedule)
    found = standing(schedules, now)
    if found.changes_at is None:
        return
    middle = now + (found.changes_at - now) / 2
    assert standing(schedules, middle) == found
    assert standing(schedules, found.changes_at) != found


@given(lives())
def test_periods_are_apart_and_in_order(life):
    """Each ends behind its start and before the next one."""
    schedule, now = life
    spans = merged_periods(schedule, now)
    edges = [moment for span in spans for moment in span]
    assert edges == sorted(set(edges))
