"""The entities of a charger: what there is, what it is called, and how its topic is read."""

import re

import pytest

from bridge.conventions.homeassistant import entities as entities_module
from bridge.conventions.homeassistant.entities import (
    MAX_STATE_LENGTH,
    display_name,
    entities,
    equalizer_entities,
)
from bridge.conventions.homeassistant.entity_table import ENABLED, ICONS
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.derived_state import DERIVED, TOUCH_BUTTON
from bridge.core.easee.observation_registry import REGISTRY, spec_named
from bridge.core.easee.observation_spec import TEXTS, DataType, Visibility, row
from bridge.core.easee.selection import Selection
from bridge.core.topics import Topics
from bridge.settings import CommandSettings, PublishSettings

ONE, METER = "EH123456", "QP123456"
EVERYTHING = CommandSettings(allow=tuple({spec.group for spec in CATALOGUE.values()}))
NOTHING = CommandSettings(allow=())


def made(commands=EVERYTHING):
    """Make the entities of a charger, by key."""
    return {entity.key: entity for entity in entities(ONE, Topics(), commands)}


def test_keys_are_unique_and_fit_a_topic():
    """Every entity has a name of its own that Home Assistant takes as an object id."""
    listed = [entity.key for entity in entities(ONE, Topics(), EVERYTHING)]

    assert len(listed) == len(set(listed))
    assert all(re.fullmatch(r"[a-z0-9_]+", key) for key in listed)
    assert all(key.startswith(f"{entity.platform}_") for key, entity in made().items())


def test_names_are_told_apart():
    """No two entities of a platform have one name: their entity ids come from it."""
    for platform in {entity.platform for entity in made().values()}:
        names = [e.config["name"] for e in made().values() if e.platform == platform]
        assert len(names) == len(set(names)), platform


def test_every_topic_that_is_read_is_one_we_publish():
    """An entity on a topic nobody publishes would stay unknown for ever."""
    names = {s.name for s in REGISTRY.values()} | {d.name for d in DERIVED} | {TOUCH_BUTTON}
    state = {f"charger/{ONE}/state/{name}" for name in names}
    session = {f"charger/{ONE}/session/{which}" for which in ("current", "last")}
    event = {
        f"charger/{ONE}/event/{kind}"
        for kind in ("smart_button", "authorization_requested", "error", "foreign_command")
    }
    for entity in made().values():
        if entity.platform == "button":
            assert "state_topic" not in entity.config
        else:
            topics = state | session | event | {f"charger/{ONE}/schedule/current"}
            assert entity.config["state_topic"] in topics, entity.key


def test_only_what_is_allowed_is_offered():
    """A command that would be refused has no button; what its switch would show is still shown."""
    none, every = made(NOTHING), made()

    assert not any("command_topic" in entity.config for entity in none.values())
    assert "binary_sensor_authorization_required" in none
    assert "sensor_phase_mode" in none
    assert "binary_sensor_authorization_required" not in every
    assert "switch_authorization_required" in every
    assert "select_phase_mode" in every


def test_a_derived_value_with_a_command_is_one_switch():
    """It shows the derived value and commands it; without the command it is a binary sensor."""
    every, none = made(), made(NOTHING)
    shown = every["switch_charging_allowed"].config

    assert shown["state_topic"] == f"charger/{ONE}/state/charging_allowed"
    assert shown["command_topic"] == f"charger/{ONE}/set/charging_allowed"
    assert "binary_sensor_charging_allowed" not in every
    assert "binary_sensor_charging_allowed" in none


def test_a_single_command_can_be_allowed():
    """The allow-list names groups or commands; both count."""
    only = made(CommandSettings(allow=("pause",)))

    assert [key for key, e in only.items() if "command_topic" in e.config] == ["button_pause"]


def test_commands_go_to_the_topic_of_their_command_and_are_never_kept():
    """A retained command would be refused; HA is told not to retain one."""
    for key, entity in made().items():
        if "command_topic" not in entity.config:
            continue
        base, command = entity.config["command_topic"].rsplit("/", 1)
        assert base == f"charger/{ONE}/set"
        assert command in CATALOGUE, key
        assert entity.config["retain"] is False


