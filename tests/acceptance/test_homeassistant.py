"""Home Assistant takes what it is told: every entity, its templates, and what it is used for.

`make acceptance-homeassistant` installs it; without it these tests are skipped.
"""

import asyncio
import contextlib
import json
import re

import pytest
import yaml

from bridge.conventions.homeassistant.discovery_messages import DeviceInfo, describe
from bridge.conventions.homeassistant.entities import MAX_STATE_LENGTH, entities, equalizer_entities
from bridge.conventions.homeassistant.gateway_entities import gateway_entities
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.topics import HomeAssistantTopics, Topics
from bridge.settings import CommandSettings
from tests.acceptance.conftest import Witness
from tests.acceptance.home_assistant.hass import ROOT, HomeAssistant, binary, command
from tests.ports import unused_port

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

# The oldest knows messages about single entities only, the others both forms.
OLDEST, OLDER, NEWEST = "2024.3", "2025.2", "2026.11"


def needs(version):
    """Skip a test where this version is not installed."""
    return pytest.mark.skipif(
        not binary(version, "hass").exists(), reason="make acceptance-homeassistant installs it"
    )


def installed(*versions):
    """Run a test with each of these versions that is installed."""
    return pytest.mark.parametrize(
        "version", [pytest.param(version, marks=needs(version)) for version in versions]
    )


ONE, TWO, METER = "EH000001", "EH000002", "QP000001"
GROUPS = tuple({spec.group for spec in CATALOGUE.values()})
JUDGE = ROOT / "tests" / "acceptance" / "home_assistant" / "judge.py"
TOPIC = {
    "device": f"homeassistant/device/charger_{ONE}/config",
    "component": f"homeassistant/sensor/charger_{ONE}/sensor_total_power/config",
}


def single_messages(allow):
    """Describe a charger and an Equalizer as every version knows it: document by topic."""
    topics, commands = Topics(), CommandSettings(allow=allow)
    found = {}
    for device, own in (
        (DeviceInfo(ONE, 1, "347"), entities(ONE, topics, commands)),
        (
            DeviceInfo(METER, 0, "305", is_equalizer=True),
            equalizer_entities(METER, topics, commands),
        ),
    ):
        found |= describe(
            device,
            own,
            form="component",
            topics=topics,
            places=HomeAssistantTopics(),
            version="1.2.3",
        ).documents
    return found


PERIOD = {"start": "22:00", "stop": "06:00", "amps": 16}
SCHEDULES = {
    "in_force": "daily",
    "next_start": "2026-11-30T21:00:00Z",
    "next_stop": "2026-12-01T05:00:00Z",
    "delayed": None,
    "daily": {"enabled": True, "periods": [PERIOD]},
    "weekly": {"enabled": False, "periods": [PERIOD, PERIOD]},
}
# The delayed schedule is shown as none, the weekly one has no single start.
OF_SCHEDULES = {
    "Schedule in force": "daily",
    "Next scheduled start": SCHEDULES["next_start"],
    "Next scheduled stop": SCHEDULES["next_stop"],
    "Daily schedule": "ON",
    "Daily schedule start": "22:00",
    "Daily schedule stop": "06:00",
    "Daily schedule current": "16",
    "Delayed schedule": "OFF",
    "Delayed schedule start": "",
    "Delayed schedule current": "None",
    "Weekly schedule": "OFF",
}


