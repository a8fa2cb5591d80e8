"""The running session and the last one are shown, whatever clocks say."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conventions.native.sessions import SessionMessages
from bridge.core.changes import LastSessionChanged
from bridge.core.chargers.current_session import CurrentSession
from bridge.core.easee.decode import Observation
from bridge.core.easee.observation_registry import spec_of
from bridge.core.easee.session_payloads import placed
from bridge.core.messages import Publish
from bridge.core.records.session_report import SessionReport, SessionStart
from bridge.core.topics import Topics
from tests.native import publishes

ID = "EH123456"
STARTED = datetime(2025, 1, 22, 12, 51, 47, tzinfo=UTC)
ENDED = datetime(2025, 1, 22, 13, 5, 38, tzinfo=UTC)
RECEIVED = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TAG = "04E1B2C3D4"
REPORT = SessionReport(
    charger_id=ID,
    session_id=435,
    started_at=STARTED,
    ended_at=ENDED,
    energy_kwh=0.411273,
    meter_start_kwh=1277.872637,
    meter_stop_kwh=1278.28391,
    auth_reason=3,
    auth=TAG,
    source="stream",
    measured_at=ENDED,
    received_at=RECEIVED,
)
START = SessionStart(ID, 435, STARTED, 1277.872637, 3, TAG, told_at=STARTED)

TOPICS = Topics("charger")
CURRENT = f"charger/{ID}/session/current"
LAST = f"charger/{ID}/session/last"
NAME = ("EH123456-435", 1)


def seen(number: int, value: object, at: datetime) -> Observation:
    """Make an observation of the charger."""
    return Observation(ID, spec_of(number), value, at)


class Shown:
    """A board whose changes are seen as the messages they become."""

    def __init__(self):
        self._board = CurrentSession(ID)

    def __getattr__(self, name):
        step = getattr(self._board, name)
        return lambda *facts: publishes(step(*facts))


def last_document(report, name=(None, None)):
    """Return the payload of ``session/last``."""
    (message,) = SessionMessages(TOPICS).last(LastSessionChanged(ID, report, name))
    return message.payload


@pytest.fixture
def board() -> "Shown":
    """Return the board of the test charger."""
    return Shown()


def running(messages: list[Publish]) -> object:
    """Return the document of the one publication of ``current``; None when it was emptied."""
    (message,) = messages
    assert message.topic == CURRENT
    assert message.retained
    return json.loads(message.payload) if message.payload else None


def told(board: "Shown", report: SessionReport) -> list[Publish]:
    """Let a 129 come and be stored."""
    return [*board.finished(report), *board.recorded(report, NAME)]


def test_a_start_shows_the_running_session_without_the_tag(board):
    """session/current is set by a 223, holds no tag, and is not repeated."""
    (message,) = board.started(START)

    assert message == Publish(
        CURRENT,
        b'{"charger_id":"EH123456","session_id":435,"started_at":"2025-01-22T12:51:47Z",'
        b'"meter_start_kwh":1277.872637,"energy_kwh":null,"auth_reason":3,'
        b'"auth_reason_name":"offline_whitelist","incomplete":[],"clock":"ok"}',
    )
    assert list(board.started(START)) == []


def test_a_report_ends_its_session_and_becomes_the_last(board):
    """session/last is the finished session without tag, and session/current is emptied."""
    list(board.started(START))
    current, last = told(board, REPORT)

    assert last == Publish(
        LAST,
        b'{"key":"EH123456-435","revision":1,"charger_id":"EH123456","session_id":435,"started_at":"2025-01-22T12:51:47Z",'
        b'"ended_at":"2025-01-22T13:05:38Z","energy_kwh":0.411273,"meter_start_kwh":1277.872637,'
        b'"meter_stop_kwh":1278.28391,"auth_reason":3,"auth_reason_name":"offline_whitelist",'
        b'"offline":true,"incomplete":[],"clock":"ok","source":"stream","measured_at":"2025-01-22T13:05:38Z"}',
    )
    assert current == Publish(CURRENT, b"")
    assert told(board, REPORT) == []
    assert list(board.started(START)) == []


def test_what_cannot_be_stored_is_shown_without_a_key_until_it_is(board):
    """A full disk hides no session; what is not stored does not replace its stored self."""
    (unnamed,) = board.recorded(REPORT)
    assert json.loads(unnamed.payload)["key"] is None
    fixed = replace(REPORT, energy_kwh=0.5)
    assert [m.payload for m in board.recorded(fixed)] == [last_document(fixed)]
    (named,) = board.recorded(REPORT, NAME)
    assert (json.loads(named.payload)["key"], json.loads(named.payload)["revision"]) == NAME

    assert list(board.recorded(replace(REPORT, energy_kwh=9.0))) == []
    assert list(board.publications()) == [named]


def test_an_older_revision_is_not_shown_over_a_newer_one(board):
    """The store is read while reports are saved: what was read first may arrive last."""
    fixed = replace(REPORT, energy_kwh=0.5)
    assert len(list(board.recorded(fixed, ("EH123456-435", 2)))) == 1

    assert list(board.recorded(REPORT, NAME)) == []


def test_whole_numbers_print_without_a_fraction():
    """16.0 kWh is 16, and an unknown reason makes offline unknown."""
    document = last_document(replace(REPORT, energy_kwh=16.0, auth_reason=None))

    assert b'"energy_kwh":16,' in document
    assert b'"auth_reason":null,"auth_reason_name":null,"offline":null' in document


def test_a_newer_start_replaces_the_session_and_an_older_one_does_not(board):
    """The running session is the newest that began."""
    newer = replace(START, session_id=436, started_at=STARTED + HOUR, told_at=STARTED + HOUR)
    list(board.started(START))

    assert running(list(board.started(newer)))["session_id"] == 436
    assert list(board.started(START)) == []


def test_an_older_report_leaves_the_running_session_alone(board):
    """A late report of the session before changes session/last only."""
    list(board.started(replace(START, session_id=436, started_at=ENDED + HOUR)))

    assert [m.topic for m in told(board, REPORT)] == [LAST]


def test_a_report_of_a_later_session_ends_an_older_one(board):
    """A session whose own report was missed does not run for ever."""
    list(board.started(START))
    later = replace(REPORT, session_id=437, started_at=ENDED + HOUR, ended_at=ENDED + 2 * HOUR)

    assert Publish(CURRENT, b"") in list(board.finished(later))


def test_the_energy_so_far_follows_observation_121(board):
    """Energy of a former session and zeros in the middle are not believed."""
    list(board.observed(seen(121, 20.5, STARTED - HOUR)))
    assert running(list(board.started(START)))["energy_kwh"] is None
    assert running(list(board.observed(seen(121, 0.0, STARTED))))["energy_kwh"] == 0
    assert running(list(board.observed(seen(121, 1.25, STARTED + HOUR))))["energy_kwh"] == 1.25
    assert list(board.observed(seen(121, 0, STARTED + HOUR))) == []


def test_charging_without_a_start_shows_a_session_of_which_little_is_known(board):
    """A session whose 223 was missed is shown with nulls, not with made-up values."""
    shown = running(list(board.observed(seen(109, 3, STARTED + HOUR))))
    assert (shown["session_id"], shown["started_at"]) == (None, None)
    assert running(list(board.started(START)))["session_id"] == 435


def test_an_unannounced_session_ends_when_the_cable_is_unplugged(board):
    """And an unplugging from before it was seen is not its end."""
    running(list(board.observed(seen(109, 3, STARTED + HOUR))))
    assert list(board.observed(seen(109, 1, STARTED))) == []
    assert running(list(board.observed(seen(109, 1, STARTED + 2 * HOUR)))) is None


def test_the_energy_counts_from_the_start_and_not_from_when_that_was_told(board):
    """A start that was told late is as old as it says, where its clock can be believed."""
    list(board.observed(seen(121, 1.5, STARTED + HOUR / 2)))

    shown = running(list(board.started(replace(START, told_at=STARTED + HOUR))))
    assert shown["energy_kwh"] == 1.5


def test_an_earlier_report_of_a_counter_that_stands_still_ends_nothing(board):
    """Nor does one of another number that ended before the running session was told of."""
    list(board.started(START))
    assert list(board.finished(ended(435, STARTED - HOUR))) == []

    odd = Shown()
    list(odd.started(begun(told_at=ENDED + 2 * HOUR)))
    assert list(odd.finished(ended(435, ENDED + HOUR))) == []


def test_a_running_session_outlasts_many_old_starts(board):
    """The cloud repeats what it has; more starts than are remembered do not hide the newest."""
    list(board.started(START))
    for number in range(1, 40):
        old = replace(START, session_id=number, started_at=STARTED - number * HOUR)
        assert list(board.started(replace(old, told_at=old.started_at))) == []


def test_an_unannounced_session_ends_with_the_report_that_covers_it(board):
    """A report that ends after charging was seen is that session's."""
    list(board.observed(seen(109, 3, STARTED)))
    earlier = replace(REPORT, session_id=434, ended_at=STARTED - HOUR, started_at=STARTED - HOUR)

    assert [m.topic for m in told(board, earlier)] == [LAST]
    assert [m.topic for m in told(board, REPORT)] == [CURRENT, LAST]


