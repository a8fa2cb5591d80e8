"""Numbers and words as JSON Schema: exactly what lies between the bounds, however it is spelled."""

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.payload_shapes import Keys, number, word

BOUNDS = st.tuples(st.integers(0, 700), st.integers(0, 700)).map(sorted)


@given(BOUNDS, st.integers(0, 1500), st.sampled_from(["{}", "+{}", "00{}", "{}.0"]))
def test_a_numeral_is_taken_within_its_bounds(bounds, value, spelling):
    """A text that says a whole number is taken exactly where the number is."""
    schema = {"anyOf": number(*bounds)}
    is_within = bounds[0] <= value <= bounds[1]

    assert is_taken(schema, value) is is_within
    assert is_taken(schema, spelling.format(value)) is is_within


@given(BOUNDS, st.integers(0, 15_000))
def test_a_fraction_is_taken_within_its_bounds(bounds, tenths):
    """Where fractions are allowed, one between the bounds is taken as number and as text."""
    schema = {"anyOf": number(*bounds, whole=False)}
    is_within = bounds[0] * 10 <= tenths <= bounds[1] * 10

    assert is_taken(schema, tenths / 10) is is_within
    assert is_taken(schema, str(tenths / 10)) is is_within


@pytest.mark.parametrize("text", ["auto", "AUTO", "Auto"])
def test_a_word_is_read_in_capitals_or_not(text):
    """A word is the same however it is written; half of it is another."""
    assert is_taken(word("auto", "locked_1_phase"), text)
    assert not is_taken(word("auto", "locked_1_phase"), text[:3])


def test_an_object_has_its_keys_and_no_others():
    """A misspelled key is refused, and so is a missing one."""
    keys = Keys({"amps": {"type": "integer"}, "minutes": {"type": "integer"}}, ("amps",))

    assert is_taken(keys.schema(), {"amps": 6})
    assert not is_taken(keys.schema(), {"minutes": 6})
    assert not is_taken(keys.schema(), {"amps": 6, "id": "a"})
    assert is_taken(keys.schema({"id": {"type": "string"}}), {"amps": 6, "id": "a"})


def is_taken(schema, value):
    """Say whether a schema lets a value through."""
    return jsonschema.Draft202012Validator(schema).is_valid(value)
