"""The table of controls: complete, and honest about what it shows."""

import pytest

from bridge.conventions.homeassistant.controls import CONTROLS, WITHOUT_CONTROL
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.observation_registry import spec_named
from bridge.core.easee.observation_spec import Visibility


def test_every_command_is_decided_on_once():
    """A new command has to become an entity, or the reason has to be given."""
    assert set(CONTROLS) | set(WITHOUT_CONTROL) == set(CATALOGUE)
    assert not set(CONTROLS) & set(WITHOUT_CONTROL)


@pytest.mark.parametrize("command", CONTROLS)
def test_a_control_shows_what_its_command_moves(command):
    """A switch that showed another observation than the one it sets would never flip."""
    control = CONTROLS[command]
    if control.shows:
        shown = spec_named(control.shows)
        assert shown.id in CATALOGUE[command].moves
        assert shown.visibility is not Visibility.HIDDEN
    else:
        assert control.platform == "button"


@pytest.mark.parametrize("command", CONTROLS)
def test_what_a_control_offers_is_taken_by_its_command(command):
    """Every option, both bounds and both positions are read without a refusal."""
    control, read = CONTROLS[command], CATALOGUE[command].read
    bounds = control.within(32)
    offered = {
        "button": ["PRESS"],
        "switch": ["true", "false"],
        "select": list(control.labels.values()),
        "number": [bounds.get("min"), bounds.get("max")],
    }[control.platform]

    for payload in offered:
        read(payload, 32)


def test_lasting_limits_are_not_offered_by_default():
    """What wears the charger's flash memory for the installer's limits has to be enabled first."""
    for command, control in CONTROLS.items():
        if CATALOGUE[command].group == "installer":
            assert not control.is_enabled
            assert control.is_config
