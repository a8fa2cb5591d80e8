"""The bare way from a queue to a broker: ``bare_consumer.py AMQP_URL QUEUE MQTT_PORT WINDOW``.

What people write themselves: pika consumes, paho publishes one retained message at QoS 1 for each
delivery, and what the broker acknowledged is acknowledged in order. It keeps nothing and promises
nothing: an older value replaces a newer one.
"""

import json
import socket
import sys
from collections import deque

import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion

PREFETCH = 1_000


def main() -> None:
    """Consume until killed."""
    url, queue, port, window = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    names = json.loads(sys.stdin.readline())
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.max_inflight_messages_set(window)
    client.on_socket_open = lambda _client, _data, sock: sock.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )
    client.connect("127.0.0.1", port)
    client.loop_start()
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=PREFETCH)
    waiting: deque[tuple[int, paho.MQTTMessageInfo]] = deque()
    for method, _properties, body in channel.consume(queue, inactivity_timeout=0.1):
        if method is not None:
            one = json.loads(body)
            topic = f"charger/{one['mid']}/state/{names[str(one['id'])]}"
            waiting.append((method.delivery_tag, client.publish(topic, one["value"], 1, True)))
        done = 0
        while waiting and waiting[0][1].is_published():
            done = waiting.popleft()[0]
        if done:
            channel.basic_ack(done, multiple=True)


if __name__ == "__main__":
    main()
