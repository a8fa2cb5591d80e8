"""Queues of our own, one for each partition: the reader of the feed fills them.

They are on a RabbitMQ of our own. Rules:

1. One direct exchange; the routing key is the partition. The vendor's routing key is in a header.
2. Queues are quorum queues with a single active consumer: the owner of a partition that was taken
   over cannot read on beside the new one.
3. A message counts when the broker confirmed it. One that comes back or is refused ends the
   connection: its delivery was not acknowledged and comes again.
"""

from collections.abc import Callable
from typing import Any, Final

import pika

from bridge.adapters.amqp.connection import KEY_HEADER, PikaConnection
from bridge.adapters.amqp.login import configured_login
from bridge.core.easee.partner_feed import FeedLogin
from bridge.errors import ConnectionLost

QUORUM: Final = {"x-queue-type": "quorum", "x-single-active-consumer": True}
PREFETCH: Final = 200


def exchange_of(installation: str) -> str:
    """Return the exchange of an installation, by its MQTT client id."""
    return f"{installation}.feed"


def queue_of(installation: str, partition: int) -> str:
    """Return the queue of a partition."""
    return f"{installation}.feed.p{partition:02}"


def partition_login(url: str, installation: str, partition: int) -> FeedLogin:
    """Return where the queue of a partition is."""
    return configured_login(url, queue_of(installation, partition))


class PartitionQueues(PikaConnection):
    """A connection that publishes to the queues."""

    def __init__(
        self, url: str, installation: str, partitions: int, confirmed: Callable[[int], None]
    ) -> None:
        """Connect nothing yet.

        Args:
            url: Of our RabbitMQ.
            installation: Names exchange and queues.
            partitions: How many there are.
            confirmed: Called with the number of a message when it and all before it are safe.
        """
        super().__init__(partition_login(url, installation, 0))
        self._installation = installation
        self._partitions = partitions
        self._confirmed = confirmed
        self._published = 0
        # Confirmed ones that one before them waits for.
        self._early: set[int] = set()
        self._safe = 0

    def publish(self, partition: int, routing_key: str, body: bytes) -> int:
        """Publish a message; return its number.

        Raises:
            ConnectionLost: There is no connection.
        """
        if self._channel is None or not self._channel.is_open:
            raise ConnectionLost("there is no connection to the queues of the partitions")
        properties = pika.BasicProperties(delivery_mode=2, headers={KEY_HEADER: routing_key})
        exchange, key = exchange_of(self._installation), str(partition)
        self._channel.basic_publish(exchange, key, body, properties, mandatory=True)
        self._published += 1
        return self._published

    def _begin(self, channel: Any) -> None:
        exchange = exchange_of(self._installation)
        channel.exchange_declare(exchange, "direct", durable=True)
        for partition in range(self._partitions):
            queue = queue_of(self._installation, partition)
            channel.queue_declare(queue, durable=True, arguments=QUORUM)
            channel.queue_bind(queue, exchange, str(partition))
        channel.add_on_return_callback(
            lambda *_: self._lose(ConnectionLost("a queue of a partition is missing"))
        )
        channel.confirm_delivery(self._answered, callback=lambda _frame: self._is_ready())

    def _leave(self, channel: Any) -> None:
        """Do nothing: what is not confirmed comes again."""

    def _answered(self, frame: Any) -> None:
        method = frame.method
        if method.NAME != "Basic.Ack":
            self._lose(ConnectionLost("a queue of a partition refuses a message"))
            return
        first = self._safe + 1 if method.multiple else method.delivery_tag
        self._early.update(range(first, method.delivery_tag + 1))
        before = self._safe
        while self._safe + 1 in self._early:
            self._safe += 1
            self._early.discard(self._safe)
        if self._safe > before:
            self._confirmed(self._safe)