def test_payloads_carry_no_id():
    """The same id twice within a day would be answered from the journal, not carried out."""
    for entity in made().values():
        for name, value in entity.config.items():
            if name.startswith("payload_"):
                assert value in ("PRESS", "true", "false")


def test_limits_are_those_of_the_configuration():
    """Nobody can slide beyond what would be refused."""
    allow = ("current", "installer")
    listed = made(CommandSettings(allow=allow, max_current_a=20))
    numbers = {key: e.config for key, e in listed.items() if e.platform == "number"}

    assert {config["max"] for config in numbers.values()} == {20}
    assert numbers["number_dynamic_charger_current"]["min"] == 0
    assert numbers["number_max_charger_current"]["min"] == 6
    assert "20 else 'None'" in numbers["number_dynamic_charger_current"]["value_template"]


def test_settings_do_not_pretend():
    """No switch, number or select flips before the charger says so."""
    for entity in made().values():
        if entity.platform in ("switch", "number", "select"):
            assert entity.config["optimistic"] is False


def test_words_come_with_their_options():
    """An enumeration names every word it can have, and has neither unit nor state class."""
    listed = made()
    enums = [e.config for e in listed.values() if e.config.get("device_class") == "enum"]

    assert {"charging", "awaiting_authorization"} <= set(listed["sensor_op_mode"].config["options"])
    assert "smart_charging" in listed["sensor_led"].config["options"]
    for config in enums:
        assert len(config["options"]) == len(set(config["options"])) > 1
        assert not {"state_class", "unit_of_measurement"} & set(config)


def test_locks_are_on_while_open():
    """Home Assistant's lock class says "unlocked" for on."""
    template = made()["binary_sensor_cable_locked"].config["value_template"]

    assert template == "{{ {'true': 'OFF', 'false': 'ON'}.get(value | lower, 'None') }}"


def test_long_texts_are_cut():
    """Home Assistant drops a state longer than this, and logs an error each time."""
    template = made()["sensor_error_string"].config["value_template"]

    assert f"[:{MAX_STATE_LENGTH}]" in template


def test_the_firmware_can_be_installed_only_where_it_may_be():
    """Without the command the update entity tells what is installed, and no more."""
    assert made()["update_firmware"].config["payload_install"] == "PRESS"
    assert made()["update_firmware"].config["state_topic"].endswith("/state/firmware_update")
    assert "command_topic" not in made(NOTHING)["update_firmware"].config


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("temp_input_t2", "Temp input T2"),
        ("wi_fi_type", "WiFi type"),
        ("wifi_event", "WiFi event"),
        ("dynamic_circuit_current_p1", "Dynamic circuit current P1"),
        ("total_power", "Power"),
    ],
)
def test_names_are_spoken(name, said):
    """People see words, with the terminals and phases as they are printed."""
    assert display_name(spec_named(name)) == said


def test_most_entities_wait_until_they_are_wanted():
    """What few people look at is there, and disabled."""
    listed = made()
    disabled = {key for key, e in listed.items() if e.config.get("enabled_by_default") is False}

    assert "sensor_temp_input_t2" in disabled
    assert "sensor_total_power" not in disabled
    assert "button_toggle" in disabled


GROUPS = tuple({spec.group for spec in CATALOGUE.values()})


@pytest.mark.parametrize("allow", [(), ("control", "access", "current"), GROUPS])
def test_at_most_forty_entities_are_enabled_by_default(allow):
    """Whatever is allowed, a device is not more than a driver looks at."""
    listed = made(CommandSettings(allow=allow))
    enabled = [key for key, one in listed.items() if one.config.get("enabled_by_default", True)]

    assert 25 <= len(enabled) <= 40
    assert {"sensor_op_mode", "sensor_total_power", "sensor_energy_total"} <= set(enabled)


def test_every_row_of_the_tables_is_an_entity():
    """An icon or a key for an entity that is not there would never be read."""
    meter = [equalizer_entities(METER, Topics(), may) for may in (EVERYTHING, NOTHING)]
    keys = set(made()) | set(made(NOTHING)) | {one.key for each in meter for one in each}

    assert keys >= ENABLED | set(ICONS)