def test_an_old_op_mode_does_not_revive_a_finished_session(board):
    """Charging that was measured before the last report ended is not a session."""
    list(board.finished(REPORT))

    assert list(board.observed(seen(109, 3, ENDED))) == []


def test_unplugging_ends_the_session_before_its_report_comes(board):
    """Without a car there is no session."""
    list(board.started(START))
    assert running(list(board.observed(seen(109, 1, ENDED)))) is None
    assert list(board.started(START)) == []
    assert [m.topic for m in told(board, REPORT)] == [LAST]


def test_a_start_that_is_over_leaves_the_running_session_alone(board):
    """A replayed 223 of the session before does not end the one that runs."""
    list(board.finished(REPORT))
    list(board.started(replace(START, session_id=436, started_at=ENDED + HOUR)))

    assert list(board.started(START)) == []


def test_an_unplugging_before_the_session_began_does_not_end_it(board):
    """An old op mode that arrives late is not about this session."""
    list(board.started(START))

    assert list(board.observed(seen(109, 1, STARTED - HOUR))) == []


def test_other_op_modes_change_nothing(board):
    """A pause is not the end of a session."""
    list(board.started(START))

    assert [m for mode in (2, 4, 6) for m in board.observed(seen(109, mode, ENDED))] == []
    assert list(board.observed(seen(120, 7.4, ENDED))) == []


