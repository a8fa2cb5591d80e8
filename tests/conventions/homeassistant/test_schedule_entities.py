"""Entities of schedules: they read the document, and what they send is a command."""

import json
import re

import pytest

from bridge.conventions.homeassistant.schedule_entities import schedule_entities
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.schedules import KINDS
from bridge.core.topics import Topics

ONE = "EH123456"
COMMANDS = tuple(f"{kind}_schedule" for kind in KINDS)


def made(commands=COMMANDS, max_current_a=25):
    """Make the entities, by platform and key."""
    found = schedule_entities(ONE, Topics(), commands, max_current_a)
    return {f"{platform}.{key}": config for platform, key, config in found}


def test_what_there_is():
    """A switch for each schedule; start, stop and current where one value is enough."""
    assert list(made()) == [
        "sensor.schedule_in_force",
        "sensor.schedule_next_start",
        "sensor.schedule_next_stop",
        "switch.delayed_schedule",
        "text.delayed_schedule_start",
        "number.delayed_schedule_amps",
        "switch.daily_schedule",
        "text.daily_schedule_start",
        "text.daily_schedule_stop",
        "number.daily_schedule_amps",
        "switch.weekly_schedule",
    ]
    assert [key for key in made(()) if not key.startswith("sensor.")] == []
    assert [key for key in made(("weekly_schedule",)) if key.startswith("switch.")] == [
        "switch.weekly_schedule"
    ]


def test_everything_reads_the_document_and_says_nothing_for_good():
    """No control is optimistic, and no command is retained."""
    for key, config in made().items():
        assert config["state_topic"] == f"charger/{ONE}/schedule/current"
        assert "value_json" in config["value_template"]
        if "command_topic" in config:
            assert config["retain"] is False
            assert config["command_topic"].startswith(f"charger/{ONE}/set/"), key
            assert config.get("optimistic", False) is False


@pytest.mark.parametrize(
    "key", [key for key, config in made().items() if "command_topic" in config]
)
def test_what_a_control_sends_is_taken_by_its_command(key):
    """The payloads of the switch, and what the template makes of a value."""
    config = made()[key]
    read = CATALOGUE[config["command_topic"].rpartition("/")[2]].read
    if "payload_on" in config:
        orders = [read(config[name], 25) for name in ("payload_on", "payload_off")]
        assert [order.action for order in orders] == ["enable", "disable"]
        return
    value = "23:15" if key.startswith("text.") else "16"
    text = config["command_template"].replace("{{ now().tzinfo }}", "Europe/Oslo")
    order = read(json.loads(re.sub(r"\{\{ value[^}]*\}\}", value, text)), 25)

    assert order.action == "change"
    assert order.changes.get("timezone") == ("Europe/Oslo" if key.startswith("text.") else None)


def test_times_are_checked_where_they_are_typed_and_shown():
    """A time of the day, or nothing where it is not known."""
    config = made()["text.daily_schedule_stop"]

    for text, fits in (("06:00", True), ("", True), ("24:00", False), ("6:00", False)):
        assert bool(re.match(config["pattern"], text)) is fits
        assert config["min"] <= len(text) <= config["max"] or not fits


def test_the_current_is_that_of_the_configuration():
    """From the least that a car takes to what is allowed."""
    config = made(max_current_a=20)["number.daily_schedule_amps"]

    assert (config["min"], config["max"]) == (6, 20)


def test_few_of_them_are_enabled():
    """What only one kind of user needs waits until it is wanted."""
    disabled = [key for key, config in made().items() if config.get("enabled_by_default") is False]

    assert disabled == [
        "sensor.schedule_next_start",
        "sensor.schedule_next_stop",
        "text.delayed_schedule_start",
        "number.delayed_schedule_amps",
    ]
