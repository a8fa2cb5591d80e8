"""A row of the registry: its name, its defaults, and what it has to say."""

import pytest

from bridge.core.easee.observation_spec import (
    NAMES_NOBODY,
    TEXTS,
    DataType,
    Visibility,
    row,
    snake_case,
)


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


@pytest.mark.parametrize("kind", DataType)
def test_a_text_says_whether_it_is_personal(kind):
    """A text without a word on privacy is no row; a number names nobody unless it says so."""
    if kind in TEXTS:
        with pytest.raises(ValueError, match="observation 777"):
            row(777, "NightName", kind, None, "A text")
        assert row(777, "NightName", kind, None, "A text", harmless="a word").privacy == "a word"
    else:
        assert row(777, "NightCount", kind, None, "A number").privacy == NAMES_NOBODY


def test_a_row_is_personal_or_harmless():
    """Both at once is a mistake."""
    with pytest.raises(ValueError, match="observation 777"):
        row(777, "NightName", DataType.STRING, None, "A text", personal="a tag", harmless="a word")


@pytest.mark.parametrize(
    ("made", "visibility"),
    [
        (row(777, "Night", DataType.BOOLEAN, None, "On"), Visibility.RARE),
        (row(777, "", DataType.INTEGER, None, "Seen with 0"), Visibility.HIDDEN),
        (row(777, "Name", DataType.STRING, None, "x", personal="a name"), Visibility.HIDDEN),
        (row(777, "Plan", DataType.STRING, "json", "x", harmless="times"), Visibility.HIDDEN),
        (row(777, "Log", DataType.STRING, None, "x", harmless="y", auth_field=True),
         Visibility.HIDDEN),
        (row(777, "Night", DataType.BOOLEAN, None, "On", visibility=Visibility.MAIN),
         Visibility.MAIN),
    ],
)  # fmt: skip
def test_a_row_is_shown_when_that_does_no_harm(made, visibility):
    """Without a word in the row, personal data and documents are hidden and the rest is rare."""
    assert made.visibility is visibility


def test_a_text_that_may_carry_a_tag_is_always_text():
    """A wrong type in a message must not cost a session."""
    made = row(777, "Log", DataType.STRING, "json", "x", harmless="y", auth_field=True)

    assert made.always_text


@pytest.mark.parametrize(
    ("made", "is_code"),
    [
        (row(777, "Step", DataType.INTEGER, None, "A step"), True),
        (row(777, "Step", DataType.INTEGER, None, "A step", labels={1: "one"}), False),
        (row(777, "Steps", DataType.INTEGER, "count", "Steps"), False),
        (row(777, "Ratio", DataType.DOUBLE, None, "A ratio"), False),
    ],
)
def test_a_number_without_unit_and_labels_is_a_code(made, is_code):
    """Only a number that measures, or counts, is added up."""
    assert made.is_code is is_code
