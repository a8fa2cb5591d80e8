"""A host with pysparkplug: prints what it decodes, one JSON object a line.

Reads {"do": "write", "device", "name", "type", "value"} and {"do": "rebirth"} from its input. The
library maps aliases and types by the births it saw.
"""

import json
import sys
import time

import pysparkplug as psp

PORT, GROUP, NODE, HOST_ID = int(sys.argv[1]), *sys.argv[2:5]
STATE = psp.Topic(message_type=psp.MessageType.STATE, sparkplug_host_id=HOST_ID)
STARTED = psp.get_current_timestamp()


def say(found):
    """Print one object."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def told(online):
    """Return the STATE message."""
    payload = psp.State(timestamp=STARTED, online=online)
    return psp.Message(topic=STATE, payload=payload, qos=psp.QoS.AT_LEAST_ONCE, retain=True)


def on_message(_client, message):
    """Print a message of the node."""
    kind = str(message.topic.message_type.value)
    if kind.endswith("CMD"):
        return
    metrics = [
        {
            "name": one.name,
            "value": str(one.value) if hasattr(one.value, "isoformat") else one.value,
            "type": one.datatype.name,
            "timestamp": one.timestamp,
            "historical": one.is_historical,
        }
        for one in message.payload.metrics
    ]
    seq = getattr(message.payload, "seq", None)
    say({"kind": kind, "device": message.topic.device_id or "", "seq": seq, "metrics": metrics})


def ask(device, name, datatype, value):
    """Publish a command, of the node where there is no device."""
    now = psp.get_current_timestamp()
    kind, made = (psp.MessageType.DCMD, psp.DCmd) if device else (psp.MessageType.NCMD, psp.NCmd)
    metric = psp.Metric(timestamp=now, name=name, datatype=datatype, value=value)
    topic = psp.Topic(group_id=GROUP, message_type=kind, edge_node_id=NODE, device_id=device)
    payload = made(timestamp=now, metrics=(metric,))
    message = psp.Message(topic=topic, payload=payload, qos=psp.QoS.AT_MOST_ONCE, retain=False)
    client.publish(message, include_dtypes=True)


client = psp.Client(client_id=f"host-{STARTED}")
client.set_will(told(online=False))
for kind in ("NBIRTH", "NDATA", "NDEATH"):
    topic = psp.Topic(group_id=GROUP, message_type=psp.MessageType[kind], edge_node_id=NODE)
    client.subscribe(topic, psp.QoS.AT_MOST_ONCE, on_message)
for kind in ("DBIRTH", "DDATA", "DDEATH"):
    topic = psp.Topic(
        group_id=GROUP,
        message_type=psp.MessageType[kind],
        edge_node_id=NODE,
        device_id=psp.SINGLE_LEVEL_WILDCARD,
    )
    client.subscribe(topic, psp.QoS.AT_MOST_ONCE, on_message)


def connected(made):
    """Say that the host is there."""
    time.sleep(0.2)  # the library asks for the subscriptions in the same callback
    made.publish(told(online=True))
    say({"kind": "READY"})


client.connect("127.0.0.1", port=PORT, callback=connected)
for line in sys.stdin:
    wanted = json.loads(line)
    if wanted["do"] == "rebirth":
        ask(None, "Node Control/Rebirth", psp.DataType.BOOLEAN, True)
    elif wanted["do"] == "write":
        datatype = psp.DataType[wanted["type"].upper()]
        ask(wanted["device"], wanted["name"], datatype, wanted["value"])
    elif wanted["do"] == "leave":
        client.publish(told(online=False))
        time.sleep(0.5)
        client.disconnect()
        break
