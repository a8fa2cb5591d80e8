"""What bills is read or refused, what bills nobody costs no report, and times are judged."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.core.easee.session_payloads import (
    MAX_METER_KWH,
    Hints,
    decimal,
    hints,
    placed,
    read_report,
    read_start,
)
from bridge.core.records.session_report import MAX_ENERGY_KWH, SessionReport, SessionStart
from bridge.core.value_format import iso_utc
from bridge.errors import DecodeError

ID = "EH123456"
STARTED = datetime(2025, 1, 22, 12, 51, 47, tzinfo=UTC)
ENDED = datetime(2025, 1, 22, 13, 5, 38, tzinfo=UTC)
RECEIVED = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TAG = "04E1B2C3D4"
BOTH = ("started_at", "ended_at")

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
START = SessionStart(ID, 435, STARTED, 1277.872637, 3, TAG, told_at=ENDED)


def read(payload: object) -> SessionReport:
    """Read a 129 of the test charger."""
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return read_report(
        text, charger_id=ID, source="stream", measured_at=ENDED, received_at=RECEIVED
    )


def start_of(text: str) -> SessionStart:
    """Read a 223 of the test charger."""
    return read_start(text, charger_id=ID, measured_at=ENDED, received_at=RECEIVED)


def test_a_finished_session_is_read_by_key():
    """Every key of a 129 lands in its field, whatever the order."""
    assert read(FINISHED) == REPORT
    assert read(dict(reversed(FINISHED.items()))) == REPORT


def test_a_started_session_is_read_by_key():
    """Every key of a 223 lands in its field."""
    assert start_of(json.dumps(BEGUN)) == START


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
        ("2025-01-22T12:51:47,1Z", STARTED + timedelta(milliseconds=100)),
        (" 2025-01-22t12:51:47z\n", STARTED),
        ("2025-01-22 13:51:47+0100", STARTED),
        ("2025-01-22T12:51Z", STARTED.replace(second=0)),
    ],
)
def test_every_time_form_that_was_seen_is_read_as_utc(text, expected):
    """Z, an offset or neither, and any number of fraction digits."""
    assert read({**FINISHED, "Start": text}).started_at == expected


@pytest.mark.parametrize(
    "change",
    [
        {"Stop": "2025-02-30T00:00:00Z"},
        {"Stop": "yesterday"},
        {"Stop": None},
        {"Stop": 1737550307},
        {"Start": "2025-W04-3"},
        {"EnergyKwh": -0.1, "MeterValueStop": None},
        {"EnergyKwh": 1e9, "MeterValueStop": 1.0},
        {"EnergyKwh": None, "MeterValueStart": "NaN"},
        {"EnergyKwh": "nan", "MeterValueStop": ""},
    ],
)
def test_without_times_and_energy_there_is_no_bill(change):
    """What is billed by is never guessed."""
    with pytest.raises(DecodeError):
        read({**FINISHED, **change})


@pytest.mark.fault("F49")
@pytest.mark.parametrize(
    ("key", "name", "values"),
    [
        ("Id", "session_id", [-1, "", "0f8fad5b-d9cb-469f-a165-70867728950e", 2**63, 4.5, True]),
        ("AuthReason", "auth_reason", [-1, "", "Local", True, [3], {}]),
        ("MeterValueStart", "meter_start_kwh", ["", "NaN", "Infinity", True, 1e300, [1]]),
        ("MeterValueStop", "meter_stop_kwh", ["inf", "-", {}, 10**400]),
        ("Auth", "auth", [["04"], {"a": 1}, False, 1.5, "04\ud800"]),
    ],
)
def test_an_odd_side_field_costs_no_report_and_is_named(key, name, values):
    """Case B1: what bills nobody is null where it cannot be read, and said to be."""
    for value in values:
        report = read({**FINISHED, key: value})
        empty = "" if name == "auth" else None
        assert report == replace(REPORT, incomplete=(name,), **{name: empty}), value
        if key in BEGUN:
            text = json.dumps({**BEGUN, key: value})
            start = start_of(text)
            assert start == replace(START, incomplete=(name,), **{name: empty}), value


def test_a_meter_nobody_can_read_costs_no_start_and_is_named():
    """Its key is another one than a report's."""
    start = start_of(json.dumps({**BEGUN, "MeterValue": "?"}))

    assert start == replace(START, meter_start_kwh=None, incomplete=("meter_start_kwh",))