def test_nothing_is_emptied_before_it_is_known_that_no_session_runs(board):
    """After a restart what an earlier process published stands until something is known."""
    assert [m.topic for m in told(board, REPORT)] == [LAST]
    assert list(board.observed(seen(121, 3.0, ENDED))) == []
    assert running(list(board.started(START))) is None


@given(st.permutations(range(5)))
def test_any_order_of_reports_ends_on_the_newest(order):
    """Out-of-order reports never replace a newer one in session/last."""
    board = Shown()
    reports = [
        replace(
            REPORT, session_id=n, started_at=STARTED + n * HOUR, ended_at=STARTED + (n + 1) * HOUR
        )
        for n in range(5)
    ]
    shown = [m for n in order for m in board.recorded(reports[n], (f"{ID}-{n}", 1))]

    assert shown[-1] == Publish(LAST, last_document(reports[4], (f"{ID}-4", 1)))


def test_a_corrected_report_replaces_the_last_and_a_backfilled_one_does_not(board):
    """What the charger says of a session later counts; the cloud's copy does not."""
    told(board, REPORT)
    fixed = replace(REPORT, energy_kwh=0.5, measured_at=ENDED + HOUR)

    assert [m.topic for m in board.recorded(fixed)] == []
    assert [m.topic for m in board.recorded(fixed, ("EH123456-435", 2))] == [LAST]
    assert list(board.finished(REPORT)) == []
    assert list(board.recorded(replace(fixed, energy_kwh=9.0, source="backfill"))) == []


