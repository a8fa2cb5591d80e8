"""Things and items for openHAB: complete, well formed, and only what the bridge does."""

import re
from dataclasses import replace

import pytest

from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.exports.openhab import channels, equalizer_channels, things_and_items
from bridge.exports.tag_list import ANY_EQUALIZER
from bridge.settings import CommandSettings, EaseeSettings, MqttSettings, Secret, Settings

ONE, TWO = "EH123456", "EH654321"
GROUPS = tuple({spec.group for spec in CATALOGUE.values()})
SETTINGS = Settings(
    EaseeSettings("x@example.com", Secret("hunter2"), (ONE, TWO)),
    commands=CommandSettings(allow=GROUPS),
)
TYPES = {
    "switch": {"Switch"},
    "string": {"String"},
    "trigger": {""},
    "number": {
        "Number",
        "Number:Power",
        "Number:Energy",
        "Number:ElectricCurrent",
        "Number:ElectricPotential",
        "Number:Temperature",
        "Number:Dimensionless",
        "Number:Time",
    },
}


def found(settings=SETTINGS):
    """List the channels of a charger, by id."""
    return {channel.id: channel for channel in channels(settings, ONE)}


def test_ids_are_unique_and_fit_an_item_name():
    """A channel id becomes a part of a UID and of an item's name."""
    listed = [channel.id for channel in channels(SETTINGS, ONE)]

    assert len(listed) == len(set(listed))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", one) for one in listed)


def test_an_item_has_the_type_its_channel_gives():
    """OpenHAB refuses a link between types that do not go together."""
    assert all(channel.item in TYPES[channel.type] for channel in found().values())


def test_every_item_names_a_channel_of_its_thing():
    """No item is linked to nothing, and every channel but a trigger has one."""
    text = things_and_items(SETTINGS)
    linked = set(re.findall(r'channel="mqtt:topic:charger:(\w+):(\w+)"', text))
    states = {channel.id for channel in found().values() if channel.item}

    meter = {channel.id for channel in equalizer_channels(SETTINGS)}
    assert linked == {(charger, one) for charger in (ONE, TWO) for one in states} | {
        (ANY_EQUALIZER, one) for one in meter
    }
    assert "cumulative_active_power_import" in meter
    assert "meter_id" not in meter


def test_settings_of_an_equalizer_are_set_where_they_are_allowed():
    """The command of a channel is the one that its value follows."""
    refused = replace(SETTINGS, commands=CommandSettings(allow=("control",)))
    found = {one.id: one.options for one in equalizer_channels(refused)}
    allowed = replace(SETTINGS, commands=CommandSettings(allow=("equalizer",)))
    set_by = {one.id: one.options.get("commandTopic") for one in equalizer_channels(allowed)}

    assert "commandTopic" not in found["max_allocated_current"]
    assert set_by["max_allocated_current"].endswith("/set/max_allocated_current")
    assert set_by["surplus_charging_enabled"].endswith("/set/surplus_charging")


def test_braces_and_quotes_are_balanced():
    """The files can be read: every block ends, every text is closed."""
    text = things_and_items(SETTINGS)

    assert text.count("{") == text.count("}")
    assert text.count("[") == text.count("]")
    assert all(line.count('"') % 2 == 0 for line in text.splitlines())


@pytest.mark.parametrize("allow", [GROUPS, ("pause",), ()])
def test_only_what_is_allowed_has_a_command_topic(allow):
    """A channel that would be refused is read only, and a button is missing."""
    listed = found(replace(SETTINGS, commands=CommandSettings(allow=allow)))
    topics = [c.options["commandTopic"] for c in listed.values() if "commandTopic" in c.options]
    names = [topic.removeprefix(f"charger/{ONE}/set/") for topic in topics]

    assert len(names) == len(set(names))
    assert {name for name in names if name not in allow} <= {
        name for name, spec in CATALOGUE.items() if spec.group in allow
    }
    assert ("pause" in names) is bool(allow)


def test_switches_speak_the_bridges_words():
    """The binding's own ON and OFF would work one way only."""
    for channel in found().values():
        if channel.type == "switch":
            assert channel.options["on"] == "true"
            assert channel.options["off"] == "false"


def test_the_switch_of_a_derived_value_commands():
    """A derived value with a command is one channel with both topics."""
    assert found()["charging_allowed"].options == {
        "stateTopic": f"charger/{ONE}/state/charging_allowed",
        "commandTopic": f"charger/{ONE}/set/charging_allowed",
        "on": "true",
        "off": "false",
    }


def test_a_number_with_a_unit_says_so_twice():
    """The channel says what arrives, the item what is shown: else a change of units rescales it."""
    text = things_and_items(SETTINGS)

    assert (
        f'Type number : total_power "Power" [ stateTopic="charger/{ONE}/state/total_power",'
        ' unit="kW" ]'
    ) in text
    assert (
        f'Number:Power Charger_{ONE}_total_power "Power" (Charger_{ONE})'
        f' {{ channel="mqtt:topic:charger:{ONE}:total_power", unit="kW" }}'
    ) in text


def test_a_press_does_not_become_a_state():
    """The item of an action shows nothing, so that pressing twice is two commands."""
    text = things_and_items(SETTINGS)
    (line,) = [one for one in text.splitlines() if one.startswith(f"String Charger_{ONE}_start ")]

    assert 'autoupdate="false"' in line


def test_nothing_secret_is_written():
    """Login and password are for the operator to add."""
    mqtt = MqttSettings(username="someone", password=Secret("tr0mbone"))
    text = things_and_items(replace(SETTINGS, mqtt=mqtt))

    assert "hunter2" not in text
    assert "tr0mbone" not in text
    assert "x@example.com" not in text


def test_the_broker_is_the_configured_one():
    """Host, port and TLS come from the configuration, texts are quoted."""
    mqtt = MqttSettings(host="broker.lan", port=8883)
    mqtt = replace(mqtt, tls=replace(mqtt.tls, enabled=True))

    assert '[ host="broker.lan", port=8883, secure=true ]' in things_and_items(
        replace(SETTINGS, mqtt=mqtt)
    )