def test_the_energy_that_was_told_counts_more_than_the_meters():
    """It is what the charger bills; the meters stand in where it cannot be read."""
    assert read({**FINISHED, "EnergyKwh": 0.5}).energy_kwh == 0.5
    assert read({**FINISHED, "EnergyKwh": 0}).energy_kwh == 0.0


@pytest.mark.parametrize(
    ("value", "number"), [(0, 0), ("0", 0), ("9" * 19, None), (2**63 - 1, 2**63 - 1)]
)
def test_a_counter_begins_at_nothing_and_ends_where_it_can_be_stored(value, number):
    """A charger that was reset counts from 0."""
    assert read({**FINISHED, "Id": value}).session_id == number


def test_a_tag_in_any_script_is_a_tag():
    """Names are written on some of them."""
    assert read({**FINISHED, "Auth": "Bücher-04"}).auth == "Bücher-04"


def test_what_was_not_told_is_not_said_to_be_unreadable():
    """A null and a missing field are nothing that was told."""
    told = {**FINISHED, "Id": None, "Auth": None, "MeterValueStart": None}
    del told["AuthReason"]

    assert read(told).incomplete == ()


@pytest.mark.parametrize("told", [None, -3.0, "", "NaN", [1], True, 1e9])
def test_the_energy_is_what_the_meters_say_where_it_cannot_be_read(told):
    """Case B2: the meters know it to six digits."""
    report = read({**FINISHED, "EnergyKwh": told})

    assert report == REPORT


def test_the_energy_by_the_meters_is_rounded_as_meters_are_told():
    """Six digits: what is behind them comes from counting in binary."""
    meters = {"MeterValueStart": 10.0, "MeterValueStop": 10.12345678}
    assert read({**FINISHED, "EnergyKwh": None, **meters}).energy_kwh == 0.123457


def test_meters_that_ran_backwards_leave_a_rounding_nothing():
    """They name no energy, so what was told counts."""
    meters = {"MeterValueStart": 10.0, "MeterValueStop": 9.0}
    assert read({**FINISHED, "EnergyKwh": -0.005, **meters}).energy_kwh == 0.0


@pytest.mark.parametrize("trusted", [True, False])
def test_a_start_that_lies_ahead_is_marked_where_our_clock_tells(trusted):
    """Its stamp lies ahead as well, and would be the limit if our own clock could not be."""
    start = json.dumps({**BEGUN, "Start": "2036-01-01T00:00:00Z"})
    at = datetime(2036, 1, 1, 0, 1, tzinfo=UTC)
    read_ = read_start(start, charger_id=ID, measured_at=at, received_at=RECEIVED, trusted=trusted)
    assert read_.doubtful == (("started_at",) if trusted else ())


def test_a_rounding_is_nothing():
    """Case B2: -0.004 kWh is 0, and -0.0 too; a tenth is no rounding."""
    bare = {key: FINISHED[key] for key in ("Start", "Stop")}
    for told in (-0.004, "-0.01", -0.0, 0):
        assert str(read({**bare, "EnergyKwh": told}).energy_kwh) == "0.0"
    with pytest.raises(DecodeError):
        read({**bare, "EnergyKwh": -0.1})


@pytest.mark.parametrize(
    "wrapped",
    [
        [FINISHED],
        json.dumps(json.dumps(FINISHED)),
        json.dumps([json.dumps(FINISHED)]),
        [[FINISHED]],
        f"\ufeff{json.dumps(FINISHED)}\x00\r\n",
    ],
)
def test_a_report_is_unpacked(wrapped):
    """Case B2: a list of one, JSON in JSON, a mark before and an end behind mean the same."""
    assert read(wrapped) == REPORT


@pytest.mark.parametrize("wrapped", [[], [FINISHED, FINISHED], "null", '"x"', "[[[[[1]]]]]"])
def test_what_is_no_report_is_none(wrapped):
    """Of two nobody knows which is meant."""
    with pytest.raises(DecodeError):
        read(wrapped)


