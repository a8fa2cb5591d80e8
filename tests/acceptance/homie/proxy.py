"""A Homie 5 proxy of Home Assistant discovery, composed of the parts that ebus-sdk has for it.

It reads ``homeassistant/device/+/config``, publishes each device below ``ebus/5/``, and passes
writes on to the command topics. It prints what it understood, one JSON object a line.
"""

import functools
import json
import sys

import paho.mqtt.client as paho
from ebus_sdk import Device, PropertyDatatype
from ebus_sdk.ha import HADevice, derive_spec, parse_device_config, read_field
from ebus_sdk.homie import sanitize_homie_id

PORT = int(sys.argv[1])
NODE = "charger"
SWITCHES = ("switch", "binary_sensor")
WRITTEN = ("switch", "number", "select", "button")
proxies = {}


def say(found):
    """Print one object."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def spec_of(component):
    """Derive a property from a component, as the SDK does without a mapping of one's own."""
    spec = derive_spec(component.device_class, component.unit_of_measurement, component.key)
    is_flag = component.platform in SWITCHES
    datatype = PropertyDatatype.BOOLEAN if is_flag else spec.datatype
    if component.platform == "number":
        datatype = PropertyDatatype.FLOAT
    return spec, datatype


def write(component, payload):
    """Pass a write on."""
    config = component.config
    if component.platform == "switch":
        payload = config["payload_on"] if payload == "true" else config["payload_off"]
    elif component.platform == "button":
        payload = config["payload_press"]
    client.publish(config["command_topic"], payload, qos=1)


def read(component, payload):
    """Read a state as the SDK's reader of templates understands it."""
    text = payload.decode()
    if component.value_field:
        return read_field(json.loads(text), component.value_field)
    if component.platform in SWITCHES:
        return text == component.config.get("payload_on", "ON")
    return text


def build(found):
    """Publish a device, with a property for each component."""
    serial = sanitize_homie_id(found.primary_id)
    made = Device(serial, name=found.name, mqtt_cfg={"host": "127.0.0.1", "port": PORT})
    node = made.add_node_from_dict({"id": NODE, "name": found.name, "type": NODE})
    understood = {}
    for key, component in found.components.items():
        if component.removed:
            continue
        spec, datatype = spec_of(component)
        is_written = component.platform in WRITTEN and "command_topic" in component.config
        known = node.add_property_from_dict(
            {
                "id": spec.prop_id,
                "name": component.name or key,
                "datatype": datatype,
                "unit": spec.unit,
                "settable": is_written,
                "set_callback": functools.partial(write, component) if is_written else None,
            }
        )
        topic = component.state_topic
        understood[key] = {
            "id": spec.prop_id,
            "platform": component.platform,
            "unit": None if spec.unit is None else spec.unit.value,
            "written": is_written,
            "read": topic,
            "available": bool(component.availability and component.availability.sources),
        }
        if topic:
            follow(topic, component, known, spec.scale)
    made.start_mqtt_client()
    proxies[serial] = made
    say({"kind": "DEVICE", "id": serial, "name": found.name, "components": understood})


def follow(topic, component, known, scale):
    """Set a property when its topic has something."""

    def on_state(_client, _data, message):
        value = read(component, message.payload)
        if isinstance(value, str) and scale != 1.0:
            value = float(value) * scale
        if value not in (None, "null", ""):
            known.set_value(value)

    client.message_callback_add(topic, on_state)
    client.subscribe(topic, 1)


def on_message(_client, _data, message):
    """Handle a description."""
    found = parse_device_config(message.payload)
    if isinstance(found, HADevice) and sanitize_homie_id(found.primary_id) not in proxies:
        build(found)
    elif found is None:
        say({"kind": "FAILED", "topic": message.topic})


client = paho.Client(paho.CallbackAPIVersion.VERSION2)
client.on_message = on_message
client.connect("127.0.0.1", PORT)
client.subscribe("homeassistant/device/+/config", 1)
client.loop_start()
sys.stdin.read()
for one in proxies.values():
    one.stop()
client.loop_stop()
