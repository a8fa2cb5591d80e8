"""Which values are published: by name, id and group."""

import pytest

from bridge.core.easee.derived_state import DERIVED, TOUCH_BUTTON
from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.observation_registry import REGISTRY, spec_named, spec_of
from bridge.core.easee.selection import (
    DERIVED_GROUPS,
    EVERYTHING,
    GROUPS,
    Selection,
    hidden_equalizer_names,
    hidden_names,
    is_known,
    names,
)
from bridge.settings import PublishSettings


def selection(only=(), except_=()):
    """Return the selection of a configuration."""
    return Selection.of(PublishSettings(only=only, except_=except_))


def shown(chosen):
    """Return the names of everything that is published."""
    found = {spec.name for spec in REGISTRY.values() if chosen.has(spec)}
    return found | {name for name in DERIVED_GROUPS if chosen.has_derived(name)}


def test_without_filters_everything_is_published():
    """No observation and no derived value is left out, with or without a row."""
    assert selection() == EVERYTHING
    assert shown(EVERYTHING) == set(names())
    assert EVERYTHING.has(spec_of(300))
    assert not hidden_names(EVERYTHING)


@pytest.mark.parametrize("word", ["total_power", "120"])
def test_a_value_by_name_or_id(word):
    """A name and an id select the same one value, in either list."""
    assert shown(selection(only=(word,))) == {"total_power"}
    assert shown(selection(except_=(word,))) == set(names()) - {"total_power"}


def test_a_group():
    """A group has observations and derived values; what is left out of it has precedence."""
    found = shown(selection(only=("phases",), except_=("in_voltage_t1_t2", "current_l3")))

    assert {"current_l1", "power_l3", "in_current_t3", "output_phase"} <= found
    assert not {"in_voltage_t1_t2", "current_l3", "op_mode", "total_power"} & found


def test_unnamed_ids_are_diagnostics():
    """An id without a row follows its group, its number and its name."""
    spec = spec_of(300)

    assert not selection(except_=("diagnostic",)).has(spec)
    assert not selection(except_=("300",)).has(spec)
    assert selection(only=("observation_300",)).has(spec)
    assert "observation_3" in hidden_names(selection(except_=("diagnostic",)))


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_can_be_left_out(group):
    """What is hidden is exactly what is not published."""
    chosen = selection(except_=(group,))
    every = {spec_of(number).name for number in range(256)} | set(DERIVED_GROUPS)

    assert hidden_names(chosen) & set(names()) == set(names()) - shown(chosen)
    assert 0 < len(hidden_names(chosen)) < len(every)
    assert all(chosen.has_named(name) is (name in shown(chosen)) for name in names())


def test_the_groups_users_ask_for_exist():
    """The contract names these; each derived value belongs to one."""
    assert {"phases", "temperatures", "radio", "diagnostic", "session"} <= set(GROUPS)
    assert set(DERIVED_GROUPS) == {topic.name for topic in DERIVED} | {TOUCH_BUTTON}
    assert spec_named("temp_max").group == "temperatures"
    assert spec_named("wi_fi_rssi").group == "radio"
    assert spec_named("session_energy").group == "session"


def test_every_temperature_is_in_its_group():
    """A group is complete: no unit of it is found anywhere else."""
    assert {s.group for s in REGISTRY.values() if s.unit == "degC"} == {"temperatures"}
    assert {s.group for s in REGISTRY.values() if s.unit in ("dBm", "dB")} == {"radio"}


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("op_mode", True),
        ("touch_button", True),
        ("phases", True),
        ("120", True),
        ("999", True),
        ("observation_999", True),
        ("tempratures", False),
        ("", False),
        ("-1", False),
        ("١٢", False),
        ("1" * 10, False),
    ],
)
def test_words_of_a_filter(word, known):
    """What can select nothing is a mistake."""
    assert is_known(word) is known


def test_values_of_an_equalizer_are_selected_by_the_same_words():
    """By name, by its own id and by group; what is hidden is exactly what is not published."""
    assert is_known("active_power_import")
    assert is_known("max_allocated_current")
    assert "max_allocated_current" in hidden_equalizer_names(selection(except_=("limits",)))
    assert "max_allocated_current" not in hidden_names(selection(except_=("limits",)))
    assert {spec.group for spec in EQUALIZER.values()} <= set(GROUPS)
    for words in (("phases",), ("active_power_import",), ("40",)):
        chosen = selection(except_=words)
        hidden = {spec.name for spec in EQUALIZER.values() if not chosen.has(spec)}
        assert hidden_equalizer_names(chosen) == hidden
        assert 0 < len(hidden) < len(EQUALIZER)
    assert "current_l1" in hidden_equalizer_names(selection(except_=("phases",)))
    assert not hidden_equalizer_names(EVERYTHING)
