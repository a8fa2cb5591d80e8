"""Connections to the feed's broker: dial, deliver, acknowledge; built on pika.

Rules:

1. Acknowledgement is manual and cumulative, and the number of unacknowledged deliveries is bounded
   by :data:`PREFETCH`: what is not safe here stays in the queue.
2. A broker that is silent for two heartbeats is gone; so is one whose kernel acknowledges nothing.
   pika itself waits for seven seconds and up to fourteen. Looks are counted, not time: a process
   that stood still has not listened.
3. pika's callbacks run on the loop. What they raise ends this connection and nothing else.
"""

import asyncio
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final

import pika
import structlog
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPHeartbeatTimeout,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from bridge.core.easee.partner_feed import FeedLogin
from bridge.errors import ConnectionLost

log = structlog.get_logger()

CONSUMER = "charger-bridge"
PREFETCH = 1_000
HEARTBEAT_S = 2
# The broker sends something every half heartbeat.
LOOK_EVERY_S = HEARTBEAT_S / 2
SILENT_LOOKS = 4
DIAL_TIMEOUT_S = 10.0
OPEN_TIMEOUT_S = 20.0
# What pika says of a client that it connects itself.
CLIENT_PROPERTIES: Final = {
    "product": CONSUMER,
    "connection_name": f"{CONSUMER} commands",
    "capabilities": {
        "publisher_confirms": True,
        "basic.nack": True,
        "connection.blocked": True,
        "authentication_failure_close": True,
    },
}
# Unacknowledged bytes for so long are a dead peer.
USER_TIMEOUT_MS = 5_000

# Of a message in a queue of our own: the routing key that it came with.
KEY_HEADER: Final = "x-routing-key"

Arrived = Callable[[int, str, bytes], None]


