"""Ask Home Assistant's own schemas and tables about our descriptions. Runs in its environment.

Standard input is a list of ``{"topic", "config", "payloads"}``, standard output what was found:
``{"problems": [sentence, …], "rendered": {topic: {payload: text}}}``.
"""

import asyncio
import importlib
import json
import sys
import tempfile

from homeassistant.components.mqtt.discovery import TOPIC_MATCHER
from homeassistant.components.number.const import DEVICE_CLASS_UNITS as NUMBER_UNITS
from homeassistant.components.sensor.const import DEVICE_CLASS_STATE_CLASSES
from homeassistant.components.sensor.const import DEVICE_CLASS_UNITS as SENSOR_UNITS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation
from homeassistant.helpers.template import Template

# The library of its schemas: voluptuous, and since 2026 probatio, which raises the same.
schemas = getattr(config_validation, "vol", None) or config_validation.probatio
# Newer than the version that judges, and documented: options of an enum sensor.
NEWER = {"options"}


def problems(topic, config):
    """Say what Home Assistant would refuse."""
    found = TOPIC_MATCHER.fullmatch(topic.removeprefix("homeassistant/"))
    if not found:
        yield f"{topic}: not a discovery topic"
        return
    platform = found["component"]
    schema = importlib.import_module(f"homeassistant.components.mqtt.{platform}").DISCOVERY_SCHEMA
    try:
        checked = schema(json.loads(json.dumps(config)))
    except schemas.Invalid as error:
        yield f"{topic}: {error}"
        return
    unknown = config.keys() - checked.keys() - (NEWER if platform == "sensor" else set())
    if unknown:
        yield f"{topic}: {platform} does not know {sorted(unknown)}"
    yield from class_problems(topic, platform, config)


def class_problems(topic, platform, config):
    """Say which unit or state class does not go with the device class."""
    device_class, unit = config.get("device_class"), config.get("unit_of_measurement")
    units = {"sensor": SENSOR_UNITS, "number": NUMBER_UNITS}.get(platform, {})
    if device_class in units and unit not in units[device_class]:
        yield f"{topic}: unit {unit} does not go with {device_class}"
    state_class = config.get("state_class")
    allowed = DEVICE_CLASS_STATE_CLASSES.get(device_class)
    if platform == "sensor" and state_class and allowed is not None and state_class not in allowed:
        yield f"{topic}: state class {state_class} does not go with {device_class}"
    if device_class in ("enum", "timestamp") and (state_class or unit):
        yield f"{topic}: {device_class} has neither unit nor state class"


def rendered(hass, config, payload):
    """Render a payload the way an entity does."""
    template = Template(config["value_template"], hass)
    return template.async_render_with_possible_json_value(payload, error_value="ERROR")


async def main():
    """Judge everything."""
    hass = HomeAssistant(tempfile.gettempdir())
    asked = json.load(sys.stdin)
    answer = {
        "problems": [p for one in asked for p in problems(one["topic"], one["config"])],
        "rendered": {
            one["topic"]: {
                payload: rendered(hass, one["config"], payload) for payload in one["payloads"]
            }
            for one in asked
        },
    }
    json.dump(answer, sys.stdout)


asyncio.run(main())
