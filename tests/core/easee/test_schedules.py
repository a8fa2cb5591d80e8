"""What the cloud tells of schedules, in its spellings, and the bodies that store them."""

import json

import pytest

from bridge.core.easee.schedules import (
    DIRECT_OCPP,
    NONE,
    Period,
    Schedule,
    Schedules,
    body_of,
    missing_kinds,
    read_schedule,
    read_schedules,
    schedule_fields,
)
from bridge.errors import DecodeError

OSLO = "Europe/Oslo"
NIGHT = Period(22 * 60, 6 * 60, 16)
DELAYED = Schedule(OSLO, (Period(22 * 60 + 15, None, 10),), enabled=True)
DAILY = Schedule(OSLO, (NIGHT, Period(720, 780, 32)), enabled=False)
WEEKLY = Schedule(OSLO, (Period(22 * 60, 6 * 60, 16, 6, 0),), enabled=True)


def daily(**change):
    """Spell a daily schedule as the cloud does."""
    return {
        "enabled": True,
        "timezone": OSLO,
        "periods": [{"startTime": "22:00:00", "stopTime": "06:00:00", "maximumAmps": 16.0}],
        **change,
    }


@pytest.mark.parametrize(
    ("kind", "schedule"), [("delayed", DELAYED), ("daily", DAILY), ("weekly", WEEKLY)]
)
def test_what_is_sent_is_read_as_what_was_meant(kind, schedule):
    """The body of each kind, answered by the cloud unchanged, is the schedule again."""
    assert read_schedule(kind, json.loads(body_of(kind, schedule))) == schedule


def test_each_kind_has_the_vendors_spelling():
    """Seconds where the vendor has them, days in a weekly schedule only."""
    assert json.loads(body_of("delayed", DELAYED)) == {
        "enabled": True,
        "timezone": OSLO,
        "startTime": "22:15:00",
        "maximumAmps": 10,
    }
    assert json.loads(body_of("weekly", WEEKLY))["periods"] == [
        {
            "startTime": "22:00",
            "stopTime": "06:00",
            "startDay": "sunday",
            "stopDay": "monday",
            "maximumAmps": 16,
        }
    ]
    assert json.loads(body_of("daily", DAILY))["periods"][1]["stopTime"] == "13:00:00"


def test_the_summary_names_what_is_in_force():
    """It counts, whatever a schedule says of itself."""
    summary = {"enabled": "weekly", "daily": daily(), "delayed": None, "weekly": None}
    read = read_schedules({"schedules": json.dumps(summary).encode()})

    assert read == Schedules("weekly", None, Schedule(OSLO, (NIGHT,), enabled=True), None)
    assert not read.is_direct


@pytest.mark.parametrize("word", ["offPeak", "tariff", DIRECT_OCPP, NONE])
def test_a_word_of_the_vendor_is_kept(word):
    """Also one that no command sets."""
    read = read_schedules({"schedules": json.dumps({"enabled": word}).encode()})

    assert read.in_force == word
    assert read.is_direct is (word == DIRECT_OCPP)


@pytest.mark.parametrize("word", [None, 5, "", "x" * 40, "a\nb", ["daily"]])
def test_without_a_word_the_schedules_tell_themselves(word):
    """What is no word does not count; the first that calls itself enabled is in force."""
    bodies = {"schedules": json.dumps({"enabled": word}).encode()}

    assert read_schedules(bodies).in_force == NONE
    assert read_schedules({**bodies, "daily": json.dumps(daily()).encode()}).in_force == "daily"


def test_a_schedule_of_its_own_answer_is_read_where_the_summary_is_silent():
    """With the summary, without it, and with an empty answer for none."""
    body = json.dumps(daily()).encode()
    for summary in (b'{"enabled":"daily"}', b"", b"{}"):
        read = read_schedules({"schedules": summary, "daily": body, "weekly": b""})
        assert (read.in_force, read.of("daily").periods) == ("daily", (NIGHT,))
        assert read.of("weekly") is read.of("offPeak") is None


def test_kinds_that_the_summary_does_not_mention_are_missing():
    """Null is an answer; an absent key, no summary and an unreadable one are not."""
    assert missing_kinds(b'{"enabled":"none","delayed":null,"Daily":null}') == ("weekly",)
    for body in (b"", b"{}", b"[]", b"<html>"):
        assert missing_kinds(body) == ("delayed", "daily", "weekly")


def test_keys_and_times_are_read_in_any_spelling():
    """Capitals, seconds or none, a Z, an hour of one digit, a weekday in capitals."""
    told = {
        "Timezone": OSLO,
        "Periods": [
            {
                "StartTime": "7:05",
                "StopTime": "06:00:30Z",
                "StartDay": "Sunday",
                "StopDay": "MONDAY",
            }
        ],
    }
    assert read_schedule("weekly", told) == Schedule(OSLO, (Period(425, 360, None, 6, 0),))


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("delayed", {"timezone": OSLO, "startTime": None}),
        ("daily", {"timezone": OSLO, "periods": []}),
        ("weekly", {}),
    ],
)
def test_a_document_without_a_period_is_no_schedule(kind, document):
    """The cloud may answer with an empty one instead of 404."""
    assert read_schedule(kind, document) is None


@pytest.mark.parametrize(
    "document",
    [
        5,
        [],
        daily(periods={}),
        daily(periods=[5]),
        daily(timezone=None),
        daily(periods=[{"startTime": "25:00", "stopTime": "06:00"}]),
        daily(periods=[{"startTime": "22:00"}]),
        daily(periods=[{"startTime": 22, "stopTime": "06:00"}]),
    ],
)
def test_what_cannot_be_read_is_named_and_costs_no_other(document):
    """The kind is told, the other schedules are there."""
    bodies = {
        "schedules": json.dumps({"enabled": "weekly", "daily": document}).encode(),
        "weekly": body_of("weekly", WEEKLY),
    }
    read = read_schedules(bodies)

    assert (read.unreadable, read.daily, read.weekly) == (("daily",), None, WEEKLY)


def test_a_weekday_that_is_none_is_unreadable():
    """A period without days belongs to no week."""
    with pytest.raises(DecodeError):
        read_schedule("weekly", daily())


def test_an_answer_that_is_nothing_at_all_is_an_error():
    """Unless a schedule itself could be read."""
    with pytest.raises(DecodeError):
        read_schedules({"schedules": b"<html>"})
    read = read_schedules({"schedules": b"<html>", "daily": json.dumps(daily()).encode()})
    assert read.in_force == "daily"


def test_a_schedule_is_shown_as_its_command_takes_it():
    """Amperes without a needless fraction, and only what there is."""
    assert schedule_fields(read_schedule("daily", daily()), is_in_force=True) == {
        "enabled": True,
        "timezone": OSLO,
        "periods": [{"start": "22:00", "stop": "06:00", "amps": 16}],
    }
    assert schedule_fields(DELAYED, is_in_force=False)["periods"] == [
        {"start": "22:15", "amps": 10}
    ]
    assert schedule_fields(WEEKLY, is_in_force=True)["periods"] == [
        {"start": "22:00", "stop": "06:00", "amps": 16, "from": "sunday", "to": "monday"}
    ]