class PikaConnection(ABC):
    """One connection with one channel, used once; what it is for is a subclass's.

    Attributes:
        lost: Resolved with the reason when it is over.
    """

    def __init__(self, login: FeedLogin) -> None:
        """Connect nothing yet.

        Args:
            login: Where the broker is.
        """
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[ConnectionLost] = loop.create_future()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._login = login
        self._connection: Any = None
        self._channel: Any = None
        self._look: asyncio.TimerHandle | None = None
        self._received, self._silent = 0, 0

    async def open(self) -> None:
        """Dial, and do what the subclass begins with.

        Raises:
            ConnectionLost: It did not work; the text has no credentials.
        """
        self._connection = AsyncioConnection(
            _parameters(self._login),
            on_open_callback=self._opened,
            on_open_error_callback=lambda _connection, error: self._lose(error),
            on_close_callback=lambda _connection, error: self._lose(error),
            custom_ioloop=asyncio.get_running_loop(),
        )
        awaited: set[asyncio.Future[Any]] = {self._ready, self.lost}
        await asyncio.wait(awaited, timeout=OPEN_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if self.lost.done():
            raise self.lost.result()
        if not self._ready.done():
            raise ConnectionLost(f"the feed at {self._login.host} did not answer in time")

    def close(self) -> None:
        """Close it; what was not acknowledged is delivered again. Idempotent, never raises."""
        if self._look is not None:
            self._look.cancel()
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closing or connection.is_closed:
            return
        try:
            if self._channel is not None and self._channel.is_open:
                self._leave(self._channel)
            connection.close()
        except Exception as error:  # noqa: BLE001 - rule 3; while it opens, pika refuses in many ways
            log.debug("stream.not_closed", error=type(error).__name__)

    # -- of a subclass ----------------------------------------------------------------------------

    @abstractmethod
    def _begin(self, channel: Any) -> None:
        """Begin with an open channel; :meth:`_is_ready` says that it is done."""

    @abstractmethod
    def _leave(self, channel: Any) -> None:
        """End the use of an open channel."""

    # -- pika's side ------------------------------------------------------------------------------

    def _opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(lambda _channel, error: self._lose(error))
        self._begin(channel)

    def _is_ready(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)
            self._listen()

    def _listen(self) -> None:
        """End the connection when nothing was received at several looks in a row."""
        if self._connection is None:
            return
        received, self._received = self._received, self._connection.bytes_received
        self._silent = self._silent + 1 if received == self._received else 0
        if self._silent >= SILENT_LOOKS:
            self._lose(AMQPHeartbeatTimeout())
        else:
            loop = asyncio.get_running_loop()
            self._look = loop.call_later(LOOK_EVERY_S, self._listen)

    def _lose(self, error: BaseException) -> None:
        if not self.lost.done():
            self.lost.set_result(in_words(error, self._login))
        self.close()


class FeedConnection(PikaConnection):
    """A connection that consumes a queue."""

    def __init__(
        self,
        login: FeedLogin,
        arrived: Arrived,
        *,
        prefetch: int = PREFETCH,
        arguments: Mapping[str, object] | None = None,
    ) -> None:
        """Connect nothing yet.

        Args:
            login: Where the queue is.
            arrived: Called with delivery tag, routing key and body of each message.
            prefetch: Most deliveries that are not acknowledged.
            arguments: The queue is made with these where it is not there; None: it is not ours.
        """
        super().__init__(login)
        self._arrived = arrived
        self._prefetch = prefetch
        self._arguments = arguments

    def acknowledge(self, delivery: int) -> None:
        """Acknowledge a delivery and all before it; does nothing when the connection is over."""
        if self._channel is not None and self._channel.is_open:
            self._channel.basic_ack(delivery, multiple=True)

    def _begin(self, channel: Any) -> None:
        channel.basic_qos(prefetch_count=self._prefetch)
        if self._arguments is not None:
            channel.queue_declare(self._login.queue, durable=True, arguments=self._arguments)
        channel.basic_consume(
            self._login.queue,
            self._delivered,
            consumer_tag=CONSUMER,
            callback=lambda _frame: self._is_ready(),
        )
        channel.add_on_cancel_callback(
            lambda _frame: self._lose(ConnectionLost("the feed cancelled the consumer"))
        )

    def _leave(self, channel: Any) -> None:
        # Without a callback pika changes the dictionary that its close iterates over.
        channel.basic_cancel(CONSUMER, callback=lambda _frame: None)

    def _delivered(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        headers = properties.headers
        key = headers.get(KEY_HEADER) if headers else None
        self._arrived(method.delivery_tag, key or method.routing_key, body)


def _parameters(login: FeedLogin) -> pika.ConnectionParameters:
    options = None
    if login.tls:
        options = pika.SSLOptions(ssl.create_default_context(), login.host)
    return pika.ConnectionParameters(
        host=login.host,
        port=login.port,
        virtual_host=login.virtual_host,
        credentials=pika.PlainCredentials(login.username, login.password),
        heartbeat=HEARTBEAT_S,
        blocked_connection_timeout=OPEN_TIMEOUT_S,
        socket_timeout=DIAL_TIMEOUT_S,
        stack_timeout=OPEN_TIMEOUT_S,
        connection_attempts=1,
        ssl_options=options,
        tcp_options={"TCP_USER_TIMEOUT": USER_TIMEOUT_MS}
        if hasattr(socket, "TCP_USER_TIMEOUT")
        else None,
        client_properties={"connection_name": CONSUMER},
    )


# What each error means, and whether the other side refuses us; the first that is met counts.
_WORDS: Final[tuple[tuple[type[BaseException], str, bool], ...]] = (
    (ProbableAuthenticationError, "the feed at {where} refuses user name or password", True),
    (ProbableAccessDeniedError, "the feed at {where} refuses the virtual host", True),
    (ChannelClosedByBroker, "the feed at {where} refuses the queue {queue}", True),
    (ssl.SSLCertVerificationError, "the certificate of {where} is not trusted", False),
    (ssl.SSLError, "no TLS with {where}", False),
    (socket.gaierror, "the name {host} cannot be resolved; check the network and its DNS", False),
    (ConnectionRefusedError, "nothing listens at {where}", False),
    (AMQPConnectorException, "no connection to {where} in time", False),
    (AMQPHeartbeatTimeout, "the feed at {where} is silent", False),
    (BaseException, "the connection to {where} ended", False),
)


def in_words(error: BaseException, login: FeedLogin) -> ConnectionLost:
    """Return why a connection ended; no text of the other side is repeated."""
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, ConnectionLost):
            return cause
    words, refused = next(
        (words, refused)
        for kind, words, refused in _WORDS
        if any(isinstance(cause, kind) for cause in causes)
    )
    facts = {"where": f"{login.host}:{login.port}", "host": login.host, "queue": login.queue}
    return ConnectionLost(words.format_map(facts), refused=refused)


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what it reports as its causes, in pika's attributes too."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            waiting += [*each.args, *getattr(each, "exceptions", ()), each.__cause__]
            waiting.append(getattr(each, "exception", None))
    return found
