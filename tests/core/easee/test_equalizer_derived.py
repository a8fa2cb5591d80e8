"""Settings of an Equalizer: read from what the cloud reports, whatever it looks like."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.derived_state import DERIVED, UNTOLD
from bridge.core.easee.equalizer import EQUALIZER, SITE_STRUCTURE_ID, SURPLUS_ID
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED, EQUALIZER_DERIVED_BY_SOURCE

ON = {"mode": "chargingWithImport", "chargingWithImport": {"eligible": True}}
SEEN = {"mode": "chargingWithImport", "standbycurrent": 6}


class Readings:
    """The newest observations of one Equalizer."""

    def __init__(self, **values):
        self.values = {int(key[1:]): value for key, value in values.items()}

    def value(self, observation_id):
        return self.values.get(observation_id)

    def measured_at(self, _observation_id):
        return None


def derived(**values):
    """Return every derived value by name."""
    readings = Readings(**values)
    return {topic.name: topic.derive(readings) for topic in EQUALIZER_DERIVED}


def test_nothing_is_told_before_the_first_observation():
    """Each value waits for what it follows from."""
    assert set(derived().values()) == {UNTOLD}


@pytest.mark.parametrize(
    ("held", "enabled", "amps"),
    [
        ({"mode": "none"}, False, None),
        (ON, True, None),
        ({**ON, "chargingWithImport": {"maximumImportAddedCurrent": 6}}, True, 6),
        ({**ON, "chargingWithImport": {"MaximumImportAddedCurrent": 7.5}}, True, 7.5),
        ({"Mode": "None", "Standbycurrent": 0}, False, 0),
        (SEEN, True, 6),
        ({**SEEN, "standbycurrent": "6"}, True, None),
        ({**SEEN, "standbycurrent": True}, True, None),
        ({"mode": 1}, None, None),
        ({"mode": ""}, None, None),
        ([], None, None),
    ],
)
def test_surplus_charging_is_read_in_each_form(held, enabled, amps):
    """The settings of the REST interface, and the shorter form that was seen in a stream."""
    found = derived(**{f"o{SURPLUS_ID}": json.dumps(held)})
    assert found["surplus_charging_enabled"] is enabled
    assert found["surplus_charging_current"] == amps


@pytest.mark.parametrize(
    ("text", "amps"),
    [
        ('{"siteId":1,"maxAllocatedCurrent":25,"address":{"zip":"4306"}}', 25),
        ('{"MaxAllocatedCurrent":20.5}', 20.5),
        ('{"maxAllocatedCurrent":-1}', None),
        ('{"maxAllocatedCurrent":null}', None),
        ("{}", None),
        ("no JSON", None),
    ],
)
def test_the_maximal_current_is_part_of_the_site(text, amps):
    """Of a text that is personal otherwise only this number is taken."""
    assert derived(**{f"o{SITE_STRUCTURE_ID}": text})["max_allocated_current"] == amps


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_text_is_too_odd(text):
    """Whatever the cloud reports, a value is derived: a switch, a current, or unknown."""
    for observation_id in (SURPLUS_ID, SITE_STRUCTURE_ID):
        for name, value in derived(**{f"o{observation_id}": text}).items():
            assert value is UNTOLD or value is None or isinstance(value, bool | int | float), name


def test_the_names_are_free():
    """No value of a charger or of an Equalizer has the name of one of these."""
    names = {topic.name for topic in EQUALIZER_DERIVED}

    assert len(names) == len(EQUALIZER_DERIVED)
    assert names.isdisjoint({spec.name for spec in EQUALIZER.values()})
    assert names.isdisjoint({topic.name for topic in DERIVED})
    assert set(EQUALIZER_DERIVED_BY_SOURCE) <= set(EQUALIZER)