def test_everything_known_is_published_again(board):
    """After the broker lost it, both topics go out again, an emptied one too."""
    assert list(board.publications()) == []
    list(board.started(START))
    told(board, REPORT)

    assert list(board.publications()) == [
        Publish(CURRENT, b""),
        Publish(LAST, last_document(REPORT, NAME)),
    ]


# -- clocks that are wrong ------------------------------------------------------------------------

FUTURE = datetime(2036, 2, 7, tzinfo=UTC)


def begun(number: int = 436, told_at: datetime = ENDED + HOUR, **facts: object) -> SessionStart:
    """Make a start whose clock stands in 2036."""
    return replace(
        START,
        session_id=number,
        started_at=FUTURE,
        doubtful=("started_at",),
        **{"told_at": told_at, **facts},
    )


def ended(number: int, at: datetime, **facts: object) -> SessionReport:
    """Make a report that came when it ended."""
    times = {"started_at": at - HOUR, "ended_at": at, "measured_at": at, "received_at": at}
    return placed(replace(REPORT, session_id=number, **{**times, **facts}))


def test_a_start_in_2036_is_over_when_its_report_came(board):
    """Case A2: also when the report has the right start, or the wrong one."""
    for facts in ({}, {"started_at": FUTURE}):
        assert running(list(board.started(begun())))["clock"] == "suspect"
        assert running(list(board.finished(ended(436, ENDED + 2 * HOUR, **facts)))) is None
        assert list(board.started(begun())) == []
        board = Shown()


def test_a_start_in_2036_is_over_when_the_cable_is_unplugged(board):
    """Case A2: whatever its clock says."""
    list(board.started(begun()))
    assert running(list(board.observed(seen(109, 1, ENDED + 2 * HOUR)))) is None

    assert list(board.started(begun())) == []


def test_a_start_in_2036_gives_way_to_the_next(board):
    """Case A2: its own report was lost."""
    list(board.started(begun()))
    newer = replace(START, session_id=437, started_at=ENDED + 5 * HOUR, told_at=ENDED + 5 * HOUR)
    assert running(list(board.started(newer)))["session_id"] == 437

    assert list(board.started(begun())) == []


def test_a_report_of_a_later_session_ends_a_start_in_2036(board):
    """Nobody else can have charged meanwhile."""
    list(board.started(begun()))

    assert running(list(board.finished(ended(437, ENDED + 9 * HOUR)))) is None


def test_a_start_whose_stamp_lies_ahead_follows_the_op_mode(board):
    """Case A2: its stamp says nothing, and the cloud repeats it at every connection."""
    list(board.observed(seen(109, 1, ENDED + 2 * HOUR)))
    start = begun(told_at=ENDED + 3 * HOUR, is_ahead=True)
    assert list(board.started(start)) == []
    assert running(list(board.observed(seen(109, 2, ENDED + 4 * HOUR))))["session_id"] == 436
    assert running(list(board.finished(ended(436, ENDED + 5 * HOUR)))) is None

    again = replace(start, told_at=ENDED + 6 * HOUR)
    assert list(board.started(again)) == []


def test_an_old_report_that_is_repeated_does_not_end_a_start_of_its_number(board):
    """A counter stands still and no clock is right: what was told before the start is not its."""
    old = ended(436, ENDED + HOUR, started_at=FUTURE - HOUR)
    list(board.started(begun(told_at=ENDED + 2 * HOUR)))

    assert list(board.finished(replace(old, received_at=ENDED + 9 * HOUR))) == []
    later = replace(old, started_at=FUTURE + HOUR, measured_at=ENDED + 3 * HOUR)
    assert running(list(board.finished(later))) is None


