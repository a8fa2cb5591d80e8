from bridge.core.easee import observation_registry
from bridge.core.easee.derived_state import DERIVED, TOUCH_BUTTON
from bridge.core.easee.observation_registry import (
    EVENT_IDS,
    POLLED_IDS,
    REGISTRY,
    RETAINED_ONCE,
    spec_named,
    spec_of,
)
from bridge.core.easee.observation_spec import DataType
from bridge.core.topics import is_topic_level


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


def test_what_was_retained_once_is_personal_now():
    """Only personal data is taken from the broker."""
    assert RETAINED_ONCE == ("site_structure",)
    assert all(spec_named(name).personal for name in RETAINED_ONCE)


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


def test_a_row_is_found_by_its_name():
    """What a query names is found in the registry; what is not there is not invented."""
    assert all(spec_named(spec.name) is spec for spec in REGISTRY.values())
    assert spec_named("observation_300") is None


def test_no_id_stands_twice():
    """Of two rows with one id the later one would silently win."""
    ids = [spec.id for spec in observation_registry._ROWS]

    assert sorted(set(ids)) == sorted(ids) == list(POLLED_IDS)


def test_an_event_is_one_of_those_that_are_described():
    """A row can only name an event that has a topic and a schema."""
    kinds = {spec.event for spec in REGISTRY.values()}

    assert kinds == {"", "smart_button", "foreign_command", "error"}
    assert {number for number, spec in REGISTRY.items() if spec.event} == EVENT_IDS
