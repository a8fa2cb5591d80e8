"""Identity of sessions: which records belong together, and their key.

A session is named by the charger's own counter. But counters stand still and begin again, clocks
are wrong, and the cloud tells sessions by times that differ by seconds. So two records with one
counter are compared by what cannot deceive: times that can be, then the meters, then the energy.

Rules:

1. Another counter is another session. The same one with times that overlap is the same session,
   with times apart it is another. A charger serves one car at a time.
2. Times that only touch, or overlap by little, are one session when the energy did not fall.
3. Meters that do not overlap are two sessions, whatever else is told.
4. Where times cannot be compared the meters decide, else the energy.
5. Without a counter on one side only times that agree, or the very same content, make one.
"""

from datetime import datetime, timedelta

from bridge.core.records import session_clocks
from bridge.core.records.session_report import BACKFILL, SessionReport

# Sources disagree by seconds on when a session began, and by minutes on when it ended.
SAME_START_WITHIN = timedelta(seconds=60)
SAME_END_WITHIN = timedelta(minutes=5)
# What one charger says twice it says alike.
A_SECOND = timedelta(seconds=1)
CLOSE = timedelta(seconds=20)
# The cloud rounds, and meters are told with six digits.
SAME_ENERGY_KWH = 0.02
SAME_METER_KWH = 0.001
METER_ERROR = 0.01

# How sure it is that two records are of one session.
DIFFERENT, LIKELY, SURE, EQUAL = range(4)
# What a comparison of times says where it does not say one of these.
TOUCHING, UNKNOWN = -1, -2


def report_key(charger_id: str, session_id: int | None, started_at: datetime) -> str:
    """Return a session's permanent key: ``EH123456-435``, or ``EH123456-s<epoch seconds>``.

    The ledger appends the day, and then the time, where another session has that name.
    """
    if session_id is None:
        return f"{charger_id}-s{int(started_at.timestamp())}"
    return f"{charger_id}-{session_id}"


def likeness(one: SessionReport, other: SessionReport) -> int:
    """Return how likely two records of one charger are of the same session; 0 if not."""
    if _told_alike(one, other):
        return EQUAL
    if one.session_id is None or other.session_id is None:
        return SURE if _agree(one, other) else DIFFERENT
    if one.session_id != other.session_id:
        return DIFFERENT
    times, meters = _times(one, other), _meters(one, other)
    if DIFFERENT in (times, meters):
        return DIFFERENT
    if times == SURE:
        return SURE
    if meters == SURE:
        return LIKELY
    if times == TOUCHING and BACKFILL not in (one.source, other.source):
        return LIKELY if _grew(one, other) else DIFFERENT
    return LIKELY if _same_energy(one, other) or _continued(one, other) else DIFFERENT


def supersedes(report: SessionReport, held: SessionReport) -> bool:
    """Return whether another record of the same session replaces the current one.

    What the charger said beats what the cloud's REST interface says of it, unless that ended later
    with more energy: the charger's correction did not come. Of two of a kind the
    one measured later counts, and of equal ones the later arrival. A stamp from the future counts
    as the arrival, and so does none. Either may be a repetition of what was told before a
    correction: less energy than a right stamp told, or than was told without one, is then none.
    What a right stamp tells later counts, unless it tells less and from before the end.
    """
    first_hand = report.source != BACKFILL
    if first_hand != (held.source != BACKFILL):
        return not _went_on(held, report) if first_hand else _went_on(report, held)
    is_less = report.energy_kwh < held.energy_kwh
    if report.ranked_at and is_less:
        is_bare = report.is_stampless or held.is_stampless
        return not is_bare and held.ranked_at is not None and report.rank >= held.rank
    if held.ranked_at and not report.ranked_at:
        return not is_less or report.measured_at >= held.at
    return report.rank >= held.rank


