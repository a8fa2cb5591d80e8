"""The partner feed of the simulated cloud: what chargers say, published to a RabbitMQ.

Routing keys and bodies are those that the vendor's libraries suggest; nothing of them is published.
Rules:

1. Nothing is lost: what the broker did not confirm is published again after a reconnect.
2. It makes what the vendor has: the operator's queue, its exchange for commands, and an exchange
   that feeds the queue. Messages are persistent: a broker that was killed still has them.
3. Commands are taken from a queue of the cloud's own. One that is delivered again is the same one:
   it has the same ticks.
"""

import asyncio
import contextlib
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

from bridge.errors import BridgeError
from bridge.extras import missing_extra
from bridge.simulator.exchange import Order, read_order
from bridge.simulator.partner_login import COMMAND_QUEUE, COMMANDS, FEED, QUEUE
from bridge.simulator.readings import Response, Update, stamp, utc_text

try:
    import pika
    from pika.adapters.asyncio_connection import AsyncioConnection
    from pika.exceptions import AMQPError
except ImportError as exc:
    raise BridgeError(f"the simulated partner feed: {missing_extra('amqp', 'pika')}") from exc

PERSISTENT = pika.BasicProperties(content_type="application/json", delivery_mode=2)
RETRY_S = 1.0
HEARTBEAT_S = 10


def message_of(one: Update | Response) -> tuple[str, bytes]:
    """Return routing key and body of an observation or a response."""
    if isinstance(one, Update):
        key = f"{one.charger_id}.O.{one.observation_id}"
        document: dict[str, object] = {
            "mid": one.charger_id,
            "dataType": one.reading.data_type,
            "id": one.observation_id,
            "timestamp": stamp(one.observation_id, one.reading.measured_at),
            "value": one.reading.value,
        }
    else:
        key = f"{one.charger_id}.CR.{one.command_id}.{one.ticks}"
        document = {
            "Id": one.command_id,
            "Timestamp": utc_text(one.sent_at, "microseconds"),
            "DeliveredAt": utc_text(one.delivered_at, "milliseconds"),
            "WasAccepted": one.accepted,
            "ResultCode": 0,
            "Comment": "",
        }
    return key, json.dumps(document, separators=(",", ":"), default=str).encode()


class PartnerFeed:
    """Publishes to one RabbitMQ, again and again until confirmed.

    Args:
        url: ``amqp://user:password@host:port/vhost``.
        take: Takes a command that a partner published.
    """

    def __init__(self, url: str, take: Callable[[Order], None] = lambda _: None) -> None:
        self._url = url
        self._take = take
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._unconfirmed: OrderedDict[int, tuple[str, bytes]] = OrderedDict()
        self._number = 0
        self._channel: Any = None
        self._idle = asyncio.Event()
        self._idle.set()

    def tell(self, happened: Iterable[Update | Response]) -> None:
        """Publish what chargers say, in order."""
        self._waiting.extend(message_of(one) for one in happened)
        self._send()

    async def confirmed(self) -> None:
        """Wait until the broker has everything."""
        await self._idle.wait()

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        while True:
            lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def lose(*_: object, lost: asyncio.Future[None] = lost) -> None:
                self._channel = None
                if not lost.done():
                    lost.set_result(None)

            parameters = pika.URLParameters(self._url)
            parameters.heartbeat = HEARTBEAT_S
            connection = AsyncioConnection(
                parameters, self._opened, lose, lose, custom_ioloop=asyncio.get_running_loop()
            )
            try:
                await lost
            finally:
                with contextlib.suppress(AMQPError):
                    if not (connection.is_closing or connection.is_closed):
                        connection.close()
            await asyncio.sleep(RETRY_S)

    # -- pika's side ------------------------------------------------------------------------------

    def _opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:
        channel.queue_declare(QUEUE, durable=True)
        channel.exchange_declare(COMMANDS, "topic", durable=True)
        channel.exchange_declare(FEED, "topic", durable=True)
        channel.queue_declare(COMMAND_QUEUE, durable=True)
        channel.queue_bind(COMMAND_QUEUE, COMMANDS, "*.C.#")
        channel.queue_bind(QUEUE, FEED, "#", callback=lambda _frame: self._ready(channel))

    def _ordered(self, channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        order = read_order(method.routing_key, body)
        if order is not None:
            self._take(order)
        channel.basic_ack(method.delivery_tag)

    def _ready(self, channel: Any) -> None:
        channel.basic_consume(COMMAND_QUEUE, self._ordered)
        channel.confirm_delivery(self._was_confirmed)
        self._waiting.extendleft(reversed(self._unconfirmed.values()))
        self._unconfirmed.clear()
        self._number = 0
        self._channel = channel
        self._send()

    def _send(self) -> None:
        if self._waiting:
            self._idle.clear()
        channel = self._channel
        while channel is not None and channel.is_open and self._waiting:
            key, body = self._waiting.popleft()
            self._number += 1
            self._unconfirmed[self._number] = (key, body)
            channel.basic_publish(FEED, key, body, PERSISTENT)

    def _was_confirmed(self, frame: Any) -> None:
        number = frame.method.delivery_tag
        if frame.method.multiple:
            while self._unconfirmed and next(iter(self._unconfirmed)) <= number:
                self._unconfirmed.popitem(last=False)
        else:
            self._unconfirmed.pop(number, None)
        if not self._waiting and not self._unconfirmed:
            self._idle.set()