@pytest.mark.fault("F47")
@pytest.mark.parametrize(
    ("told", "doubtful", "at"),
    [
        ({"Start": "2000-01-01T00:00:09Z"}, ("started_at",), ENDED),
        ({"Start": "0001-01-01T00:00:00", "Stop": "0001-01-01T00:09:00"}, BOTH, RECEIVED),
        ({"Stop": "2036-02-07T06:28:16Z"}, ("ended_at",), RECEIVED),
        ({"Start": "2036-02-07T06:28:16Z"}, ("started_at",), ENDED),
        ({"Start": "2025-01-22T14:00:00Z"}, ("started_at",), ENDED),
        ({"Start": "2025-01-22T13:05:30Z", "Stop": "2025-01-22T13:05:00Z"}, BOTH, RECEIVED),
    ],
)
def test_times_that_cannot_be_are_told_and_marked(told, doubtful, at):
    """Cases A1, A2, A4: a wrong clock refuses no bill, and nothing is ordered by it."""
    report = read({**FINISHED, **told})

    assert (report.doubtful, report.clock, report.at) == (doubtful, "suspect", at)
    assert report.energy_kwh == REPORT.energy_kwh
    assert (REPORT.clock, REPORT.at) == ("ok", ENDED)


def test_a_stop_a_little_ahead_counts_as_the_arrival():
    """Two clocks differ by minutes; what is ordered by never lies ahead of now."""
    ahead = RECEIVED + timedelta(minutes=2)
    times = {"Start": "2026-11-22T11:00:00Z", "Stop": iso_utc(ahead)}
    report = read_report(
        json.dumps({**FINISHED, **times}),
        charger_id=ID,
        source="stream",
        measured_at=ahead,
        received_at=RECEIVED,
    )

    assert (report.clock, report.ended_at, report.at) == ("ok", ahead, RECEIVED)


def test_a_stamp_that_lies_ahead_counts_as_the_arrival():
    """Case A3: and only while our own clock can be believed."""
    text, stamp = json.dumps(FINISHED), datetime(2099, 1, 1, tzinfo=UTC)
    told = {"charger_id": ID, "measured_at": stamp, "received_at": RECEIVED}
    report = read_report(text, source="stream", **told)
    start = read_start(json.dumps(BEGUN), **told)

    assert (report.measured_at, report.rank) == (stamp, RECEIVED)
    assert (start.told_at, start.is_ahead) == (RECEIVED, True)
    report = read_report(text, source="stream", trusted=False, **told)
    assert report.rank == stamp
    assert not read_start(json.dumps(BEGUN), trusted=False, **told).is_ahead


@pytest.mark.parametrize("trusted", [True, False])
def test_without_a_stamp_it_counts_as_told_when_it_came(trusted):
    """And its times are judged by that, where it can be believed."""
    report = read_report(
        json.dumps({**FINISHED, "Stop": "2036-01-01T00:00:00Z"}),
        charger_id=ID,
        source="poll",
        measured_at=None,
        received_at=RECEIVED,
        trusted=trusted,
    )

    assert report.measured_at == report.ranked_at == RECEIVED
    assert ("ended_at" in report.doubtful) is trusted


@pytest.mark.parametrize("respell", [str.lower, str.upper, lambda key: key[:1].lower() + key[1:]])
def test_keys_are_read_in_any_case(respell):
    """A firmware that spells its keys differently costs no report and no start."""
    assert read({respell(key): value for key, value in FINISHED.items()}) == REPORT
    text = json.dumps({respell(key): value for key, value in BEGUN.items()})
    assert start_of(text) == START


def test_a_documented_key_wins_and_other_spellings_must_agree():
    """What the documentation names is meant; between two strangers nobody guesses."""
    assert read({"id": "a-guid", "ENERGYKWH": 99, **FINISHED}) == REPORT
    rest = {key: value for key, value in FINISHED.items() if key != "EnergyKwh"}
    assert read({**rest, "energyKwh": 0.411273, "ENERGYKWH": 0.411273}) == REPORT
    twice = {"energyKwh": 5, "ENERGYKWH": 99}
    assert read({**rest, **twice}) == REPORT  # by the meters
    with pytest.raises(DecodeError, match="EnergyKwh"):
        read({**rest, **twice, "MeterValueStop": None})
    del rest["Id"]
    assert read({**rest, **twice, "id": 1, "ID": 2}).incomplete == ("session_id",)


