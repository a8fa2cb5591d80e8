"""The table for people who move over, for the chargers of a configuration."""

from dataclasses import replace

import pytest

from bridge.core.addressees import CHARGER
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.topics import SetTopic, Topics
from bridge.exports.other_names import BY_ACTION, NOTHING, other_names, rows, topic_of
from bridge.exports.other_projects import PROJECTS
from bridge.exports.tag_list import ANY_CHARGER, ANY_EQUALIZER, tags
from bridge.settings import CommandSettings, EaseeSettings, Secret, Settings

ONE = "EH123456"
EVERYTHING = CommandSettings(
    allow=(
        "control",
        "access",
        "current",
        "device",
        "installer",
        "maintenance",
        "schedule",
        "equalizer",
        "site",
    )
)
SETTINGS = Settings(EaseeSettings("x@example.com", Secret("p"), (ONE,)), commands=EVERYTHING)


def by_name(key, settings=SETTINGS):
    """Read the rows of a project by their old name, without its code marks."""
    return {row[0].strip("`"): row for row in rows(PROJECTS[key], ONE, Topics(), settings)}


@pytest.mark.parametrize("key", PROJECTS)
def test_every_topic_is_one_that_can_be_read_or_written(key):
    """A value of the table is in the tag list, a command is parsed as that command."""
    topics = Topics()
    readable = {tag.topic for tag in tags(SETTINGS)}
    for old in PROJECTS[key].names:
        kind, _, name = old.ours.partition("/")
        topic = topic_of(old, ONE, topics)
        if kind == "set":
            of = ONE if CHARGER in CATALOGUE[name].of else ANY_EQUALIZER
            assert topics.parse(topic) == SetTopic(of, name)
        elif kind in {"state", "availability", "equalizer"} and name != "+":
            assert topic in readable


def test_the_serial_stands_in_both_names():
    """The table can be copied from: no placeholder is left where the charger is known."""
    text = other_names("loxberry", SETTINGS)

    assert "| `easee/EH123456/state/power_kw` | `charger/EH123456/state/total_power` | kW |" in text
    assert "<id>" not in text


def test_without_chargers_the_table_is_about_any():
    """A configuration that names none gets the placeholder of the other lists."""
    text = other_names("evcc", replace(SETTINGS, easee=EaseeSettings("x@example.com", Secret("p"))))

    assert f"## {ANY_CHARGER}" in text


def test_entities_of_home_assistant_are_named():
    """Who had an entity finds the entity, and who had an action finds entity or action."""
    row = by_name("ha")

    assert row["sensor.<name>_power"][2] == "Power (sensor)"
    assert row["switch.<name>_smart_charging"][2] == "Smart charging (switch)"
    assert row["easee.set_charger_dynamic_limit"][2] == "Set charger limit (number)"
    assert row["easee.set_basic_charge_plan"][2] == BY_ACTION
    assert row["sensor.<name>_cost_day"][1:3] == (NOTHING, NOTHING)


def test_what_the_configuration_refuses_is_marked():
    """A command outside commands.allow says so, and offers no entity or action."""
    row = by_name("ha", replace(SETTINGS, commands=CommandSettings(allow=("pause",))))

    assert "commands.allow" not in row["easee.action_command: pause"][3]
    assert "not in `commands.allow`" in row["easee.action_command: resume"][3]
    assert row["easee.set_basic_charge_plan"][2] == NOTHING


def test_a_command_of_an_equalizer_has_its_serial_and_its_entity():
    """It is not sent to the charger, and Home Assistant has a switch for it."""
    _, topic, entity, note = by_name("ha")["switch.<name>_surplus_charging"]

    assert topic == f"`charger/{ANY_EQUALIZER}/set/surplus_charging`"
    assert entity == "Surplus charging (switch)"
    assert note == "group `equalizer`"
