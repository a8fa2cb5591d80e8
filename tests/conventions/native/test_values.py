"""Values as documents and bare values, derived values, availability."""

from datetime import UTC, datetime

import pytest

from bridge.conventions.native.values import ValueMessages
from bridge.core.changes import AvailabilityChanged, DerivedChanged, ValueChanged, ValuesChanged
from bridge.core.easee.decode import spec_of
from bridge.core.messages import Publish
from bridge.core.topics import Topics
from bridge.settings import PublishSettings

ONE = "EH123456"
AT = datetime(2026, 11, 22, 11, 59, 58, tzinfo=UTC)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def messages(*values, **publish):
    """Return the messages of values under a base of two levels."""
    made = ValueMessages(Topics("home/charger"), PublishSettings(**publish))
    return made.values(ValuesChanged(values))


def value(number, what, **more):
    """Make a value that was measured two seconds before it arrived."""
    return ValueChanged(ONE, spec_of(number), what, AT, NOON, "stream", **more)


def test_a_value_is_a_document_and_a_bare_value():
    """Both go the way of the values, and the bare one carries time, unit and id as properties."""
    assert messages(value(109, 3)) == [
        Publish(
            "home/charger/EH123456/observation/charger_op_mode",
            b'{"id":109,"name":"charger_op_mode","value":3,"label":"charging","unit":null,'
            b'"measured_at":"2026-11-22T11:59:58Z","received_at":"2026-11-22T12:00:00Z",'
            b'"source":"stream"}',
            telemetry=True,
        ),
        Publish(
            "home/charger/EH123456/state/charger_op_mode",
            b"3",
            user_properties=(
                ("measured_at", "2026-11-22T11:59:58Z"),
                ("unit", ""),
                ("id", "109"),
            ),
            telemetry=True,
        ),
    ]


@pytest.mark.parametrize(
    ("facts", "publish", "kinds"),
    [
        ({}, {}, ["observation", "state"]),
        ({"is_new": False}, {}, ["observation"]),
        ({}, {"json": False}, ["state"]),
        ({}, {"scalar": False}, ["observation"]),
        ({"is_new": False}, {"json": False}, []),
    ],
)
def test_an_old_value_with_a_newer_time_is_no_new_bare_value(facts, publish, kinds):
    """Only the document tells the time, and either form can be switched off."""
    assert [m.topic.split("/")[3] for m in messages(value(120, 7.2, **facts), **publish)] == kinds


def test_personal_data_is_not_retained():
    """It goes over the main connection, once."""
    ways = [(m.retained, m.telemetry) for m in messages(value(128, "sha256:00"))]
    assert ways == [(False, False)] * 2


def test_the_messages_of_several_values_keep_their_order():
    """One after the other, each document before its bare value."""
    topics = [m.topic.split("/", 3)[3] for m in messages(value(120, 1), value(121, 2))]
    assert topics == [
        "observation/total_power",
        "state/total_power",
        "observation/session_energy",
        "state/session_energy",
    ]


@pytest.mark.parametrize(
    ("what", "payload"), [("charging", b"charging"), (True, b"true"), (None, b"null")]
)
def test_a_derived_value_is_bare(what, payload):
    """A word, a switch, or null where it is not known any more."""
    made = ValueMessages(Topics(), PublishSettings())
    topic = f"charger/{ONE}/state/op_mode"
    assert made.derived(DerivedChanged(ONE, "op_mode", what)) == [
        Publish(topic, payload, telemetry=True)
    ]


@pytest.mark.parametrize(("is_online", "payload"), [(True, b"online"), (False, b"offline")])
def test_availability_goes_the_way_of_the_values(is_online, payload):
    """So whoever reads ``online`` finds the values before it."""
    made = ValueMessages(Topics(), PublishSettings())
    assert made.availability(AvailabilityChanged(ONE, is_online)) == [
        Publish(f"charger/{ONE}/availability", payload, telemetry=True)
    ]
