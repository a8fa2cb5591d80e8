"""The table of what is shown: complete, and nothing in it that belongs to a person."""

import pytest

from bridge.conventions.homeassistant import entity_table
from bridge.conventions.homeassistant.entity_table import (
    CODES,
    DERIVED_SHOWN,
    EXTRAS,
    LEVELS,
    UNITS,
    EntityVisibility,
)
from bridge.core.easee.derived_state import DERIVED, TOUCH_BUTTON
from bridge.core.easee.observation_registry import REGISTRY

NAMES = {spec.name for spec in REGISTRY.values()}


def test_every_observation_is_decided_on_once():
    """A new row of the registry has to be shown or hidden, and no row is both."""
    listed = [name for names in entity_table._LEVELS.values() for name in names.split()]

    assert sorted(listed) == sorted(NAMES)


def test_every_derived_value_is_decided_on():
    """The same holds for what is derived."""
    assert set(DERIVED_SHOWN) == {derived.name for derived in DERIVED} | {TOUCH_BUTTON}


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=lambda spec: spec.name)
def test_personal_data_and_documents_are_hidden(spec):
    """No tag, position or network name becomes an entity, and no text that may carry a tag."""
    if spec.personal or spec.auth_field or spec.unit == "json":
        assert LEVELS[spec.name] is EntityVisibility.HIDDEN


def test_extras_are_about_something_that_is_shown():
    """A misspelled name in the extras would say nothing to anybody."""
    visible = {name for name, level in LEVELS.items() if level is not EntityVisibility.HIDDEN}

    assert set(EXTRAS) <= visible
    assert visible >= CODES


def test_every_unit_of_a_shown_observation_is_known():
    """A unit that Home Assistant spells differently has to be told."""
    units = {s.unit for s in REGISTRY.values() if LEVELS[s.name] is not EntityVisibility.HIDDEN}

    assert units <= set(UNITS)


def test_the_energy_of_a_session_is_not_added_up():
    """It falls back to 0 with each session: with a state class it would be counted twice."""
    assert "state_class" not in UNITS["kWh"]
    assert "state_class" not in EXTRAS["session_energy"]
    assert EXTRAS["lifetime_energy"]["state_class"] == "total_increasing"
