from datetime import UTC, datetime, timedelta, timezone

import pytest

from bridge.simulator.observation_table import CHARGER_OBSERVATIONS, DataType
from bridge.simulator.readings import (
    data_type_of,
    fitted,
    float32,
    stamp,
    trimmed,
    utc_text,
    wire_text,
)

AT = datetime(2026, 11, 22, 12, 0, 1, 234567, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "1"), (False, "0"), (7, "7"), (7.0, "7"), (6.5, "6.5"), ("OK", "OK")],
)
def test_values_are_text_on_the_wire(value, text):
    """Booleans are 1 and 0, whole doubles have no point."""
    assert wire_text(value) == text


def test_doubles_carry_the_noise_of_a_float32():
    """A double looks as it does in the field."""
    assert wire_text(fitted(DataType.DOUBLE, 6.053)) == "6.052999973297119"
    assert float32(16.0) == 16.0


def test_integers_are_rounded_to_their_type():
    """A measured temperature of an integer type has no fraction."""
    assert fitted(DataType.INTEGER, 11.7) == 12


@pytest.mark.parametrize(
    ("observation_id", "text"),
    [
        (109, "2026-11-22T12:00:01Z"),
        (250, "2026-11-22T12:00:01.234Z"),
        (62, "2026-11-22T12:00:01.234567Z"),
    ],
)
def test_stamps_have_the_precision_of_their_origin(observation_id, text):
    """Chargers stamp seconds, the cloud milliseconds, a schedule microseconds."""
    assert stamp(observation_id, AT) == text
    assert stamp(observation_id, trimmed(observation_id, AT)) == text


def test_moments_are_spelled_in_utc():
    """Whatever zone a moment came in, it leaves as UTC with Z."""
    assert utc_text(AT.astimezone(timezone(timedelta(hours=2)))) == "2026-11-22T12:00:01Z"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, DataType.BOOLEAN), (1, DataType.INTEGER), (1.5, DataType.DOUBLE), ("x", 6)],
)
def test_unknown_ids_are_typed_by_their_value(value, kind):
    """An id the table has no row for is still sent with a type."""
    assert data_type_of(CHARGER_OBSERVATIONS, 65_000, value) == kind


def test_known_ids_are_typed_by_the_table():
    """The type of op mode does not depend on the value."""
    assert data_type_of(CHARGER_OBSERVATIONS, 109, 3.0) == DataType.INTEGER
