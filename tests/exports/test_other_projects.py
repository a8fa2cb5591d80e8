"""Names of other programs: each once, each of ours real."""

import pytest

from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.derived_state import DERIVED
from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.queries.catalogue import QUERIES
from bridge.core.topics import SESSIONS
from bridge.exports.other_projects import PROJECTS

OBSERVATIONS = {spec.name for spec in REGISTRY.values()}
OURS = {
    "state": OBSERVATIONS | {derived.name for derived in DERIVED} | {"+"},
    "equalizer": {spec.name for spec in EQUALIZER.values()},
    "observation": OBSERVATIONS | {"+"},
    "session": set(SESSIONS),
    "set": set(CATALOGUE),
    "get": set(QUERIES),
    "bridge": {"state", "cloud", "info"},
    "result": {"+"},
    "availability": {""},
}
NAMES = [(key, old) for key, project in PROJECTS.items() for old in project.names]


@pytest.mark.parametrize("key", PROJECTS)
def test_a_name_stands_once_in_its_project(key):
    """Nobody finds two answers for one name."""
    names = [old.name for old in PROJECTS[key].names]

    assert len(names) == len(set(names)) > 5


def test_every_topic_of_ours_exists():
    """A name leads to an observation, derived value, command, query or session we have."""
    led = [(key, old.name, *old.ours.partition("/")) for key, old in NAMES if old.ours]
    wrong = [(key, name) for key, name, kind, _, rest in led if rest not in OURS.get(kind, ())]

    assert wrong == []


def test_a_name_without_a_topic_says_what_to_do():
    """Nothing is left without a word."""
    assert [old.name for _, old in NAMES if not old.ours and not old.note] == []


def test_a_group_is_the_commands_own():
    """A note that names a group of commands names the right one."""
    for _, old in NAMES:
        kind, _, name = old.ours.partition("/")
        if kind == "set" and "group `" in old.note:
            assert f"group `{CATALOGUE[name].group}`" in old.note, old.name


def test_every_value_of_loxberrys_plugin_has_a_name_here():
    """It publishes each observation: what it calls otherwise has a row, the rest is the same."""
    told = {
        old.name.removeprefix("easee/<id>/state/"): old.ours.removeprefix("state/")
        for old in PROJECTS["loxberry"].names
        if old.name.startswith("easee/<id>/state/")
    }
    assert told.pop("<any other>") == "+"
    assert {ours for ours in told.values() if ours not in OBSERVATIONS} == set()
    assert told["ledmode"] == "led_mode"
    assert "smart_charging" in OBSERVATIONS - set(told.values())


def test_a_limit_leads_to_the_limit_of_the_same_thing():
    """A charger's limit is not its circuit's, which others share."""
    limits = {
        ("ha", "easee.set_charger_dynamic_limit"): "set/dynamic_charger_current",
        ("ha", "easee.set_circuit_dynamic_limit"): "set/dynamic_circuit_current",
        ("loxberry", "easee/<id>/set/dynamic_current"): "set/dynamic_charger_current",
        ("evcc", "maxcurrent"): "set/dynamic_charger_current",
    }
    assert {(key, old.name): old.ours for key, old in NAMES if (key, old.name) in limits} == limits