def expected(config):  # noqa: C901 - one case per kind of template
    """Say what each payload of an entity's topic has to become, by payload."""
    name = config["state_topic"].rsplit("/", 1)[1]
    if config["state_topic"].endswith("/schedule/current"):
        unknown = "" if "pattern" in config else "None"
        return {json.dumps(SCHEDULES): OF_SCHEDULES[config["name"]], "": unknown, "[": unknown}
    registry = EQUALIZER if METER in config["state_topic"] else REGISTRY
    labels = {spec.name: spec.labels for spec in registry.values()}.get(name, {})
    options = config.get("options", [])
    match config:
        case {"event_types": [kind]}:
            event = {"event": kind, "value": True}
            return {json.dumps(event): {"event_type": kind} | event}
        case {"min": low, "max": high}:
            return {str(low): str(low), str(high): str(high), str(high + 1): "None", "null": "None"}
        case {"unit_of_measurement": _, "value_template": template} if "null" in template:
            return {"16.2": "16.2", "": "None", "null": "None"}
        case {"name": "Access level"}:
            known = {"open": "open", "cloud_authorization": "account"}
            return known | {"local_authorization": "whitelist", "null": "None", "9999": "None"}
        case _ if options and labels:
            known = {str(code): label for code, label in labels.items() if label in options}
            return known | {"null": "None", "9999": "None"}
        case _ if options:
            return {option: option for option in options} | {"null": "None"}
        case {"device_class": "lock"}:
            return {"true": "OFF", "false": "ON", "null": "None"}
        case {"state_topic": topic} if topic.endswith("/op_mode"):
            return {"null": "None", "offline": "None"}
        case {"state_topic": topic} if "/session/" in topic:
            return {"": "None"}
        case {"value_template": template} if "'true'" in template:
            return {"true": "ON", "false": "OFF", "null": "None"}
        case _:
            return {"": "None", "x" * 999: "x" * MAX_STATE_LENGTH, "0": "0"}


