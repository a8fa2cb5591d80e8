"""The access list says what the program does, and no more."""

from dataclasses import replace

from bridge.core.composition import Core
from bridge.core.topics import Topics
from bridge.exports.mosquitto_acl import BRIDGE, mosquitto_acl, roles
from bridge.settings import (
    ClusterSettings,
    CommandSettings,
    EaseeSettings,
    HomeAssistantSettings,
    MqttSettings,
    Secret,
    Settings,
    SparkplugSettings,
)

SETTINGS = Settings(EaseeSettings("x@example.com", Secret("p")))


def test_the_bridge_asks_itself_nothing():
    """Of what it listens to it publishes only to commands, to empty those that are retained."""
    bridge, *_ = roles(SETTINGS)

    assert {*Topics().subscriptions} & {*bridge.write} == {
        "charger/+/set/+",
        "charger/site/+/set/+",
    }
    assert {*Topics().subscriptions, *Topics().echoes} <= set(bridge.read)


def test_only_what_is_allowed_may_be_sent():
    """An access list of a narrow configuration is narrow: two commands, one charger."""
    settings = replace(
        SETTINGS,
        easee=replace(SETTINGS.easee, chargers=("EH123456",)),
        commands=CommandSettings(allow=("start", "stop")),
    )
    _, automation, reader = roles(settings)

    assert [one for one in automation.write if "/set/" in one] == [
        "charger/EH123456/set/start",
        "charger/EH123456/set/stop",
    ]
    assert reader.write == ()


def test_the_users_are_three_whatever_the_bridge_is_called():
    """A bridge that logs in under the name of another role does not share its rights."""
    for name in (None, "automation", "reader", "somebody"):
        mqtt = MqttSettings(host="localhost", username=name)
        users = [role.user for role in roles(replace(SETTINGS, mqtt=mqtt))]

        assert len(set(users)) == 3
        assert users[0] == ("somebody" if name == "somebody" else BRIDGE)


def test_the_list_is_about_the_configured_tree():
    """Base topic and reply prefixes of the configuration are in it, and no other ones."""
    mqtt = MqttSettings(host="localhost", base_topic="home/ev", reply_prefixes=("answers/",))
    text = mosquitto_acl(replace(SETTINGS, mqtt=mqtt))
    lines = [line for line in text.splitlines() if line.startswith("topic ")]

    assert "topic write answers/#" in lines
    assert "topic readwrite home/ev/bridge/state" in lines
    assert all(" home/ev/" in line or line.endswith(" answers/#") for line in lines)


def test_home_assistant_has_its_place_only_where_it_is_used():
    """The bridge may describe, Home Assistant may read that and say that it came up."""
    on = replace(SETTINGS, homeassistant=HomeAssistantSettings(enabled=True))
    bridge, automation, reader = roles(on)
    described = {"homeassistant/device/+/config", "homeassistant/+/+/+/config"}

    assert described <= set(bridge.write)
    assert "homeassistant/status" in bridge.read
    assert described <= set(automation.read)
    assert "homeassistant/status" in automation.write
    assert "homeassistant" not in mosquitto_acl(SETTINGS)
    assert not [one for one in reader.read if "homeassistant" in one]


def test_a_sparkplug_host_has_its_place_only_where_it_is_used():
    """It may write commands and its state, and reads nothing of the native topics."""
    on = replace(SETTINGS, sparkplug=SparkplugSettings(True, "plant", "gate", "scada"))
    bridge, _, _, host = roles(on)
    state = "spBv1.0/STATE/scada"

    assert host.write == ("spBv1.0/plant/NCMD/gate", "spBv1.0/plant/DCMD/gate/+", state)
    assert set(host.write) <= set(bridge.read)
    assert set(host.read) - {state} <= set(bridge.write)
    assert all(one.startswith("spBv1.0/") for one in host.read)
    assert "topic readwrite spBv1.0/STATE/scada" in mosquitto_acl(on)
    assert "spBv1.0" not in mosquitto_acl(SETTINGS)
    without = replace(SETTINGS, sparkplug=SparkplugSettings(True, "plant", "gate"))
    assert "STATE" not in mosquitto_acl(without)


def test_several_partitions_have_a_place_for_their_status():
    """The bridge publishes and reads it, others read it; one partition has none."""
    many = replace(SETTINGS, cluster=ClusterSettings(partitions=4))
    for role in roles(SETTINGS):
        assert not [name for name in (*role.read, *role.write) if "partition" in name]
    bridge, automation, reader = roles(many)

    assert "charger/bridge/partition/+/state" in bridge.write
    assert "charger/bridge/partition/+/heartbeat" in bridge.read
    for role in (automation, reader):
        assert "charger/bridge/partition/+/state" in role.read
        assert not [name for name in role.write if "partition" in name]


def test_the_rights_are_those_the_program_asks_for():
    """Every filter it subscribes to, Home Assistant's among them, is one it may read."""
    on = replace(SETTINGS, homeassistant=HomeAssistantSettings(enabled=True))
    for settings in (SETTINGS, on):
        core = Core(settings, version="1", salt=b"salt")

        assert set(core.subscriptions) <= set(roles(settings)[0].read)