def test_a_session_whose_cable_was_unplugged_does_not_come_back(board):
    """Also when the stamp of the unplugging lay ahead, and the next op mode tells so."""
    list(board.started(START))
    assert running(list(board.observed(seen(109, 1, FUTURE)))) is None

    assert list(board.observed(seen(109, 2, STARTED - HOUR))) == []


def test_the_energy_of_a_session_that_began_in_2036_is_shown(board):
    """Case A2: what was measured since it was told of is its own."""
    list(board.started(begun()))

    assert running(list(board.observed(seen(121, 2.5, ENDED + 2 * HOUR))))["energy_kwh"] == 2.5


def test_a_stop_in_2036_does_not_stay_the_last(board):
    """Case A1: last is who ended last, by a time that cannot lie ahead."""
    odd = ended(436, ENDED + HOUR)
    odd = placed(replace(odd, ended_at=FUTURE))
    (shown,) = board.recorded(odd, (f"{ID}-436", 1))
    assert json.loads(shown.payload)["clock"] == "suspect"
    newer = ended(437, ENDED + 4 * HOUR)
    (shown,) = board.recorded(newer, (f"{ID}-437", 1))
    assert json.loads(shown.payload)["session_id"] == 437

    list(board.recorded(odd, (f"{ID}-436", 1)))
    assert list(board.observed(seen(109, 3, ENDED + 5 * HOUR)))


def test_a_stop_in_2036_hides_no_session_told_of_behind_it(board):
    """Case A1: when it really ended nobody knows, so of the two the one told later is the last."""
    odd = placed(replace(ended(436, ENDED + HOUR), ended_at=FUTURE))
    newer = replace(ended(437, odd.at - HOUR), measured_at=odd.rank + HOUR)
    rows = [(odd, (f"{ID}-436", 1)), (newer, (f"{ID}-437", 1))]
    for report, name in rows:
        list(board.recorded(report, name))
    again = Shown()
    for report, name in reversed(rows):
        list(again.recorded(report, name))

    assert newer.at < odd.at
    for one in (board, again):
        assert json.loads(list(one.publications())[-1].payload)["session_id"] == 437


def test_an_op_mode_from_2036_does_not_hide_later_sessions(board):
    """Its stamp lay ahead: the cable was unplugged before it was plugged in again."""
    list(board.observed(seen(109, 1, FUTURE)))
    list(board.observed(seen(109, 2, ENDED + HOUR)))
    newer = replace(START, session_id=437, started_at=ENDED + 2 * HOUR, told_at=ENDED + 2 * HOUR)

    assert running(list(board.started(newer)))["session_id"] == 437


def test_a_report_without_a_number_ends_the_session_that_began_with_it(board):
    """Sources tell a start that differs by seconds, earlier or later."""
    list(board.started(START))
    nameless = replace(REPORT, session_id=None, started_at=STARTED - timedelta(seconds=5))

    assert running(list(board.finished(nameless))) is None


def test_an_earlier_session_that_is_told_late_does_not_end_a_start_in_2036(board):
    """It ended before the start was told of, whenever its report came."""
    list(board.started(begun(told_at=ENDED + HOUR)))
    late = ended(435, ENDED, measured_at=ENDED + 2 * HOUR, received_at=ENDED + 2 * HOUR)

    assert list(board.finished(late)) == []


def test_a_start_from_before_an_unplugging_whose_stamp_lay_ahead_is_over(board):
    """The cable was unplugged before the next op mode, and after what began long before."""
    list(board.observed(seen(109, 1, FUTURE)))
    list(board.observed(seen(109, 2, ENDED + HOUR)))

    assert list(board.started(START)) == []