async def judged(version, asked):
    """Have Home Assistant's own schemas and templates look at descriptions."""
    process = await asyncio.create_subprocess_exec(
        *command(version, "python"),
        str(JUDGE),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaints = await process.communicate(json.dumps(asked).encode())
    assert process.returncode == 0, complaints.decode()
    return json.loads(output)


@installed(OLDEST, OLDER, NEWEST)
@pytest.mark.parametrize("allow", [GROUPS, ()], ids=["everything", "nothing"])
async def test_its_own_schemas_take_every_entity(allow, version):
    """No unknown key, no unit or state class it refuses, and each payload becomes what it means."""
    messages = single_messages(allow)
    wanted = {t: expected(c) for t, c in messages.items() if "value_template" in c}
    asked = [
        {"topic": topic, "config": config, "payloads": list(wanted.get(topic, {}))}
        for topic, config in messages.items()
    ]
    found = await judged(version, asked)

    assert found["problems"] == []
    for topic, texts in wanted.items():
        for payload, text in texts.items():
            got = found["rendered"][topic][payload]
            assert (json.loads(got) if isinstance(text, dict) else got) == text, topic


@installed(OLDEST, OLDER, NEWEST)
async def test_the_judge_refuses_what_is_wrong(version):
    """A wrong unit, an unknown key and a missing topic are found: the test above can fail."""
    topic = f"homeassistant/sensor/charger_{ONE}/sensor_total_power/config"
    good = single_messages(())[topic]
    wrong = [good | {"unit_of_measurement": "A"}, good | {"colour": "red"}, {"name": "x"}]
    wrong.append(good | {"device_class": "energy", "unit_of_measurement": "kWh"})
    found = await judged(version, [{"topic": topic, "config": c, "payloads": []} for c in wrong])

    assert len(found["problems"]) == len(wrong)


@contextlib.asynccontextmanager
async def at_home(stage, tmp_path, version, form, **how):
    """Run everything: broker, cloud, gateway and Home Assistant, which knows the broker."""

    def change(config):
        config["homeassistant"] = {"enabled": True, "form": form}

    port = unused_port()
    async with stage(change=change, **how) as s:
        home = HomeAssistant(version, tmp_path / "hass", port)
        await home.start()
        try:
            await home.set_up(s.broker.port)
            yield s, home
        finally:
            await home.stop()
            await home.client.aclose()


def id_of(known, charger_id, key):
    """Look an entity up by charger and key."""
    return known[f"charger_{charger_id}_{key}"]["entity_id"]


async def all_there(home, chargers, allow=GROUPS):
    """Wait until every entity of these chargers is known and the enabled ones are available."""
    own = entities(ONE, Topics(), CommandSettings(allow=allow))
    enabled = {e.key for e in own if e.config.get("enabled_by_default", True)}
    wanted = {f"charger_{c}_{e.key}" for c in chargers for e in own}
    wanted |= {f"charger_bridge_{e.key}" for e in gateway_entities(Topics())}

    def complete(found):
        # Newer versions keep the registry's entry of an entity that was never enabled.
        left = {key for key, entity in found.items() if entity["disabled_by"] is None}
        return found.keys() >= wanted >= left

    known = await home.registered(complete)
    shown = {id_of(known, c, key) for c in chargers for key in enabled}

    def available(states):
        return shown <= {key for key, s in states.items() if s["state"] != "unavailable"}

    await home.until(available, "every enabled entity is available")
    return known


def complaints(home):
    """What it had against our messages since it started."""
    return [line for line in home.log.splitlines() if "mqtt" in line.lower() or ONE in line]


def answered(watcher, topic):
    """Say whether a description came behind the birth message."""
    heard = [(name, payload) for name, payload, _ in watcher.messages]
    birth = ("homeassistant/status", b"online")
    return birth in heard and topic in [name for name, _ in heard[heard.index(birth) :]]


async def reconfigured(s, **sections):
    """Run the gateway again with another configuration."""
    assert await s.gateway.end() == 0
    for name, section in sections.items():
        s.config[name] |= section
    s.gateway.config.write_text(yaml.safe_dump(s.config))
    await s.gateway.start()


@pytest.mark.parametrize(
    ("version", "form"),
    [
        pytest.param(OLDEST, "component", marks=needs(OLDEST)),
        pytest.param(OLDER, "device", marks=needs(OLDER)),
        pytest.param(NEWEST, "device", marks=needs(NEWEST)),
    ],
)
async def test_a_life_with_home_assistant(stage, tmp_path, version, form):  # noqa: PLR0915 - a long story
    """Every entity appears, tells the truth, switches the charger, comes back and goes away."""
    async with at_home(stage, tmp_path, version, form, chargers=2, equalizers=0) as (s, home):
        known = await all_there(home, (ONE, TWO))
        # The firmware may come behind the first description.
        devices = await home.devices(
            lambda found: all(d["model"] == "Easee Home" and d["sw_version"] for d in found)
        )
        assert {d["serial_number"] for d in devices} == {ONE, TWO}

        def entity(key):
            return id_of(known, ONE, key)

        async def shows(key, state):
            await home.until(lambda all_: all_[entity(key)]["state"] == state, f"{key} is {state}")

        # What the charger says is what Home Assistant shows.
        await shows("sensor_op_mode", "disconnected")
        await shows("binary_sensor_car_connected", "off")
        firmware = s.witness.retained[f"charger/{ONE}/state/software_release"].decode()
        await home.until(
            lambda all_: all_[entity("update_firmware")]["attributes"]["latest_version"] == "338",
            "the newest firmware is known",
        )
        states = await home.states()
        assert states[entity("update_firmware")]["attributes"]["installed_version"] == firmware
        assert states[entity("update_firmware")]["state"] == "on"
        assert states[entity("sensor_energy_total")]["attributes"]["state_class"] == (
            "total_increasing"
        )

        # A car comes: an event, and a button that is answered by the charger.
        s.cloud.plug_in(ONE)
        await shows("sensor_op_mode", "awaiting_authorization")
        await shows("binary_sensor_awaiting_authorization", "on")
        asked = (await home.states())[entity("event_authorization_requested")]
        assert re.match("20[0-9][0-9]-", asked["state"])
        await home.call("button.press", entity("button_start"))
        await shows("sensor_op_mode", "charging")
        assert (await s.witness.final(ONE, "start"))["state"] == "confirmed"
        await home.until(
            lambda all_: float(all_[entity("sensor_total_power")]["state"]) > 1, "power flows"
        )

        # Numbers, switches and selects move when the charger confirmed.
        await home.call("number.set_value", entity("number_dynamic_charger_current"), value=10)
        await shows("number_dynamic_charger_current", "10")
        assert (await s.witness.final(ONE, "dynamic_charger_current"))["state"] == "confirmed"
        await home.call("switch.turn_off", entity("switch_authorization_required"))
        await shows("switch_authorization_required", "off")
        assert (await s.witness.final(ONE, "authorization_required"))["state"] == "confirmed"
        await home.call("select.select_option", entity("select_access_level"), option="account")
        await shows("select_access_level", "account")
        await home.call("number.set_value", entity("number_led_strip_brightness"), value=40)
        await shows("number_led_strip_brightness", "40")
        await home.call("button.press", entity("button_pause"))
        await shows("number_dynamic_charger_current", "0")

        # The touch button is an event, and a charger without its cloud is not available.
        s.cloud.touch(ONE)
        await home.until(
            lambda all_: all_[entity("event_smart_button")]["state"].startswith("20"), "a touch"
        )
        s.cloud.set_offline(ONE)
        await shows("sensor_op_mode", "unavailable")
        await shows("button_start", "unavailable")
        assert (await home.states())[id_of(known, TWO, "sensor_op_mode")]["state"] == "disconnected"
        s.cloud.bring_back(ONE)
        await shows("binary_sensor_car_connected", "on")

        # It restarts: its birth is answered, and everything is there again.
        described = TOPIC[form]
        watcher = Witness(s.broker.port, judges=False)
        await watcher.start((described, "homeassistant/status"))
        assert complaints(home) == []
        await home.stop()
        await home.start()
        await watcher.until(lambda: answered(watcher, described), "its birth is answered")
        await watcher.stop()
        assert (await all_there(home, (ONE, TWO))).keys() == known.keys()
        assert complaints(home) == []

        # Commands are no longer allowed, a charger leaves, then everything.
        await reconfigured(s, commands={"allow": ["control"]})
        await all_there(home, (ONE, TWO), ("control",))
        await reconfigured(s, easee={"chargers": [ONE]})
        await all_there(home, (ONE,), ("control",))
        await reconfigured(s, homeassistant={"enabled": False})
        await home.registered(lambda found: not found)
        await home.devices(lambda found: not found)


@installed(OLDER, NEWEST)
async def test_a_change_of_form_keeps_every_entity(stage, tmp_path, version):
    """There and back, each entity is the same one to Home Assistant, so names and history stay."""
    async with at_home(stage, tmp_path, version, "component", chargers=1, equalizers=0) as (
        s,
        home,
    ):
        before = await all_there(home, (ONE,))
        for form in ("device", "component"):
            await reconfigured(s, homeassistant={"form": form})
            await s.witness.value("charger/bridge/cloud", "connected")
            watcher = Witness(s.broker.port, judges=False)
            await watcher.start(("homeassistant/#",))
            other = TOPIC["component" if form == "device" else "device"]
            await watcher.until(
                lambda w=watcher, new=TOPIC[form], old=other: (
                    w.retained.get(new) and not w.retained.get(old)
                ),
                f"the {form} form",
            )
            await watcher.stop()
            after = await all_there(home, (ONE,))
            assert {key: e["id"] for key, e in after.items()} == {
                key: e["id"] for key, e in before.items()
            }
        # It says this of every old topic that is emptied, as its documentation asks us to; the
        # newest of disabled entities.
        emptied = ("conflicting", "Ignoring empty MQTT discovery payload for disabled")
        assert [one for one in complaints(home) if not any(text in one for text in emptied)] == []


@needs(NEWEST)
async def test_the_settings_of_an_equalizer_are_switched(stage, tmp_path):
    """Both controls show what the cloud holds and set it, and the energy of the house is there."""
    async with at_home(stage, tmp_path, NEWEST, "device", chargers=1, equalizers=1) as (s, home):
        wanted = {
            f"charger_{METER}_{key}"
            for key in (
                "switch_surplus_charging",
                "number_max_allocated_current",
                "sensor_cumulative_active_power_import",
            )
        }
        known = await home.registered(lambda found: found.keys() >= wanted)
        switch = id_of(known, METER, "switch_surplus_charging")
        limit = id_of(known, METER, "number_max_allocated_current")

        async def shows(entity, state):
            await home.until(lambda all_: all_[entity]["state"] == state, f"{entity} is {state}")

        await shows(switch, "off")
        await shows(limit, "25")
        await home.call("switch.turn_on", switch)
        await shows(switch, "on")
        assert (await s.witness.final(METER, "surplus_charging"))["state"] == "confirmed"
        await home.call("number.set_value", limit, value=16)
        await shows(limit, "16")
        assert s.cloud.world.equalizers[METER].max_allocated_a == 16
        energy = id_of(known, METER, "sensor_cumulative_active_power_import")
        assert (await home.states())[energy]["attributes"]["state_class"] == "total_increasing"