def _went_on(listed: SessionReport, told: SessionReport) -> bool:
    """Return whether the cloud's list shows that a session continued after the charger's report."""
    more_kwh = max(SAME_ENERGY_KWH, METER_ERROR * listed.energy_kwh)
    return (
        session_clocks.ENDED not in (*listed.doubtful, *told.doubtful)
        and listed.ended_at - told.ended_at > CLOSE
        and listed.energy_kwh - told.energy_kwh > more_kwh
    )


def is_again(one: SessionReport, other: SessionReport) -> bool:
    """Return whether an observation is a repetition: equal timestamp, energy and meters.

    Times that can be on both sides say more, but a time that lies ahead comes: what the list mended
    and the charger tells again after that lasted as long.
    """
    numbers = (one.session_id, other.session_id)
    shares_a_time = one.started_at == other.started_at or one.ended_at == other.ended_at
    return (
        bool(one.doubtful or other.doubtful or one.ranked_at or other.ranked_at)
        and (
            shares_a_time
            or bool(one.doubtful) != bool(other.doubtful)
            or _meters(one, other) == SURE
            or (None not in numbers and _lasted_alike(one, other))
        )
        and BACKFILL not in (one.source, other.source)
        and (None in numbers or numbers[0] == numbers[1])
        and (one.measured_at == other.measured_at or (one.is_stampless and other.is_stampless))
        and one.energy_kwh == other.energy_kwh
        and (one.meter_start_kwh, one.meter_stop_kwh)
        == (other.meter_start_kwh, other.meter_stop_kwh)
    )


def _lasted_alike(one: SessionReport, other: SessionReport) -> bool:
    lasted, other_lasted = (report.ended_at - report.started_at for report in (one, other))
    return abs(lasted - other_lasted) <= SAME_START_WITHIN


def _told_alike(one: SessionReport, other: SessionReport) -> bool:
    """Recognise a repetition: one source, one content."""
    return is_again(one, other) or (
        not _is_cross(one, other)
        and (one.session_id, one.started_at, one.ended_at, one.energy_kwh)
        == (other.session_id, other.started_at, other.ended_at, other.energy_kwh)
        and (one.meter_start_kwh, one.meter_stop_kwh)
        == (other.meter_start_kwh, other.meter_stop_kwh)
    )


def _agree(one: SessionReport, other: SessionReport) -> bool:
    """Compare two records of which one has no counter."""
    if _meters(one, other) == DIFFERENT:
        return False
    (start, end), (other_start, other_end) = _believed(one), _believed(other)
    if start and other_start and end and other_end:
        overlap = min(end, other_end) - max(start, other_start)
        is_shared = overlap >= min(end - start, other_end - other_start) / 2
        return is_shared and abs(start - other_start) <= SAME_START_WITHIN
    if end and other_end:
        return abs(end - other_end) <= SAME_END_WITHIN and _same_energy(one, other)
    if start and other_start:
        return abs(start - other_start) <= SAME_START_WITHIN and _same_energy(one, other)
    if _meters(one, other) == SURE:
        return True
    # The cloud's list tells what it was told: the energy to the last digit, and never before.
    ends = ((end, other.at), (other_end, one.at))
    told_before = any(at is not None and at > told_at + SAME_END_WITHIN for at, told_at in ends)
    return _is_cross(one, other) and _equal_energy(one, other) and not told_before


def _believed(report: SessionReport) -> tuple[datetime | None, datetime | None]:
    """Return the times of a report that can be."""
    return (
        None if session_clocks.STARTED in report.doubtful else report.started_at,
        None if session_clocks.ENDED in report.doubtful else report.ended_at,
    )


def _times(one: SessionReport, other: SessionReport) -> int:
    """Compare times: sure, touching, different, or unknown."""
    (start, end), (other_start, other_end) = _believed(one), _believed(other)
    cross = _is_cross(one, other)
    if start and end and other_start and other_end:
        return _spans(start, end, other_start, other_end, cross=cross)
    if start and end:
        return _part(other_start, other_end, other.at, start, end, cross=cross)
    if other_start and other_end:
        return _part(start, end, one.at, other_start, other_end, cross=cross)
    if start and other_start:
        return SURE if abs(start - other_start) <= CLOSE else UNKNOWN
    if end and other_end:
        return SURE if abs(end - other_end) <= CLOSE else UNKNOWN
    return UNKNOWN


