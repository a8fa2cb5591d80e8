"""Names of other programs: each once, each of ours real."""

import pytest

from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.derived_state import DERIVED
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.queries.catalogue import QUERIES
from bridge.core.topics import SESSIONS
from bridge.exports.other_projects import PROJECTS

OBSERVATIONS = {spec.name for spec in REGISTRY.values()}
OURS = {
    "state": OBSERVATIONS | {derived.name for derived in DERIVED},
    "observation": OBSERVATIONS | {"+"},
    "session": set(SESSIONS),
    "set": set(CATALOGUE),
    "get": set(QUERIES),
    "bridge": {"state", "info"},
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
