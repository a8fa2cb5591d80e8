"""Sessions are read whole or not at all, keep one name, and show on two retained topics."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.core.messages import Publish
from bridge.core.sessions.reports import (
    SessionBoard,
    SessionReport,
    SessionStart,
    auth_reason_name,
    last_document,
    read_report,
    read_start,
    report_key,
    same_session,
)
from bridge.core.topics import Topics
from bridge.errors import DecodeError

ID = "EH123456"
STARTED = datetime(2025, 1, 22, 12, 51, 47, tzinfo=UTC)
ENDED = datetime(2025, 1, 22, 13, 5, 38, tzinfo=UTC)
RECEIVED = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TAG = "04E1B2C3D4"

FINISHED = {
    "Auth": TAG,
    "AuthReason": 3,
    "EnergyKwh": 0.411273,
    "Id": 435,
    "MeterValueStart": 1277.872637,
    "MeterValueStop": 1278.28391,
    "Start": "2025-01-22T12:51:47.000Z",
    "Stop": "2025-01-22T13:05:38.000Z",
}
BEGUN = {
    "Id": 435,
    "MeterValue": 1277.872637,
    "Start": "2025-01-22T12:51:47.000Z",
    "Auth": TAG,
    "AuthReason": 3,
}
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
START = SessionStart(ID, 435, STARTED, 1277.872637, 3, TAG)


def read(payload: object) -> SessionReport:
    """Read a 129 of the test charger."""
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return read_report(
        text, charger_id=ID, source="stream", measured_at=ENDED, received_at=RECEIVED
    )


# -- reading ----------------------------------------------------------------------------------


def test_a_finished_session_is_read_by_key():
    """Every key of a 129 lands in its field, whatever the order."""
    assert read(FINISHED) == REPORT
    assert read(dict(reversed(FINISHED.items()))) == REPORT


def test_a_started_session_is_read_by_key():
    """Every key of a 223 lands in its field."""
    assert read_start(json.dumps(BEGUN), charger_id=ID) == START


def test_unknown_keys_are_ignored_and_optional_ones_may_be_missing():
    """A firmware that says more or less than ours costs no report."""
    needed = {key: FINISHED[key] for key in ("Start", "Stop", "EnergyKwh")}
    report = read({**needed, "AuthToken": "x", "New": {"deep": [1]}, "Auth": None})

    assert report.session_id is None
    assert report.auth_reason is None
    assert report.auth == ""
    assert report.meter_start_kwh is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-22T12:51:47Z", STARTED),
        ("2025-01-22T12:51:47", STARTED),
        ("2025-01-22T13:51:47+01:00", STARTED),
        ("2025-01-22T12:51:47.1Z", STARTED + timedelta(milliseconds=100)),
        ("2025-01-22T12:51:47.1234567Z", STARTED + timedelta(microseconds=123456)),
    ],
)
def test_every_time_form_that_was_seen_is_read_as_utc(text, expected):
    """Z, an offset or neither, and any number of fraction digits."""
    assert read({**FINISHED, "Start": text}).started_at == expected


@pytest.mark.parametrize(
    "change",
    [
        {"Stop": "2025-01-22T12:51:46Z"},
        {"Stop": "2025-02-30T00:00:00Z"},
        {"Stop": "yesterday"},
        {"Stop": None},
        {"Start": "2025-W04-3"},
        {"EnergyKwh": -0.1},
        {"EnergyKwh": 1e9},
        {"EnergyKwh": None},
        {"EnergyKwh": "nan"},
        {"MeterValueStart": "inf"},
        {"MeterValueStop": "nan"},
        {"MeterValueStop": 1e300},
        {"Id": -1},
        {"Id": 2**63},
        {"Id": 4.5},
        {"Id": True},
        {"AuthReason": "why"},
        {"Auth": True},
        {"Auth": 1.5},
        {"Auth": ["04"]},
    ],
)
def test_half_a_billing_record_is_refused(change):
    """A value that makes no sense refuses the report."""
    with pytest.raises(DecodeError):
        read({**FINISHED, **change})


@pytest.mark.parametrize("respell", [str.lower, str.upper, lambda key: key[:1].lower() + key[1:]])
def test_keys_are_read_in_any_case(respell):
    """A firmware that spells its keys differently costs no report and no start."""
    assert read({respell(key): value for key, value in FINISHED.items()}) == REPORT
    text = json.dumps({respell(key): value for key, value in BEGUN.items()})
    assert read_start(text, charger_id=ID) == START


def test_a_documented_key_wins_and_other_spellings_must_agree():
    """What the documentation names is meant; between two strangers nobody guesses."""
    assert read({"id": "a-guid", "ENERGYKWH": 99, **FINISHED}) == REPORT
    rest = {key: value for key, value in FINISHED.items() if key != "EnergyKwh"}
    assert read({**rest, "energyKwh": 0.411273, "ENERGYKWH": 0.411273}) == REPORT
    with pytest.raises(DecodeError, match="EnergyKwh is there twice"):
        read({**rest, "energyKwh": 0.411273, "ENERGYKWH": 99})


def test_a_tag_of_digits_is_its_text():
    """A tag that was written as a number is the same tag."""
    assert read({**FINISHED, "Auth": 4123456789}).auth == "4123456789"
    assert read({**FINISHED, "Auth": 10**25}).auth == "1" + 25 * "0"


@pytest.mark.parametrize("key", ["Start", "Stop", "EnergyKwh"])
def test_what_bills_must_be_there(key):
    """Without its times or its energy it is no report."""
    with pytest.raises(DecodeError):
        read({k: v for k, v in FINISHED.items() if k != key})


def test_numbers_spelled_as_text_are_read():
    """A number in quotes is still that number."""
    assert read({**FINISHED, "Id": "435", "EnergyKwh": "0.411273"}) == REPORT


def test_errors_and_reprs_do_not_show_the_tag():
    """A tag never reaches a log line by way of an error or a repr."""
    for change in ({"Stop": TAG}, {"Id": TAG}, {"EnergyKwh": TAG}, {"Auth": f"{TAG}\ud800"}):
        with pytest.raises(DecodeError) as caught:
            read(json.dumps({**FINISHED, **change}, ensure_ascii=False))
        shown = f"{caught.value!r} {caught.value} {caught.value.excerpt} {caught.value.__cause__}"
        assert TAG not in shown
    assert TAG not in repr(REPORT) + repr(START)


@example('{"x":' + "[" * 100_000)
@example('{"Auth":"\ud800"}')
@example('{"Id":' + "9" * 5000 + "}")
@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text()),
            lambda inner: st.dictionaries(st.sampled_from([*FINISHED, "MeterValue"]), inner),
        ).map(json.dumps),
        st.fixed_dictionaries(
            {},
            optional={
                key: st.one_of(st.just(good), st.none(), st.floats(), st.integers(), st.text())
                for key, good in FINISHED.items()
            },
        ).map(json.dumps),
    )
)
def test_nothing_but_a_decode_error_comes_out_of_reading(text):
    """Whatever a charger sends, the border is total."""
    for reader in (read, lambda t: read_start(t, charger_id=ID)):
        try:
            found = reader(text)
        except DecodeError:
            continue
        assert found.started_at.tzinfo is UTC


# -- identity ---------------------------------------------------------------------------------


def test_the_key_is_the_charger_and_its_counter():
    """The start does not matter where there is a counter."""
    assert report_key(ID, 435, STARTED) == report_key(ID, 435, ENDED) == "EH123456-435"


def test_without_a_counter_the_key_is_the_second_it_started():
    """A report without a counter still has a stable key."""
    assert report_key(ID, None, STARTED + timedelta(microseconds=1)) == "EH123456-s1737550307"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"started_at": STARTED + timedelta(seconds=9)}, True),
        ({"started_at": STARTED + timedelta(days=2), "ended_at": ENDED + timedelta(days=2)}, False),
        ({"session_id": 436}, False),
        ({"session_id": None}, True),
        ({"session_id": None, "started_at": STARTED + timedelta(seconds=61)}, False),
    ],
)
def test_sessions_are_told_apart_by_counter_and_then_by_start(change, same):
    """Seconds of disagreement are one session, a counter that came round is another."""
    assert same_session(REPORT, replace(REPORT, **change)) is same
    assert same_session(replace(REPORT, **change), REPORT) is same


def test_a_start_without_a_counter_belongs_to_the_report_that_began_then():
    """A 223 and a 129 are matched by their start when one of them has no number."""
    assert same_session(replace(START, session_id=None), REPORT)
    assert not same_session(replace(START, session_id=None, started_at=ENDED), REPORT)


def test_two_short_sessions_without_a_counter_stay_two():
    """A charger serves one car at a time: sessions that do not overlap are two."""
    short = replace(REPORT, session_id=None, ended_at=STARTED + timedelta(seconds=10))
    later = timedelta(seconds=20)
    other = replace(short, started_at=STARTED + later, ended_at=short.ended_at + later)

    assert not same_session(short, other)


def test_reasons_have_names():
    """The two offline reasons are named, others numbered, none is none."""
    names = [auth_reason_name(n) for n in (3, 4, 0, None)]
    assert names == ["offline_whitelist", "offline_allow_all", "auth_reason_0", None]


# -- the board --------------------------------------------------------------------------------

TOPICS = Topics("charger")
CURRENT = f"charger/{ID}/session/current"
LAST = f"charger/{ID}/session/last"
NAME = ("EH123456-435", 1)


@dataclass(frozen=True)
class Spec:
    id: int


@dataclass(frozen=True)
class Seen:
    spec: Spec
    value: object
    measured_at: datetime


def seen(number: int, value: object, at: datetime) -> Seen:
    """Make an observation as the board sees it."""
    return Seen(Spec(number), value, at)


@pytest.fixture
def board() -> SessionBoard:
    """Return the board of the test charger."""
    return SessionBoard(ID, TOPICS)


def running(messages: list[Publish]) -> object:
    """Return the document of the one publication of ``current``; None when it was emptied."""
    (message,) = messages
    assert message.topic == CURRENT
    assert message.retained
    return json.loads(message.payload) if message.payload else None


def told(board: SessionBoard, report: SessionReport) -> list[Publish]:
    """Let a 129 come and be stored."""
    return [*board.finished(report), *board.recorded(report, NAME)]


def test_a_start_shows_the_running_session_without_the_tag(board):
    """session/current is set by a 223, holds no tag, and is not repeated."""
    (message,) = board.started(START)

    assert message == Publish(
        CURRENT,
        b'{"charger_id":"EH123456","session_id":435,"started_at":"2025-01-22T12:51:47Z",'
        b'"meter_start_kwh":1277.872637,"energy_kwh":null,"auth_reason":3,'
        b'"auth_reason_name":"offline_whitelist"}',
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
        b'"offline":true,"source":"stream","measured_at":"2025-01-22T13:05:38Z"}',
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
    newer = replace(START, session_id=436, started_at=STARTED + HOUR)
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
    board = SessionBoard(ID, TOPICS)
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
