"""One MQTT connection: a paho client on the event loop, from dialling to the end.

Rules:

1. paho dials in a thread with no hooks set; its socket is then adopted by the loop, what is still
   to be written is asked for, and only then the hooks are set. From there on paho is touched by
   the loop's thread alone.
2. A callback never lets anything out. An exception on the loop would make paho handle the same
   packet again, for ever.
3. One client, one connection. A used client remembers unacknowledged messages and would send all
   of them at once on a reconnect, whatever the broker's Receive Maximum (paho#492).
4. What is readable is read for :data:`READ_STEP_S`; paho alone would read one packet in a turn of
   the loop, and new subscriptions bring thousands before the answer to the next one.
5. Whatever ends the connection resolves :attr:`Connection.lost`, once; paho itself reports one
   loss twice.
"""

import asyncio
import functools
import math
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import LogLevel, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bridge.adapters.mqtt import connect_errors
from bridge.adapters.mqtt.connect_errors import AttemptFailed, Cause
from bridge.adapters.mqtt.paho_translation import (
    ANSWER_DEADLINE_S,
    ConnackLimits,
    ConnectOptions,
    PeerAddress,
    Subscriptions,
    close_socket,
    connect,
    new_client,
    parting_code,
    publish_properties,
    read_grant,
    read_message,
    subscription,
)
from bridge.adapters.mqtt.publish_validation import check_publish
from bridge.core.delivery.outbox import REFUSED
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.errors import ConnectionLost
from bridge.settings import MqttSettings

log = structlog.get_logger()
T = TypeVar("T")

# TCP, TLS and name resolution together; paho alone would wait 5 s for each address of the host.
DIAL_DEADLINE_S = 15.0
READ_STEP_S = 0.001
# A broker that sends retained messages is alive. From SUBSCRIBE to SUBACK, at most.
SUBACK_DEADLINE_S = 60.0
# Commands are a few hundred bytes; anything larger is not a command.
MAX_PAYLOAD_BYTES = 65_536
# How many topics whose messages were cut are named in the log. The names are the sender's
# choice: without a bound he would fill the log and the memory.
MAX_TRUNCATED_TOPICS_NAMED = 32

UNSPECIFIED = 0x80
RETAIN_NOT_SUPPORTED = 0x9A
PROTOCOL_ERROR = 0x82
KEEP_ALIVE_TIMEOUT = 0x8D


def unheard(_refused: Subscriptions) -> None:
    """Ignore what the broker refuses."""


