"""What people write themselves: a subscriber that posts with httpx and publishes an answer.

Run by ``benchmarks.commands`` as a process; it keeps no journal, checks nothing and confirms
nothing. Both Nagle switches are off, as in the gateway.
"""

import socket
import sys

import httpx
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion


def main() -> None:
    """Serve until killed: ``bare_script.py PORT API_URL``."""
    port, api_url = int(sys.argv[1]), sys.argv[2]
    cloud = httpx.Client(base_url=api_url, trust_env=False)
    answer = cloud.post("/api/accounts/login", json={"userName": "x", "password": "y"}).json()
    cloud.headers["Authorization"] = f"Bearer {answer['accessToken']}"
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)

    def on_socket_open(_client: object, _data: object, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_connect(client: paho.Client, *_: object) -> None:
        client.subscribe("bare/+/set/+", 1)
        client.publish("bare/ready", b"1", 1, True)

    def on_message(client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        _, charger_id, _, command = message.topic.split("/")
        taken = cloud.post(
            f"/api/chargers/{charger_id}/commands/set_dynamic_charger_current",
            json={"amps": int(message.payload), "minutes": 0},
        )
        client.publish(f"bare/{charger_id}/result/{command}", taken.content, 1)

    client.on_socket_open = on_socket_open
    client.on_connect = on_connect
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.loop_forever()


if __name__ == "__main__":
    main()
