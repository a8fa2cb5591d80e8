import json

import pytest

from bridge.simulator.commands import COMMANDS
from bridge.simulator.seed import LATEST_FIRMWARE
from bridge.simulator.sessions import Car
from tests.simulator.lab import values


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("lock_state", {}),
        ("lock_state", {"state": "yes"}),
        ("set_phase_mode", {"phaseMode": 4}),
        ("set_phase_mode", {"phaseMode": True}),
        ("set_dynamic_charger_current", {"amps": -1, "minutes": 0}),
        ("set_dynamic_charger_current", {"amps": "16", "minutes": 0}),
        ("set_dynamic_charger_current", {"amps": 16, "minutes": -5}),
        ("set_rfid_pairing_mode_async", {}),
        ("set_wifi_config", {"ssid": ""}),
    ],
)
def test_bodies_that_do_not_fit_are_named(name, body):
    """Every wrong or missing field is in the errors map."""
    assert COMMANDS[name].problems(body)


@pytest.mark.parametrize(
    ("name", "body", "observation_id", "value"),
    [
        ("pause_charging", {}, 48, 0),
        ("set_dynamic_charger_current", {"amps": 10, "minutes": 0}, 48, 10),
        ("smart_charging", {}, 102, True),
        ("lock_state", {"state": True}, 30, True),
        ("set_phase_mode", {"phaseMode": 1}, 38, 1),
        ("set_wifi_config", {"ssid": "attic", "password": "x"}, 36, "attic"),
        ("start_charging", {}, 109, 6),
        ("reboot", {}, 250, False),
        ("update_firmware", {}, 46, 9),
        ("toggle_charging", {}, 109, 6),
        ("set_rfid_pairing_mode_async", {"timeout": 30}, 46, 25),
    ],
)
def test_commands_do_what_they_say(lab, name, body, observation_id, value):
    """Each command moves the observation that reflects it."""
    bench = lab()
    bench.first.plug_in(Car())
    command = COMMANDS[name]
    assert command.problems(body) == {}
    command.effect(bench.first, body)

    assert bench.first.value(observation_id) == value


def test_an_update_is_installed_by_a_restart(lab):
    """The release changes when the charger is back, not when the command is taken."""
    bench = lab()
    charger = bench.first
    before = charger.value(80)
    COMMANDS["update_firmware"].effect(charger, {})
    assert charger.value(80) == before != LATEST_FIRMWARE
    assert values(bench.happened(), 250) == [False]

    assert values(bench.wait(60), 250) == [True]
    assert charger.value(80) == LATEST_FIRMWARE


def test_starting_does_nothing_where_nobody_asks(lab):
    """Without the cloud's authorization a start is taken and changes nothing."""
    bench = lab(authorization_required=False)
    bench.first.plug_in(Car())
    bench.happened()
    COMMANDS["start_charging"].effect(bench.first, {})

    assert bench.happened() == []


def test_toggling_pauses_where_authorization_is_off(lab):
    """The same command is pause and resume on an open charger."""
    bench = lab(authorization_required=False)
    bench.first.plug_in(Car())
    COMMANDS["toggle_charging"].effect(bench.first, {})
    assert bench.first.number(48) == 0
    COMMANDS["toggle_charging"].effect(bench.first, {})
    assert bench.first.number(48) == 32


def test_override_beats_the_schedule_once(lab):
    """A withheld car charges after an override."""
    bench = lab(authorization_required=False)
    bench.first.set_plan("daily", {"enabled": True, "periods": []})
    bench.first.plug_in(Car())
    assert bench.first.number(96) == 54
    COMMANDS["override_schedule"].effect(bench.first, {})
    bench.wait(10)

    assert bench.first.number(109) == 3


def test_polling_says_everything_again(lab):
    """Every observation comes once more, with a new stamp."""
    bench = lab()
    COMMANDS["poll_all"].effect(bench.first, {})
    told = bench.happened()

    assert {one.observation_id for one in told} == set(bench.first.readings)


def test_a_scan_names_networks(lab):
    """Found networks come as JSON."""
    bench = lab()
    COMMANDS["scan_wifi"].effect(bench.first, {"timeout": 5})

    assert json.loads(values(bench.happened(), 140)[0])["networks"]
