"""The native convention: every change has its messages."""

import json
from datetime import UTC, datetime
from typing import get_args

import pytest

from bridge.conventions.native.convention import Native
from bridge.core.changes import (
    AvailabilityChanged,
    Change,
    ChargerEvent,
    DerivedChanged,
    ValueChanged,
    ValuesChanged,
)
from bridge.core.easee.decode import spec_of
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics
from bridge.settings import PublishSettings

ONE = "EH123456"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW = Timestamp(NOON, 1000.0)
ONE_OF_EACH = (
    ValuesChanged((ValueChanged(ONE, spec_of(120), 7.2, NOON, NOON, "stream"),)),
    DerivedChanged(ONE, "op_mode", "charging"),
    AvailabilityChanged(ONE, is_online=True),
    ChargerEvent(ONE, "smart_button", NOON, NOON, {"value": True}),
)


@pytest.fixture
def native():
    """The convention under a base of its own."""
    return Native(Topics("home"), PublishSettings())


@pytest.mark.parametrize("change", ONE_OF_EACH, ids=lambda change: type(change).__name__)
def test_every_change_is_published_below_the_base(native, change):
    """Each kind of change has at least one message."""
    messages = list(native.publish(change, NOW))
    assert messages
    assert all(message.topic.startswith("home/") for message in messages)


def test_no_kind_of_change_is_left_out():
    """The table of this test names every kind there is."""
    assert {type(change) for change in ONE_OF_EACH} == {*get_args(Change)}


def test_an_event_is_a_document_that_is_not_retained(native):
    """Its facts stand between what it is and when it was."""
    (message,) = native.publish(ChargerEvent(ONE, "error", None, NOON, {"code": 17}), NOW)
    assert (message.topic, message.retained) == (f"home/{ONE}/event/error", False)
    assert list(json.loads(message.payload).items()) == [
        ("event", "error"),
        ("charger_id", ONE),
        ("code", 17),
        ("measured_at", None),
        ("received_at", "2026-11-22T12:00:00Z"),
    ]