def _spans(
    start: datetime, end: datetime, other_start: datetime, other_end: datetime, *, cross: bool
) -> int:
    slack = SAME_START_WITHIN if cross else A_SECOND
    overlap = min(end, other_end) - max(start, other_start)
    # Two that follow each other overlap by what their sources disagree, short ones too.
    is_shared = overlap >= min(end - start, other_end - other_start) / 2
    if overlap > slack and is_shared:
        return SURE
    if overlap < -slack:
        return DIFFERENT
    alike = abs(start - other_start) <= slack and abs(end - other_end) <= _end_slack(cross=cross)
    return SURE if alike and is_shared else TOUCHING


def _part(
    start: datetime | None,
    end: datetime | None,
    told_at: datetime,
    other_start: datetime,
    other_end: datetime,
    *,
    cross: bool,
) -> int:
    """Compare what is left of one record's times with the other's whole span."""
    slack = SAME_START_WITHIN if cross else A_SECOND
    if end is not None:
        if end < other_start - slack:
            return DIFFERENT
        if end > other_end + _end_slack(cross=cross):
            return DIFFERENT if cross else UNKNOWN
        # A little later it may be the next session of a counter that stands still.
        inside = other_start + slack < end <= other_end + CLOSE
        return SURE if inside else UNKNOWN
    if start is not None:
        if start > other_end + slack:
            return DIFFERENT
        near = abs(start - other_start) <= min(slack, CLOSE)
        return SURE if near or other_start <= start < other_end - slack else UNKNOWN
    # It cannot have been told before it ended.
    return DIFFERENT if other_end > told_at + SAME_END_WITHIN else UNKNOWN


def _end_slack(*, cross: bool) -> timedelta:
    return SAME_END_WITHIN if cross else SAME_START_WITHIN


def _meters(one: SessionReport, other: SessionReport) -> int:
    """Compare what the meters ran through: sure, different, or unknown."""
    mine, others = _metered(one), _metered(other)
    if mine is None or others is None:
        return UNKNOWN
    (start, stop), (other_start, other_stop) = mine, others
    shared = min(stop, other_stop) - max(start, other_start)
    if shared > SAME_METER_KWH:
        return SURE
    # A session without energy is anywhere its meter stands.
    is_empty = min(stop - start, other_stop - other_start) <= SAME_METER_KWH
    return UNKNOWN if is_empty and shared >= -SAME_METER_KWH else DIFFERENT


def _metered(report: SessionReport) -> tuple[float, float] | None:
    """Return both meters where they say what the energy says."""
    start, stop = report.meter_start_kwh, report.meter_stop_kwh
    if start is None or stop is None:
        return None
    allowed = max(METER_ERROR, METER_ERROR * report.energy_kwh)
    return (start, stop) if abs(stop - start - report.energy_kwh) <= allowed else None


def _grew(one: SessionReport, other: SessionReport) -> bool:
    earlier, later = sorted((one, other), key=lambda report: report.ended_at)
    return later.energy_kwh >= earlier.energy_kwh


def _continued(one: SessionReport, other: SessionReport) -> bool:
    """Recognise a correction of a session whose clock was never set: it began in that moment."""
    alike = not _is_cross(one, other) and abs(one.started_at - other.started_at) <= A_SECOND
    return alike and _grew(one, other)


def _same_energy(one: SessionReport, other: SessionReport) -> bool:
    return abs(one.energy_kwh - other.energy_kwh) <= SAME_ENERGY_KWH


def _equal_energy(one: SessionReport, other: SessionReport) -> bool:
    return one.energy_kwh > 0 and abs(one.energy_kwh - other.energy_kwh) <= SAME_METER_KWH


def _is_cross(one: SessionReport, other: SessionReport) -> bool:
    """Return whether one record is of the charger and the other of the cloud's list."""
    return (one.source == BACKFILL) != (other.source == BACKFILL)