def test_icons_are_of_the_usual_set():
    """Home Assistant knows these; an entity without a class has one."""
    for entity in made().values():
        icon = entity.config.get("icon")
        assert icon is None or re.fullmatch(r"mdi:[a-z0-9-]+", icon), entity.key
    every = (*made().values(), *equalizer_entities(METER, Topics(), EVERYTHING))
    main = [e for e in every if e.config.get("enabled_by_default", True)]
    assert [e.key for e in main if "icon" not in e.config and "device_class" not in e.config] == []


def test_names_are_a_driver_s():
    """A phase is called by its conductor, a terminal only where terminals are meant."""
    names = {key: one.config["name"] for key, one in made().items()}

    assert names["sensor_current_l1"] == "Current L1"
    assert names["sensor_voltage_l2"] == "Voltage L2"
    assert names["sensor_in_current_t3"] == "Current T3"
    assert names["sensor_energy_total"] == "Energy"


def test_the_access_level_is_set_and_shown():
    """Its options are those of the command, and it shows what the charger reports."""
    level = made()["select_access_level"].config

    assert level["options"] == ["open", "account", "whitelist"]
    assert level["state_topic"] == f"charger/{ONE}/state/access_mode"
    assert "'cloud_authorization': 'account'" in level["value_template"]
    assert {"switch_lock_cable_permanently", "number_led_strip_brightness"} <= set(made())


@pytest.mark.parametrize("unit", [None, "kW", "lx", "deg", "json", "count"])
@pytest.mark.parametrize("kind", DataType)
def test_a_row_of_any_kind_and_unit_becomes_an_entity(kind, unit, monkeypatch):
    """No type and no unit needs an entry anywhere before discovery can describe it."""
    spec = row(777, "NightLight", kind, unit, "A row", harmless="x", visibility=Visibility.MAIN)
    monkeypatch.setattr(entities_module, "REGISTRY", {777: spec})

    (entity,) = [one for one in made(NOTHING).values() if one.key.endswith("_night_light")]

    assert entity.config["state_topic"] == f"charger/{ONE}/state/night_light"
    assert entity.platform == ("binary_sensor" if kind is DataType.BOOLEAN else "sensor")
    if kind in TEXTS:
        assert "unit_of_measurement" not in entity.config


@pytest.mark.parametrize("is_allowed", [True, False])
def test_the_settings_of_an_equalizer_are_controls_where_they_are_allowed(is_allowed):
    """A switch and a number; where they would be refused, what they would show is shown."""
    commands = CommandSettings(allow=("equalizer",) if is_allowed else ("control",))
    found = {one.key: one.config for one in equalizer_entities(METER, Topics(), commands)}
    state, asked = f"charger/{METER}/state/", f"charger/{METER}/set/"
    controls = {"switch_surplus_charging", "number_max_allocated_current"}
    sensors = {"binary_sensor_surplus_charging_enabled", "sensor_max_allocated_current"}

    assert (found.keys() & controls) == (controls if is_allowed else set())
    assert (found.keys() & sensors) == (set() if is_allowed else sensors)
    shown = {config["state_topic"] for config in found.values()}
    assert {f"{state}surplus_charging_enabled", f"{state}max_allocated_current"} <= shown
    commanded = {one["command_topic"] for one in found.values() if "command_topic" in one}
    wanted = {f"{asked}surplus_charging", f"{asked}max_allocated_current"}
    assert commanded == (wanted if is_allowed else set())


def test_an_equalizer_shows_nothing_that_is_not_published():
    """What the filters leave out has neither sensor nor control, its settings included."""
    chosen = Selection.of(PublishSettings(except_=("max_allocated_current", "settings")))
    keys = {one.key for one in equalizer_entities(METER, Topics(), EVERYTHING, chosen)}

    assert not keys & {"number_max_allocated_current", "switch_surplus_charging"}
    assert "sensor_active_power_import" in keys