class Connection:
    """A connection that is being made, is up, or is over; never reused.

    Args:
        settings: The broker.
        options: What to ask for.
        epoch: Number of this connection; goes into every receipt.
        arrived: Called with each message; must not raise.
        acked: Called with message id and reason code of each PUBACK; must not raise.
        listened: Called with what the broker refuses of :meth:`listen`; must not raise.

    Attributes:
        lost: Resolves to the reason, a sentence, when the connection is over.
        poisoned: It ended because something arrived that paho cannot parse.
        code: The reason code with which the broker ended it, 0x80 where it gave none; None where it
            was not the broker.
        limits: What the broker granted; meaningful once :meth:`open` returned.
        asking: Filters it has been asked for and has not answered.
    """

    def __init__(
        self,
        settings: MqttSettings,
        options: ConnectOptions,
        *,
        epoch: int,
        arrived: Callable[[MqttMessage], None],
        acked: Callable[[int, int], None],
        mono_s: Callable[[], float],
        listened: Callable[[Subscriptions], None] = unheard,
    ) -> None:
        self.epoch = epoch
        self._mono_s = mono_s
        self._heard_s = self._spoke_s = mono_s()
        self.options = options
        self.limits = ConnackLimits(session_present=False)
        self.poisoned = False
        self.code: int | None = None
        self._settings = settings
        self._arrived = arrived
        self._acked = acked
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        # How many of paho's callbacks are under way, one inside the other; how many there were.
        self._callbacks = self._called = 0
        self._connack: asyncio.Future[tuple[ReasonCode, bool, Properties | None]]
        self._connack = self._loop.create_future()
        self._suback: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self.asking: tuple[str, ...] = ()
        self._granted_qos: set[int] = set()
        # Packet identifiers of subscriptions whose answer is not awaited.
        self._asked_again: set[int | None] = set()
        self._listened = listened
        self._listening: dict[int | None, Subscriptions] = {}
        self._socket_error = ""
        self._adopted = False
        self._is_granted = False
        self._parting = False
        self._cut_topics: set[str] = set()
        self._client = new_client(settings, options)
        self._client.on_log = self._on_log

    # -- making it --------------------------------------------------------------------------

    async def open(self) -> None:
        """Dial, adopt the socket and wait for CONNACK.

        Raises:
            AttemptFailed: There is no connection; nothing is left open.
        """
        try:
            await self._dial()
            self._adopt()
            self.limits = self._granted(*await self._answer(self._connack))
            self._is_granted = True
            self._client.on_log = None
        except BaseException:
            self.drop("the attempt was given up")
            raise

    async def subscribe(self, asked: Subscriptions) -> Subscriptions:
        """Subscribe; see :func:`subscription`.

        Returns:
            What the broker refused. Without it the connection is good all the same.

        Raises:
            AttemptFailed: No answer came.
        """
        names = asked.names
        if not names:
            return asked
        self.asking = names
        self._suback = self._loop.create_future()
        self._client.subscribe(subscription(self.options, asked))
        codes = [code.value for code in await self._answer(self._suback)]
        self.asking = ()
        # A broker that answers fewer than it was asked has not granted the rest.
        granted = {name: code for name, code in zip(names, codes, strict=False) if code < REFUSED}
        self._granted_qos |= {granted[name] for name in asked.filters if name in granted}
        return asked.without(frozenset(granted))

    @property
    def is_asking(self) -> bool:
        """Return whether a subscription is not answered yet."""
        return bool(self.asking or self._asked_again or self._listening)

    @property
    def granted(self) -> bool:
        """Return whether the broker accepted the connection."""
        return self._is_granted

    @property
    def maximum_qos(self) -> int:
        """Return the highest QoS of the broker; with 0 nothing is stored for subscribers."""
        return min(self.options.qos, self.limits.maximum_qos, max(self._granted_qos, default=1))

    async def _dial(self) -> None:
        """Run paho's connect in a thread that is not joined at shutdown.

        Not ``asyncio.to_thread``: the loop waits for its threads when it closes, and a resolver
        that hangs would hold up the end of the program. A late one closes its own socket.
        """
        outcome: asyncio.Future[MQTTErrorCode | Exception] = self._loop.create_future()

        def settle(result: MQTTErrorCode | Exception) -> None:
            if outcome.done():
                close_socket(self._client)
            else:
                outcome.set_result(result)

        def work() -> None:
            result: MQTTErrorCode | Exception
            try:
                result = connect(self._client, self._settings, self.options)
            except Exception as exc:  # noqa: BLE001 - a border: translated by dial_failure
                result = exc
            try:
                self._loop.call_soon_threadsafe(settle, result)
            except RuntimeError:  # the loop is closed, the program ends
                close_socket(self._client)

        threading.Thread(target=work, name=f"mqtt-dial-{self.epoch}", daemon=True).start()
        try:
            await self._first_of(outcome, DIAL_DEADLINE_S)
            result = outcome.result() if outcome.done() else TimeoutError()
        finally:
            outcome.cancel()
        if self.lost.done():  # closed by us meanwhile, also where dialling ended in the same turn
            raise AttemptFailed(self.lost.result())
        if isinstance(result, Exception):
            raise connect_errors.dial_failure(result, self._settings) from result
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise connect_errors.silent_close(self._settings, self._socket_error)

    def _adopt(self) -> None:
        """Register paho's socket with the loop."""
        client = self._client
        sock = client.socket()
        if sock is None:
            raise connect_errors.silent_close(self._settings, self._socket_error)
        # Small packets one after the other wait 40 ms for each other otherwise (Nagle).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[attr-defined] # paho types a socket too narrowly
        client.on_connect = self._guarded(self._on_connect)
        client.on_subscribe = self._guarded(self._on_subscribe)
        client.on_message = self._guarded(self._on_message)
        client.on_publish = self._guarded(self._on_publish)
        client.on_disconnect = self._guarded(self._on_disconnect)
        self._adopted = True
        self._loop.add_reader(sock.fileno(), self._readable)
        # paho may have asked for this in the thread, when no hook was there to hear it.
        if client.want_write():
            self._loop.add_writer(sock.fileno(), self._writable)
        client.on_socket_register_write = self._guarded(self._on_want_write)
        client.on_socket_unregister_write = self._guarded(self._on_no_write)
        client.on_socket_close = self._guarded(self._on_socket_close)

    async def _answer(self, answer: asyncio.Future[T]) -> T:
        """Wait for a response of the broker, or raise why it did not arrive."""
        within_s = ANSWER_DEADLINE_S if self._connack.done() else self.options.connack_within_s
        until_s = self._mono_s() + (SUBACK_DEADLINE_S if self._connack.done() else 0.0)
        heard_s = math.nan
        while heard_s != self._heard_s and not (answer.done() or self.lost.done()):
            heard_s = self._heard_s
            await self._first_of(answer, within_s)
            if self._mono_s() >= until_s:
                break
        if answer.done():
            return answer.result()
        if self._connack.done():
            ended = self.lost.result() if self.lost.done() else "no SUBACK came"
            raise AttemptFailed(ended, Cause.POISON if self.poisoned else Cause.OTHER)
        if self.lost.done():
            raise connect_errors.silent_close(self._settings, self._socket_error)
        raise connect_errors.no_connack(self._settings, within_s)

    def _granted(
        self, code: ReasonCode, session_present: bool, properties: Properties | None
    ) -> ConnackLimits:
        if code.is_failure:
            raise connect_errors.connack_failure(code.value, str(code), self._settings)
        if getattr(properties, "RetainAvailable", 1) == 0:
            # It should have refused our will, which is to be kept.
            raise connect_errors.connack_failure(
                RETAIN_NOT_SUPPORTED, "Retain not supported", self._settings
            )
        return read_grant(self.options, session_present, properties)

    async def _first_of(self, answer: asyncio.Future[Any], deadline_s: float) -> None:
        """Wait for a response, for the end of the connection, or for the deadline."""
        awaited: set[asyncio.Future[Any]] = {answer, self.lost}
        await asyncio.wait(awaited, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)

    # -- using it ---------------------------------------------------------------------------

    def publish(self, message: Publish) -> int:
        """Send one message and return its message id.

        Raises:
            ConnectionLost: The connection is over; nothing was sent.
            ValueError: The message can never be sent.
        """
        with_properties = self.options.protocol == "5"
        check_publish(
            message,
            properties=with_properties,
            largest_packet_bytes=self.limits.largest_packet_bytes,
        )
        if self.lost.done():
            raise ConnectionLost(self.lost.result())
        qos = min(message.qos, self.options.publish_qos, self.limits.maximum_qos)
        info = self._client.publish(
            message.topic,
            message.payload,
            qos,
            message.retained,
            publish_properties(message) if with_properties else None,
        )
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ConnectionLost(f"not sent: {paho.error_string(info.rc)}")
        # paho holds a lock in its callbacks that writing takes too. At QoS 0 the end of the write
        # is the acknowledgement, which must not come before the caller has the identifier.
        if qos and not self._callbacks:
            self._writable()
        return info.mid

    @property
    def route(self) -> PeerAddress | None:
        """Return the address of the peer, or None when the connection is over."""
        sock = self._client.socket()
        if not isinstance(sock, socket.socket):
            return None
        try:
            return PeerAddress(sock.family, sock.getpeername(), getattr(sock, "context", None))
        except OSError:
            return None

    def acknowledge(self, ack_token: AckToken) -> None:
        """Send the PUBACK of a message that came over this connection."""
        if ack_token.epoch == self.epoch and ack_token.qos > 0 and not self.lost.done():
            self._client.ack(ack_token.message_id, ack_token.qos)

    def ask_retained(self, topic_filter: str) -> None:
        """Subscribe again to a filter: its retained messages come as if it were new."""
        if not self.lost.done():
            wanted = subscription(self.options, Subscriptions((topic_filter,)), as_new=True)
            self._run(lambda: self._asked_again.add(self._client.subscribe(wanted)[1]))

    def listen(self, asked: Subscriptions) -> None:
        """Subscribe besides; what the broker refuses is told to ``listened``."""
        if not self.lost.done():
            wanted = subscription(self.options, asked)
            self._run(lambda: self._listening.update({self._client.subscribe(wanted)[1]: asked}))

    def unsubscribe(self, names: tuple[str, ...]) -> None:
        """Unsubscribe from filters."""
        if names and not self.lost.done():
            self._run(lambda: self._client.unsubscribe(list(names)))

    def keep_alive(self) -> float:
        """Run paho's keepalive handling.

        Returns:
            After how many seconds it has to run again at the latest; 0 or less: about every second,
            the broker is to answer.
        """
        self._run(self._client.loop_misc)
        quiet_s = self._mono_s() - min(self._heard_s, self._spoke_s)
        return self._client.keepalive - quiet_s

    def disconnect(self) -> None:
        """Send DISCONNECT; the broker publishes the will only where no session is kept."""
        self._parting = True
        if not self.lost.done():
            self._run(functools.partial(self._client.disconnect, parting_code(self.options)))

    def drop(self, reason: str) -> None:
        """Close the socket as it is; the broker publishes the will. Idempotent."""
        client = self._client
        sock = client.socket()
        if self._adopted and sock is not None and sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
        # paho's own cleaning, at collection, must not find a loop that watches another connection
        # with the same file descriptor.
        client.on_socket_close = None
        client.on_socket_register_write = None
        client.on_socket_unregister_write = None
        client.on_log = None
        close_socket(client)
        self._lose(reason)

    # -- the loop's side --------------------------------------------------------------------

    def _readable(self) -> None:
        self._heard_s = self._mono_s()
        until_s, is_more = self._heard_s + READ_STEP_S, True
        while is_more:
            called = self._called
            self._run(self._client.loop_read)
            sock = self._client.socket()
            if isinstance(sock, ssl.SSLSocket) and sock.fileno() >= 0 and sock.pending():
                continue  # what TLS has already taken off the socket does not wake the loop again
            is_more = sock is not None and self._called > called and self._mono_s() < until_s

    def _writable(self) -> None:
        self._spoke_s = self._mono_s()
        self._run(self._client.loop_write)

    def _run(self, step: Callable[[], object]) -> None:
        """Call into paho; an error in there ends this connection and nothing else."""
        try:
            step()
        except Exception as exc:  # noqa: BLE001 - a border: the loop would call again, for ever
            log.error("mqtt.client_failed", error=type(exc).__name__)
            # What we sent may have to do with it.
            self._lose(f"the MQTT client failed ({type(exc).__name__})", UNSPECIFIED)
            self.drop("the MQTT client failed")

    # -- paho's side ------------------------------------------------------------------------

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Wrap a callback so that nothing escapes from it."""

        def call(*args: Any) -> None:
            self._callbacks += 1
            self._called += 1
            try:
                callback(*args)
            except Exception as exc:  # noqa: BLE001 - a border: see rule 2
                failed = type(exc).__name__
                log.error("mqtt.callback_failed", callback=callback.__name__, error=failed)
            finally:
                self._callbacks -= 1

        return call

    def _on_log(self, _client: object, _data: object, level: int, text: str) -> None:
        # The only public place where paho tells which socket error it met. Off after CONNACK.
        if level == LogLevel.MQTT_LOG_ERR:
            self._socket_error = text

    def _on_connect(
        self,
        _client: object,
        _data: object,
        flags: paho.ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if not self._connack.done():
            self._connack.set_result((code, flags.session_present, properties))

    def _on_subscribe(
        self, _client: object, _data: object, mid: int, codes: list[ReasonCode], _props: object
    ) -> None:
        if mid in self._asked_again:
            self._asked_again.discard(mid)
        elif (asked := self._listening.pop(mid, None)) is not None:
            answers = zip(asked.names, codes, strict=False)
            granted = frozenset(name for name, code in answers if code.value < REFUSED)
            self._listened(asked.without(granted))
        elif not self._suback.done():
            self._suback.set_result(codes)

    def _on_publish(
        self, _client: object, _data: object, mid: int, code: ReasonCode, _props: object
    ) -> None:
        self._acked(mid, code.value)

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        ack_token = AckToken(self.epoch, message.mid, message.qos)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        if len(message.payload) > MAX_PAYLOAD_BYTES:
            # Cut, it is still too long for a command, and gets the answer of one.
            self._note_cut(topic, len(message.payload))
            message.payload = bytes(message.payload[:MAX_PAYLOAD_BYTES])
        if not topic or getattr(message.properties, "unreadable", False):
            # It cannot be processed, and unacknowledged it would be redelivered for ever.
            self.acknowledge(ack_token)
            log.warning("mqtt.message_dropped", payload_bytes=len(message.payload))
            return
        self._arrived(read_message(message, topic, ack_token))

    def _note_cut(self, topic: str, size: int) -> None:
        named = self._cut_topics
        if topic in named or len(named) >= MAX_TRUNCATED_TOPICS_NAMED:
            return
        named.add(topic)
        log.warning("mqtt.message_truncated", topic=topic[:80], payload_bytes=size)

    def _on_disconnect(
        self,
        _client: object,
        _data: object,
        flags: paho.DisconnectFlags,
        code: ReasonCode,
        _props: object,
    ) -> None:
        if self._parting:
            self._lose("closed by us")
        elif flags.is_disconnect_packet_from_server:
            hint = connect_errors.DISCONNECT_HINTS.get(code.value)
            reason = f"the broker ended it ({code})" + (f": {hint}" if hint else "")
            self._lose(reason, code.value)
        elif code.value == PROTOCOL_ERROR:
            self.poisoned = self._is_granted  # paho calls a CONNACK that says no an error too
            self._lose("the broker sent something that is not MQTT")
        elif code.value == KEEP_ALIVE_TIMEOUT:
            self._lose(f"nothing received from the broker for {self._client.keepalive} s")
        else:
            self._lose("the broker closed the connection", UNSPECIFIED)

    def _lose(self, reason: str, code: int | None = None) -> None:
        if not self.lost.done():
            self.code = code
            self.lost.set_result(reason)

    def _on_want_write(self, _client: object, _data: object, _sock: socket.socket) -> None:
        self._loop.call_soon(self._write_rest)

    def _write_rest(self) -> None:
        """Write what waits, and the rest of it when the socket has room."""
        if self._client.want_write() and not self.lost.done():
            self._writable()
            sock = self._client.socket()
            if self._client.want_write() and sock is not None and sock.fileno() >= 0:
                self._loop.add_writer(sock.fileno(), self._writable)

    def _on_no_write(self, _client: object, _data: object, sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock.fileno())

    def _on_socket_close(self, _client: object, _data: object, sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