def test_a_key_that_is_told_twice_must_say_the_same():
    """JSON lets the last one win, and nobody knows what a charger means: the meters decide."""
    text = json.dumps(FINISHED)[:-1]
    by_meters = read(f'{text},"EnergyKwh":99,"Id":436}}')

    assert read(f'{text},"EnergyKwh":0.411273}}') == REPORT
    assert (by_meters.energy_kwh, by_meters.session_id) == (0.411273, None)
    assert by_meters.incomplete == ("session_id",)
    with pytest.raises(DecodeError):
        read(f'{text},"Stop":"2036-01-01T00:00:00Z"}}')


@pytest.mark.parametrize("around", ["{} ", "\t{}", "+{}", "\ufeff{}", "{}\x00"])
def test_what_stands_around_a_number_costs_no_report(around):
    """The meaning is certain."""
    odd = {"EnergyKwh": around.format(0.411273), "MeterValueStart": around.format(1277.872637)}

    assert read({**FINISHED, **odd}) == REPORT


def test_a_tag_of_digits_is_its_text():
    """A tag that was written as a number is the same tag."""
    assert read({**FINISHED, "Auth": 4123456789}).auth == "4123456789"
    assert read({**FINISHED, "Auth": 10**25}).auth == "1" + 25 * "0"


@pytest.mark.parametrize("key", ["Start", "Stop"])
def test_what_bills_must_be_there(key):
    """Without its times it is no report."""
    with pytest.raises(DecodeError):
        read({k: v for k, v in FINISHED.items() if k != key})


def test_numbers_spelled_as_text_are_read():
    """A number in quotes is still that number."""
    assert read({**FINISHED, "Id": "435", "EnergyKwh": "0.411273"}) == REPORT


def test_errors_and_reprs_do_not_show_the_tag():
    """A tag never reaches a log line by way of an error or a repr."""
    odd = {"EnergyKwh": TAG, "MeterValueStop": None}
    for text in (
        json.dumps({**FINISHED, "Stop": TAG}),
        json.dumps({**FINISHED, **odd}),
        f'["{TAG}',
    ):
        with pytest.raises(DecodeError) as caught:
            read(text)
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
    for reader in (read, start_of):
        try:
            found = reader(text)
        except DecodeError:
            continue
        assert found.started_at.tzinfo is UTC


# -- what can be told of a text that is no report ----------------------------------------------


@pytest.mark.parametrize(
    ("text", "ended_at", "energy_kwh"),
    [
        (json.dumps({**FINISHED, "EnergyKwh": None}), ENDED, None),
        (json.dumps({**FINISHED, "Stop": None}), None, 0.411273),
        (json.dumps(FINISHED)[:-20], None, 0.411273),
        (f"{FINISHED}", ENDED, 0.411273),
        (json.dumps([FINISHED, 1]), ENDED, 0.411273),
    ],
)
def test_a_text_that_is_no_report_still_names_its_session(text, ended_at, energy_kwh):
    """Case B2: somebody has to look it up."""
    assert hints(text) == Hints(435, STARTED, ended_at, energy_kwh)


@pytest.mark.parametrize(
    "told", ['"0,411", "Id": 7', "0,411,", "12.5", "49.", "4e1, ", '-3, "Id": 7']
)
def test_half_an_energy_is_none(told):
    """A text may end within it, and a comma is not what it seems."""
    assert hints(f'[{{"EnergyKwh": {told}').energy_kwh is None
    assert hints('[{"Id": -1, "Id2": 3').session_id is None


@given(st.text() | st.just(json.dumps(FINISHED)))
def test_hints_are_found_in_anything(text):
    """Nothing is raised, whatever somebody told."""
    assert isinstance(hints(text), Hints)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Start": "noon"}, "Start is no time"),
        ({"Stop": None}, "Stop is no time"),
        ({"EnergyKwh": None, "MeterValueStop": None}, "EnergyKwh is no energy"),
    ],
)
def test_what_cannot_be_read_is_named_with_where_it_came_from(change, reason):
    """The words are for a log line, and hold nothing of the text."""
    with pytest.raises(DecodeError) as failed:
        read({**FINISHED, **change})
    assert str(failed.value) == f"observation 129: {reason}"


