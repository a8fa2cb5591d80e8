"""Types and units of metrics, and conversion to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conventions.sparkplug.metrics import (
    SESSION,
    SESSION_TYPES,
    MetricType,
    command_type,
    converted,
    device_types,
    milliseconds,
    observation_type,
)
from bridge.conventions.sparkplug.payload import DataType
from bridge.core.addressees import CHARGER, EQUALIZER
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.derived_state import DERIVED
from bridge.core.easee.equalizer import EQUALIZER as EQUALIZER_ROWS
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.selection import Selection
from bridge.core.session_documents import stored_fields
from tests.core.sessions.rows import NOON, row

VALUES = st.booleans() | st.integers() | st.floats() | st.text()
TYPES = (DataType.BOOLEAN, DataType.DOUBLE, DataType.INT64, DataType.STRING)


def test_every_observation_but_the_personal_ones_is_a_metric():
    """With the unit of its row and a type that follows from its kind."""
    types = device_types(CHARGER, ())

    assert {spec.name for spec in REGISTRY.values() if not spec.personal} <= types.keys()
    assert not {spec.name for spec in REGISTRY.values() if spec.personal} & types.keys()
    assert {topic.name for topic in DERIVED} <= types.keys()
    assert types["total_power"].datatype is DataType.DOUBLE
    assert types["total_power"].unit == "kW"
    assert types["is_enabled"].datatype is DataType.BOOLEAN
    assert types["op_mode"].datatype is DataType.STRING
    assert types["awaiting_authorization"].datatype is DataType.BOOLEAN


@pytest.mark.parametrize("kind", [CHARGER, EQUALIZER])
def test_names_differ_in_more_than_their_case(kind):
    """A host may not tell them apart otherwise."""
    names = [name.lower() for name in device_types(kind, CATALOGUE)]

    assert len(set(names)) == len(names)


def test_an_equalizer_has_its_own_observations_and_commands():
    """And no sessions."""
    types = device_types(EQUALIZER, CATALOGUE)

    assert {spec.name for spec in EQUALIZER_ROWS.values() if not spec.personal} <= types.keys()
    assert {topic.name for topic in EQUALIZER_DERIVED} <= types.keys()
    assert types["surplus_charging_enabled"].datatype is DataType.BOOLEAN
    assert types["max_allocated_current"].unit == "A"
    assert {"Command/surplus_charging", "Result/surplus_charging"} <= types.keys()
    assert "Command/start" not in types
    assert not [name for name in types if name.startswith(SESSION)]


def test_values_that_are_not_published_are_no_metrics():
    """Derived ones neither; everything else stays."""
    chosen = device_types(CHARGER, ("start",), Selection(only=frozenset({"total_power"})))

    assert [name for name in chosen if "/" not in name] == ["total_power"]
    assert "Command/start" in chosen


def test_a_derived_quantity_is_a_number_with_its_unit():
    """A switch is a flag, a word is text."""
    types = device_types(CHARGER, ())

    assert types["power_l1"] == MetricType(DataType.DOUBLE, "kW")
    texts = [topic.name for topic in DERIVED if topic.unit is None]
    assert {types[name].datatype for name in texts} == {DataType.STRING, DataType.BOOLEAN}


def test_an_observation_that_may_come_as_any_text_is_a_text():
    """Digits that are no quantity stay as they are."""
    texts = [spec for spec in REGISTRY.values() if spec.always_text]

    assert texts
    assert {observation_type(spec).datatype for spec in texts} == {DataType.STRING}


@pytest.mark.parametrize(
    ("name", "datatype"),
    [
        ("start", DataType.BOOLEAN),
        ("authorization_required", DataType.BOOLEAN),
        ("dynamic_charger_current", DataType.DOUBLE),
        ("led_strip_brightness", DataType.DOUBLE),
        ("phase_mode", DataType.STRING),
        ("weekly_charge_plan", DataType.STRING),
    ],
)
def test_a_command_has_the_type_of_its_control(name, datatype):
    """Buttons and switches are flags, numbers are numbers, everything else is text."""
    assert command_type(name).datatype is datatype


def test_allowed_commands_and_their_results_are_metrics():
    """And no others."""
    types = device_types(CHARGER, ("start", "surplus_charging", "no_such_command"))

    assert {name for name in types if "/" in name and not name.startswith(SESSION)} == {
        "Command/start",
        "Result/start",
    }


def test_every_field_of_a_report_has_a_metric():
    """Except the charger, which is the device."""
    assert {name for name, _ in stored_fields(row())} == SESSION_TYPES.keys() | {"charger_id"}


@pytest.mark.parametrize(
    ("value", "datatype", "expected"),
    [
        (True, DataType.BOOLEAN, True),
        (1, DataType.BOOLEAN, True),
        (0.0, DataType.BOOLEAN, False),
        ("False", DataType.BOOLEAN, False),
        (2, DataType.BOOLEAN, None),
        ("maybe", DataType.BOOLEAN, None),
        (True, DataType.DOUBLE, 1.0),
        ("7.5", DataType.DOUBLE, 7.5),
        ("nan", DataType.DOUBLE, None),
        ("warm", DataType.DOUBLE, None),
        (10**400, DataType.DOUBLE, None),
        (7.0, DataType.INT64, 7),
        (7.5, DataType.INT64, None),
        ("-12", DataType.INT64, -12),
        ("12a", DataType.INT64, None),
        (2**63, DataType.INT64, None),
        ("99999999999999999999", DataType.INT64, None),
        (7.0, DataType.STRING, "7"),
        (True, DataType.STRING, "true"),
        (("ended_at", "auth"), DataType.STRING, "ended_at,auth"),
        (NOON, DataType.DATE_TIME, 1_795_348_800_000),
        (object(), DataType.STRING, None),
    ],
)
def test_a_value_is_converted_to_its_type(value, datatype, expected):
    """Or is none where that cannot be done; a wrong value is worse than none."""
    assert converted(value, datatype) == expected
    assert type(converted(value, datatype)) is type(expected)


@given(
    VALUES, st.sampled_from([DataType.BOOLEAN, DataType.DOUBLE, DataType.INT64, DataType.STRING])
)
def test_a_converted_value_is_of_its_type(value, datatype):
    """Whatever comes in."""
    kinds = {DataType.BOOLEAN: bool, DataType.DOUBLE: float, DataType.INT64: int}
    found = converted(value, datatype)

    assert found is None or type(found) is kinds.get(datatype, str)


def test_a_time_before_1970_is_the_begin_of_1970():
    """The field has no sign."""
    assert milliseconds(NOON.replace(year=1969)) == 0
