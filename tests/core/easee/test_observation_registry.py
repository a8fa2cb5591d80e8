import pytest

from bridge.core.easee.derived_state import DERIVED, TOUCH_BUTTON
from bridge.core.easee.observation_registry import (
    REGISTRY,
    RETAINED_ONCE,
    DataType,
    snake_case,
    spec_of,
)
from bridge.core.topics import is_topic_level


@pytest.mark.parametrize(
    ("vendor_name", "name"),
    [
        ("TotalPower", "total_power"),
        ("InCurrentT3", "in_current_t3"),
        ("ChargerOpMode", "charger_op_mode"),
        ("InVoltageT1T2", "in_voltage_t1_t2"),
        ("Enable3PhasesDeprecated", "enable3_phases_deprecated"),
        ("CircuitMaxCurrentP1", "circuit_max_current_p1"),
    ],
)
def test_names_follow_from_the_vendors(vendor_name, name):
    """A topic's name is the vendor's name in snake_case, by one rule."""
    assert snake_case(vendor_name) == name


def test_names_are_distinct_levels():
    """No two topics collide, derived state included, and every name may stand in a topic."""
    names = [spec.name for spec in REGISTRY.values()]
    names += [topic.name for topic in DERIVED] + [TOUCH_BUTTON]

    assert len(set(names)) == len(names)
    assert all(is_topic_level(name) for name in names)


def test_personal_data_is_marked():
    """Exactly the ids that the contract calls personal are."""
    personal = {spec.id for spec in REGISTRY.values() if spec.personal}
    auth_field = {spec.id for spec in REGISTRY.values() if spec.auth_field}

    assert personal == {20, 25, 36, 69, 81, 108, 128, 140, 241}
    assert auth_field == {60, 129, 223}


def test_every_row_says_why_it_is_personal_or_is_not():
    """Each text was looked at by itself; a number has the common reason unless it is personal."""
    texts = (DataType.STRING, DataType.POSITION, DataType.BINARY)
    common = REGISTRY[109].privacy
    for spec in REGISTRY.values():
        assert spec.privacy
        assert spec.kind not in texts or spec.privacy != common, spec.id
    assert spec_of(300).privacy


def test_what_was_retained_once_is_personal_now():
    """Only personal data is taken from the broker."""
    assert all(REGISTRY[number].personal for number in RETAINED_ONCE)


def test_every_row_is_described():
    """No row of the topic reference is empty."""
    assert all(spec.description for spec in REGISTRY.values())


def test_unnamed_ids_are_published_by_number():
    """An id nobody has described gets a topic of its own, and the same spec each time."""
    spec = spec_of(300)

    assert (spec.name, spec.kind, spec.unit) == ("observation_300", DataType.STRING, None)
    assert spec_of(300) is spec
    assert REGISTRY[156].name == "observation_156"
    assert spec_of(109) is REGISTRY[109]