@pytest.mark.parametrize(("text", "reason"), [("{", "no JSON"), ("7", "no object")])
def test_a_text_that_is_no_document_is_named_too(text, reason):
    """For a report and for a start."""
    for observation, reading in ((129, read), (223, start_of)):
        with pytest.raises(DecodeError) as failed:
            reading(text)
        assert str(failed.value) == f"observation {observation}: {reason}"
    with pytest.raises(DecodeError, match=r"^observation 223: Start is no time$"):
        start_of("{}")


def test_a_time_and_a_counter_are_read_with_what_stands_around_them():
    """What C programs end texts with is no part of them."""
    odd = {"Start": "2025-01-22T12:51:47Z\x00", "Stop": "\ufeff2025-01-22T13:05:38Z", "Id": "435\0"}

    assert read({**FINISHED, **odd}) == REPORT


def test_keys_in_another_case_are_found_behind_unknown_ones():
    """An unknown key ends nothing."""
    respelled = {key.lower(): value for key, value in FINISHED.items()}

    assert read({"firmware": 1, **respelled}) == REPORT


def test_the_largest_energy_and_meter_are_some():
    """A limit belongs to what it limits; what is beyond every number is none."""
    most = read({**FINISHED, "EnergyKwh": MAX_ENERGY_KWH, "MeterValueStop": -MAX_METER_KWH})
    assert (most.energy_kwh, most.meter_stop_kwh) == (MAX_ENERGY_KWH, -MAX_METER_KWH)
    meters = {"MeterValueStart": 1.0, "MeterValueStop": 2.0}
    assert read({**FINISHED, **meters, "EnergyKwh": MAX_ENERGY_KWH}).energy_kwh == MAX_ENERGY_KWH
    assert decimal("1e999") is None


def test_half_of_a_pair_is_no_tag():
    """The last surrogate is one too."""
    assert read({**FINISHED, "Auth": "\udfff"}).incomplete == ("auth",)


@pytest.mark.parametrize(("late_s", "is_ahead"), [(300, False), (301, True)])
def test_five_minutes_are_two_clocks(late_s, is_ahead):
    """A stamp lies ahead when it is further from its arrival than clocks differ."""
    stamp = RECEIVED + timedelta(seconds=late_s)
    told = {"charger_id": ID, "measured_at": stamp, "received_at": RECEIVED}

    assert read_start(json.dumps(BEGUN), **told).is_ahead is is_ahead
    report = read_report(json.dumps(FINISHED), source="stream", **told)
    assert (report.ranked_at is not None) is is_ahead


def test_where_a_session_counts_as_ended_is_said_only_where_it_matters():
    """Behind its arrival, or where its end cannot be: by our clock, else by its stamp."""
    ends_now = replace(REPORT, ended_at=RECEIVED, measured_at=RECEIVED)
    assert placed(ends_now, trusted=True, stamped=True).placed_at is None
    ahead = replace(ends_now, ended_at=RECEIVED + 99 * HOUR, measured_at=RECEIVED + HOUR)
    believed = placed(ahead, trusted=True, stamped=True)
    assert (believed.doubtful, believed.placed_at) == (("ended_at",), RECEIVED)
    doubted = placed(ahead, trusted=False, stamped=True)
    assert (doubted.doubtful, doubted.placed_at) == (("ended_at",), RECEIVED + HOUR)
    default = replace(ahead, measured_at=datetime(1970, 1, 1, tzinfo=UTC))
    default = replace(default, ended_at=datetime(2001, 1, 1, tzinfo=UTC))
    assert placed(default, trusted=False, stamped=True).placed_at == RECEIVED


def test_a_time_ahead_of_its_stamp_is_doubted_by_our_clock_too():
    """Where both are to be believed the earlier one is the limit."""
    times = {"started_at": RECEIVED, "ended_at": RECEIVED + HOUR, "measured_at": RECEIVED + HOUR}
    ahead = replace(REPORT, **times)

    assert placed(ahead, trusted=True, stamped=True).doubtful == ("ended_at",)
    assert placed(ahead, trusted=False, stamped=True).doubtful == ()


def test_hints_in_a_document_are_read_as_in_a_report():
    """Also in forms that no search through the text would find."""
    assert hints('{"Start":"2025-01-22 12:51:47","EnergyKwh":"1e1"}') == Hints(
        None, STARTED, None, 10.0
    )
