"""Finds impossible times of sessions, and determines their replacements.

A charger that lost its clock tells times all the same: a default of its clock chip, or years ahead.
Its energy is a bill nevertheless. So a report is kept as it came, what cannot be is marked, and
nothing is ordered or looked up by it.

Rules:

1. A time cannot be when it lies before the vendor's first charger, on the New Year's Day some
   clocks begin with, ahead of its arrival, or a year before the first session the charger told of.
2. What follows a start that cannot be within a month was told by the same wrong clock. A session
   does not last a year. One that ends before it begins has no time that can be believed.
3. Nor can it lie ahead of the stamp of the observation that told it: waiting makes no time right.
   While our own clock cannot be believed the stamp alone is the limit.
"""

from datetime import UTC, datetime, timedelta

STARTED = "started_at"
ENDED = "ended_at"
# 1970, 1980, 2000, 2001, 2010 and 2017, the defaults of clock chips, lie before the first charger.
FIRST_CHARGER = datetime(2018, 1, 1, tzinfo=UTC)
# A default that does not.
NEW_YEAR = datetime(2020, 1, 1, tzinfo=UTC)
A_DAY = timedelta(days=1)
A_MONTH = timedelta(days=31)
A_YEAR = timedelta(days=365)
# Two clocks differ by less than this.
AHEAD = timedelta(minutes=5)


def is_default(at: datetime) -> bool:
    """Return whether a time is typical of a clock that was never set."""
    return at < FIRST_CHARGER or NEW_YEAR <= at < NEW_YEAR + A_DAY


def latest(measured_at: datetime, received_at: datetime, *, trusted: bool) -> datetime | None:
    """Return the latest time that a report can contain; None when it is unknown.

    Args:
        measured_at: Stamp of the observation.
        received_at: When it arrived, by our clock.
        trusted: Our clock can be believed.
    """
    if is_default(measured_at):
        return received_at if trusted else None
    return min(measured_at, received_at) if trusted else measured_at


def impossible(
    started_at: datetime, ended_at: datetime | None, limit: datetime | None
) -> tuple[str, ...]:
    """Return the names of a session's impossible times.

    Args:
        started_at: As the charger told.
        ended_at: Likewise; None while it runs.
        limit: See :func:`latest`.
    """
    start_fails = is_default(started_at) or _is_ahead(started_at, limit)
    if ended_at is None:
        return _names(start_fails, ends=False)
    ends = is_default(ended_at) or _is_ahead(ended_at, limit)
    lasted = ended_at - started_at
    if start_fails and timedelta() <= lasted <= A_MONTH:
        ends = True
    if not start_fails and not ends:
        start_fails = lasted > A_YEAR or lasted < timedelta()
        ends = lasted < timedelta()
    return _names(start_fails, ends=ends)


def before_first(
    started_at: datetime, ended_at: datetime, first: datetime | None
) -> tuple[str, ...]:
    """Return the names of times more than a year before the charger's first session."""
    if first is None:
        return ()
    return _names(first - started_at > A_YEAR, ends=first - ended_at > A_YEAR)


def _is_ahead(at: datetime, limit: datetime | None) -> bool:
    return limit is not None and at - limit > AHEAD


def _names(start_fails: bool, *, ends: bool) -> tuple[str, ...]:
    return (STARTED,) * start_fails + (ENDED,) * ends
