"""A host with mqtt-spb-wrapper: prints what it decodes, one JSON object a line.

The library knows neither STATE messages of version 3 nor aliases in data.
"""

import json
import sys

from mqtt_spb_wrapper import MqttSpbEntityScada

PORT, GROUP, NODE = int(sys.argv[1]), *sys.argv[2:4]


def say(found):
    """Print one object."""
    sys.stdout.write(json.dumps(found, default=str) + "\n")
    sys.stdout.flush()


def teller(topic, payload):
    """Print a message."""
    metrics = [
        {"name": one.get("name"), "value": one.get("value"), "timestamp": one.get("timestamp")}
        for one in (payload or {}).get("metrics", ())
    ]
    device = topic.eon_device_name or ""
    say({"kind": topic.message_type, "device": device, "metrics": metrics})


host = MqttSpbEntityScada(
    GROUP, "wrapper", callback_birth=teller, callback_data=teller, callback_death=teller
)
host.connect("127.0.0.1", PORT)
say({"kind": "READY"})
for line in sys.stdin:
    wanted = json.loads(line)
    if wanted["do"] == "rebirth":
        host.send_command("Node Control/Rebirth", True, NODE)
    elif wanted["do"] == "write":
        host.send_command(wanted["name"], wanted["value"], NODE, wanted["device"])
    elif wanted["do"] == "leave":
        break
host.disconnect()
