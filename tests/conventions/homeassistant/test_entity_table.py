"""What is shown: known units, and nothing in it that belongs to a person."""

import pytest

from bridge.conventions.homeassistant.entity_table import DERIVED_SHOWN, UNITS, unit_config
from bridge.core.easee.derived_state import DERIVED, TOUCH_BUTTON
from bridge.core.easee.observation_registry import REGISTRY, spec_named
from bridge.core.easee.observation_spec import Visibility


def test_every_derived_value_is_decided_on():
    """Every derived value has a title and a visibility."""
    assert set(DERIVED_SHOWN) == {derived.name for derived in DERIVED} | {TOUCH_BUTTON}
    assert all(title for _, title in DERIVED_SHOWN.values())


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=lambda spec: spec.name)
def test_personal_data_and_documents_are_hidden(spec):
    """No tag, position or network name becomes an entity, and no text that may carry a tag."""
    if spec.personal or spec.auth_field or spec.unit == "json":
        assert spec.visibility is Visibility.HIDDEN


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=lambda spec: spec.name)
def test_what_is_hidden_has_no_title(spec):
    """A title, a class or decimals of an observation that becomes no entity would never be read."""
    if spec.visibility is Visibility.HIDDEN:
        assert (spec.title, spec.digits, spec.device_class, spec.state_class) == ("", None, "", "")


def test_a_unit_that_is_not_listed_is_shown_as_it_is():
    """A new unit of the vendor's needs no entry before it can be shown."""
    assert unit_config("lx") == {"unit_of_measurement": "lx"}
    assert unit_config("kW") is UNITS["kW"]
    assert unit_config(None) == {}


def test_the_energy_of_a_session_is_not_added_up():
    """It falls back to 0 with each session: with a state class it would be counted twice."""
    assert "state_class" not in UNITS["kWh"]
    assert spec_named("session_energy").state_class == ""
    assert spec_named("lifetime_energy").state_class == "total_increasing"
