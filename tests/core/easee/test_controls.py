"""The controls of the catalogue: honest about what they show, and taken by their commands."""

import pytest

from bridge.core.addressees import EQUALIZER
from bridge.core.easee.command_catalogue import CATALOGUE, controls
from bridge.core.easee.controls import Control, button, derived_limit, limit, number, select, switch
from bridge.core.easee.derived_state import DERIVED
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED
from bridge.core.easee.observation_registry import spec_named
from bridge.core.easee.observation_spec import Visibility

EVERY_GROUP = tuple({spec.group for spec in CATALOGUE.values()})
CONTROLS = {**dict(controls(EVERY_GROUP)), **dict(controls(EVERY_GROUP, EQUALIZER))}


@pytest.mark.parametrize("command", CONTROLS)
def test_a_control_shows_what_its_command_moves(command):
    """A switch that showed another observation than the one it sets would never flip."""
    control = CONTROLS[command]
    derived = next((topic for topic in DERIVED if topic.name == control.shows), None)
    if EQUALIZER in CATALOGUE[command].of:
        # Its settings have no observation of a charger's id space; what the cloud holds is read.
        assert control.shows in {topic.name for topic in EQUALIZER_DERIVED}
        assert CATALOGUE[command].read_back is not None
    elif derived is not None:
        assert set(derived.sources) & set(CATALOGUE[command].moves)
    elif control.shows:
        shown = spec_named(control.shows)
        assert shown.id in CATALOGUE[command].moves
        assert shown.visibility is not Visibility.HIDDEN
    else:
        assert control.kind == "button"


@pytest.mark.parametrize("command", CONTROLS)
def test_what_a_control_offers_is_taken_by_its_command(command):
    """Every option, both bounds and both positions are read without a refusal."""
    control, read = CONTROLS[command], CATALOGUE[command].read
    offered = {
        "button": ["PRESS"],
        "switch": ["true", "false"],
        "select": list(control.labels.values()),
        "number": list(control.bounds(32)),
    }[control.kind]

    for payload in offered:
        read(payload, 32)


def test_lasting_limits_are_not_offered_by_default():
    """What wears the charger's flash memory for the installer's limits has to be enabled first."""
    for command, control in CONTROLS.items():
        if CATALOGUE[command].group == "installer":
            assert not control.is_enabled
            assert control.is_config


@pytest.mark.parametrize(
    ("made", "shows", "replaces"),
    [
        (button("Start"), "", False),
        (switch("Smart charging", 102), "smart_charging", True),
        (select("Phases", 38, {1: "one"}), "phase_mode", True),
        (number("Brightness", 40, 0, 100, "%"), "led_strip_brightness", True),
        (limit("Limit", 48), "dynamic_charger_current", False),
        (derived_limit("Maximal current", "max_allocated_current"), "max_allocated_current", True),
    ],
)
def test_a_control_is_named_after_what_it_shows(made, shows, replaces):
    """A limit is shown beside the number that asks for it; a setting is its own display."""
    assert isinstance(made, Control)
    assert (made.shows, made.replaces) == (shows, replaces)
