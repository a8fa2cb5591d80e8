"""A history is read in whichever of the shapes it comes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.history import history
from bridge.core.records.observation import RawObservation
from bridge.errors import DecodeError

STAMP = "2026-11-22T12:00:00Z"


def read(document):
    """Read a JSON document."""
    return history(json.dumps(document).encode(), "EH123456", 44)


@pytest.mark.parametrize(
    "document",
    [
        [{"value": True, "timestamp": STAMP}],
        [{"value": True, "measuredAt": STAMP}],
        {"measurements": [{"value": True, "measuredAt": STAMP}]},
        {"observations": [{"id": 44, "value": True, "timestamp": STAMP}], "more": 1},
    ],
)
def test_every_shape_that_was_seen_nearby_is_taken(document):
    """A list or an object with one, measuredAt or timestamp."""
    assert read(document) == (RawObservation("EH123456", 44, None, True, STAMP),)


def test_a_type_is_kept_and_entries_that_are_no_values_are_left_out():
    """Null is no value, and a value without a time cannot be placed."""
    rows = [
        {"value": "1", "dataType": 2, "timestamp": STAMP},
        {"value": None, "timestamp": STAMP},
        {"value": 1},
        7,
    ]

    assert read(rows) == (RawObservation("EH123456", 44, 2, "1", STAMP),)


def test_nothing_happened_is_an_answer_too():
    """An empty list is no error."""
    assert read([]) == read({"measurements": []}) == ()


@pytest.mark.parametrize("document", [{}, None, 5, {"measurements": {}}, [1], [{"value": 1}]])
def test_what_is_no_history_is_refused(document):
    """Whoever asked is told so instead of being shown nothing."""
    with pytest.raises(DecodeError):
        read(document)


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(body):
    """Nothing but the named error leaves."""
    try:
        found = history(body, "EH123456", 44)
    except DecodeError:
        return
    assert all(isinstance(one, RawObservation) for one in found)
