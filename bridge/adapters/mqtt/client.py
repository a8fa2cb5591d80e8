"""MQTT client: keeps a connection to the broker open for as long as the program runs.

Rules:

1. ``MqttConnected`` is emitted when the broker took us *and* answered every subscription; what
   arrived before that is emitted right after it, in order. What it refused is told behind it by
   ``MqttSubscribed``, asked for again every :data:`RESUBSCRIBE_AFTER_S`, and told again when that
   changed.
2. ``MqttDisconnected`` is emitted once for each ``MqttConnected``, and once for the first attempt
   that fails before there ever was one, so that the core learns why nothing works. Further failed
   attempts are told by ``MqttUnreachable`` and logged, and only when the reason is a new one.
3. Nothing is kept across connections: what was not acknowledged belongs to the core's outbox.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import structlog

from bridge.adapters.loss_reason import LossReason
from bridge.adapters.mqtt import connect_errors
from bridge.adapters.mqtt.connect_errors import AttemptFailed, Cause
from bridge.adapters.mqtt.connection import Connection
from bridge.adapters.mqtt.paho_translation import (
    NO_RECEIVE_MAXIMUM,
    ConnectOptions,
    Subscriptions,
)
from bridge.adapters.mqtt.protocol_version import ProtocolVersionPolicy
from bridge.adapters.mqtt.value_connection import ValueConnection
from bridge.core.backoff import reconnect_delay_s
from bridge.core.events import (
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    MqttSubscribed,
    MqttUnreachable,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import shared_wait_s
from bridge.errors import ConnectionLost
from bridge.ports import Clock, Emit, Heartbeat, no_heartbeat
from bridge.settings import MqttSettings

log = structlog.get_logger()

# Half of it at least, so a restarted broker is found again within a second.
FIRST_WAIT_S = 1.0
MAX_WAIT_S = 60.0
# While the broker is away an attempt costs next to nothing, and this bounds how long it is up
# before we are back, however long it was away (fault F11 asks for 5 s).
MAX_WAIT_BY_CAUSE_S: Final = {Cause.UNREACHED: 5.0, Cause.SILENT: 5.0}
# A connection that ended sooner counts as failed: a broker that accepts and kicks (two clients
# with one id, an access list) would otherwise be visited every second for ever.
STABLE_AFTER_S = 30.0
# Two clients with one id throw each other out for ever: a connection that lasted only as long as
# the other one's pause changes nothing. Not every broker says why it hangs up (mosquitto 2.0.11).
STABLE_AFTER_BY_CODE_S: Final = {0x8E: 600.0, 0x80: 90.0}
# Rights are not granted by the minute.
RESUBSCRIBE_AFTER_S = 600.0
# paho's keepalive has whole seconds. While both sides were heard of lately nothing is due.
KEEP_ALIVE_STEP_S = 1.0
MAX_KEEP_ALIVE_WAIT_S = 60.0
# How long a clean end may take: the last PUBACK, then DISCONNECT.
LAST_PUBLISH_S = 2.0
DISCONNECT_S = 1.0
# Behind the last retained message, of a broker that sends them in the order of subscriptions.
SETTLED_S = 0.2
# The longest pause, and an attempt with each of its deadlines, twice over.
HEARTBEAT_TIMEOUT_S = 180.0
# Before SUBACK only a resumed session delivers: QoS 1 within our Receive Maximum, and whatever is
# published at QoS 0 in that moment, for which nothing more is guaranteed.
EARLY_MESSAGES = 256
# Between two looks at whether a connection may be made.
LOOK_AGAIN_S = 0.1
# Filters of one SUBSCRIBE. mosquitto takes any number, EMQX and others count packets by their size.
MAX_FILTERS = 1_000


def always() -> bool:
    """Return True: a connection may be made at any time."""
    return True


class MqttClient:
    """Stays connected to one broker and hands messages both ways.

    Used on one event loop. :meth:`close` comes before cancelling :meth:`run`; a run that is just
    cancelled drops the connection, and the broker publishes the will.

    Args:
        settings: The broker.
        will: What the broker publishes when we vanish, or makes that for each attempt.
        subscriptions: Topic filters; a broker may refuse some, or all.
        echoes: Filters of our own retained topics; likewise.
        loopback: Topics on which we want to hear ourselves; likewise.
        clock: Time, jitter, waiting.
        emit: Takes events; never blocks, never raises.
        session_expiry_s: How long an MQTT 5 broker keeps commands for us while we are away; 0: each
            connection starts clean, and the broker publishes the will at an intended end too.
        has_values: Values get a connection of their own where that is worth while.
        heartbeat: Told when it will be heard of again.
        may_connect: Tells whether a connection may be made now; it is waited for.
        will_delay_s: MQTT 5: so long the broker waits for us before it publishes the will.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        will: Publish | Callable[[], Publish],
        subscriptions: tuple[str, ...],
        echoes: tuple[str, ...] = (),
        loopback: tuple[str, ...] = (),
        clock: Clock,
        emit: Emit,
        session_expiry_s: int = 60,
        has_values: bool = True,
        heartbeat: Heartbeat = no_heartbeat,
        may_connect: Callable[[], bool] = always,
        will_delay_s: int = 0,
    ) -> None:
        self._settings = settings
        self._will = will
        self._may_connect = may_connect
        self._will_delay_s = will_delay_s
        self._fixed = self._wanted = Subscriptions(subscriptions, echoes, loopback)
        # The names that this connection was asked for.
        self._asked: frozenset[str] = frozenset()
        self._refused = Subscriptions()
        self._has_refused = False
        self._left_out: dict[str, float] = {}
        self._is_singly = False
        self._acks = 0
        self._clock = clock
        self._emit = emit
        self._session_expiry_s = session_expiry_s
        self._has_values = has_values
        self._promise = heartbeat
        self._version_policy = ProtocolVersionPolicy(settings.version)
        self._value_connection = ValueConnection(settings, clock=clock, emit=emit)
        self._epoch = 0
        self._attempt: Connection | None = None
        self._up: Connection | None = None
        self._ended_with: int | None = None
        self._is_intended = False
        self._was_busy = False
        self._in_flight: dict[int, Publish] = {}
        self._early: deque[MqttMessage] = deque()
        self._sleeper: asyncio.Task[None] | None = None
        self._farewell_id = 0
        self._farewell_said: asyncio.Future[None] | None = None
        self._closing = False
        self._told_down = False
        self._failure = LossReason()
        self._warned_old = False
        self._qos = 1
        self._publish_qos = 1
        self._guessed_qos = 1  # for one connection
        self._poisoned = False
        self._ever_poisoned = False

    async def run(self) -> None:
        """Keep a connection open until cancelled or closed, and emit what arrives."""
        failed = 0
        while not self._closing:
            self._promise(HEARTBEAT_TIMEOUT_S)
            if not await self._is_admitted():
                break
            started_s = self._clock.now().mono_s
            protocol = self._version_policy.choose(started_s)
            cause = Cause.OTHER
            try:
                reason = await self._one_connection(protocol)
            except AttemptFailed as error:
                if self._try_again_at_once(protocol, error):
                    continue
                cause = error.cause
                failed += 1
                self._note_failure(str(error))
            else:
                lived_s = self._clock.now().mono_s - started_s
                failed = self._failures_after(failed, lived_s)
                self._note_loss(reason, lived_s)
            await self._pause(failed, cause)

    def publish(self, message: Publish) -> None:
        """Send one message; acknowledged by an ``MqttAcked`` event.

        Raises:
            ConnectionLost: There is no connection; nothing was sent.
            ValueError: The message can never be sent (topic or size).
        """
        if self._up is None or self._closing:
            raise ConnectionLost("there is no connection to the broker")
        self._in_flight[self._up.publish(message)] = message

    def publish_values(self, messages: Sequence[Publish]) -> None:
        """Send values on the value connection; acknowledged by ``ValuesAcked`` events."""
        self._value_connection.publish(messages)

    def acknowledge(self, ack_token: AckToken) -> None:
        """Acknowledge an incoming message; does nothing for an older connection's receipt."""
        if self._up is not None:
            self._up.acknowledge(ack_token)

    def ask_retained(self, topic_filter: str) -> None:
        """Subscribe again, so that the broker sends what it keeps; not without a connection."""
        if self._up is not None and not self._closing:
            self._up.ask_retained(topic_filter)

    def listen(self, filters: tuple[str, ...], echoes: tuple[str, ...]) -> None:
        """Subscribe to exactly these filters besides those of every connection, from now on."""
        fixed = self._fixed
        self._wanted = Subscriptions(fixed.filters + filters, fixed.echoes + echoes, fixed.loopback)
        if self._up is not None and not self._closing:
            self._catch_up(self._up)

    def _catch_up(self, connection: Connection) -> None:
        """Ask the broker for what changed since this connection was made."""
        wanted = frozenset(self._wanted.names)
        new, gone = self._wanted.without(self._asked), self._asked - wanted
        self._asked = wanted
        if new.names:
            for part in new.parts(MAX_FILTERS):
                connection.listen(part)
        for part in Subscriptions(tuple(sorted(gone))).parts(MAX_FILTERS):
            connection.unsubscribe(part.names)

    def _listened(self, refused: Subscriptions) -> None:
        """Record what the broker refuses of subscriptions that were made later."""
        if refused.names:
            both = frozenset((*self._refused.names, *refused.names))
            rest = [name for name in self._wanted.names if name not in both]
            self._refused = self._wanted.without(rest)
            self._tell_refused(self._refused)

    def reconnect(self, reason: str, farewell: Publish | None = None) -> None:
        """Close the connection and make a new one; does nothing without a connection.

        Args:
            reason: For the log.
            farewell: Published before, and then the broker is told of the end.
        """
        if self._up is None or self._closing:
            return
        if farewell is None:
            self._up.drop(reason)
            return
        log.info("mqtt.leaving", reason=reason)
        self._is_intended = True
        with contextlib.suppress(ConnectionLost, ValueError):
            self._up.publish(farewell)
        self._up.disconnect()

    async def close(self, farewell: Publish | None) -> None:
        """Publish a last message, wait shortly for its acknowledgement, and disconnect.

        :meth:`run` returns afterwards. Does not raise when there is no connection.

        Args:
            farewell: The last message; None where another worker goes on.
        """
        self._closing = True
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._value_connection.close()
        connection = self._up
        if connection is None:
            if self._attempt is not None:
                self._attempt.drop("closed by us")
            return
        if farewell is not None:
            await self._say(connection, farewell)
        connection.disconnect()
        await asyncio.wait({connection.lost}, timeout=DISCONNECT_S)
        connection.drop("closed by us")

    async def _say(self, connection: Connection, farewell: Publish) -> None:
        """Publish the last message, and wait shortly for its acknowledgement."""
        self._farewell_said = asyncio.get_running_loop().create_future()
        try:
            self._farewell_id = connection.publish(farewell)
        except (ConnectionLost, ValueError):
            log.warning("mqtt.offline_state_not_published", topic=farewell.topic)
        else:
            said: set[asyncio.Future[Any]] = {self._farewell_said, connection.lost}
            await asyncio.wait(said, timeout=LAST_PUBLISH_S, return_when=asyncio.FIRST_COMPLETED)

    # -- one connection ---------------------------------------------------------------------

    async def _is_admitted(self) -> bool:
        """Wait until a connection may be made; return False when closed meanwhile."""
        while not (self._closing or self._may_connect()):
            self._promise(HEARTBEAT_TIMEOUT_S)
            await self._clock.sleep(LOOK_AGAIN_S)
        return not self._closing

    async def _one_connection(self, protocol: str) -> str:
        """Make one connection, serve it, and return the reason it ended.

        Raises:
            AttemptFailed: It was never up.
        """
        self._epoch += 1
        self._acks = 0
        self._is_intended = False
        self._early.clear()
        connection = Connection(
            self._settings,
            self._connect_options(protocol),
            epoch=self._epoch,
            arrived=self._arrived,
            acked=self._acked,
            listened=self._listened,
            mono_s=lambda: self._clock.now().mono_s,
        )
        self._attempt = connection
        try:
            await connection.open()
            refused = await self._subscribe(connection)
            self._announce(connection, refused)
            await self._serve(connection)
            self._ended_with = connection.code
            return connection.lost.result()
        finally:
            connection.drop("stopped")
            self._attempt = self._up = None
            self._learn_qos(connection)
            # At QoS 0 it is unknown what the broker has received.
            is_blind = connection.options.publish_qos == 0
            self._was_busy = bool(self._in_flight) or connection.is_asking or is_blind
            if connection.granted:
                self._guessed_qos = 1
            self._in_flight.clear()
            if connection.poisoned:
                self._poisoned = self._ever_poisoned = True

    async def _subscribe(self, connection: Connection) -> Subscriptions:
        """Subscribe to everything; return what the broker does not grant.

        Some brokers end the connection instead of refusing. Then each filter is asked for by
        itself, and the one at which the connection ends is left out for a while.

        Raises:
            AttemptFailed: No answer came.
        """
        now_s = self._clock.now().mono_s
        self._left_out = {name: at for name, at in self._left_out.items() if at > now_s}
        wanted = self._wanted
        self._asked = frozenset(wanted.names)
        asked = wanted.without(self._left_out)
        refused: set[str] = set(self._left_out)
        try:
            for part in asked.parts(1 if self._is_singly else MAX_FILTERS):
                refused.update((await connection.subscribe(part)).names)
        except AttemptFailed:
            if connection.code is not None and connection.asking:
                if self._is_singly:
                    self._left_out[connection.asking[0]] = now_s + RESUBSCRIBE_AFTER_S
                self._is_singly = True
            raise
        return wanted.without([name for name in wanted.names if name not in refused])

    async def _ask_again(self, connection: Connection, refused: Subscriptions) -> None:
        """Repeat refused subscriptions at intervals: access lists change without a reconnect."""
        while refused.names:
            await self._clock.sleep(RESUBSCRIBE_AFTER_S)
            asked = refused.without(self._left_out)
            try:
                still = await connection.subscribe(asked)
            except AttemptFailed:
                return  # the connection is over, or the broker has no answer to this
            granted = [name for name in asked.names if name not in still.names]
            if granted:
                refused = refused.without(granted)
                self._tell_refused(refused)

    def _tell_refused(self, refused: Subscriptions) -> None:
        if refused.names or self._has_refused:
            self._has_refused = bool(refused.names)
            names = refused.filters + refused.echoes  # the loopback is told with the connection
            if names:
                log.warning("mqtt.subscription_refused", filters=names)
            self._emit(MqttSubscribed(names))

    def _learn_qos(self, connection: Connection) -> None:
        """Publish at QoS 0 where a broker that grants no more ended it at the first publication."""
        grants_nothing = connection.granted and connection.maximum_qos == 0
        if grants_nothing and connection.code is not None and self._in_flight and not self._acks:
            self._publish_qos = 0

    def _connect_options(self, protocol: str) -> ConnectOptions:
        return ConnectOptions(
            protocol,
            self._settings.client_id,
            will=self._will() if callable(self._will) else self._will,
            will_delay_s=self._will_delay_s,
            qos=min(self._qos, self._guessed_qos),
            publish_qos=min(self._qos, self._guessed_qos, self._publish_qos),
            session_expiry_s=self._session_expiry_s,
            # A message that is no MQTT would be delivered again by the same session, and end every
            # connection. The same message, retained, would come with the new subscription.
            clean_start=self._poisoned or self._session_expiry_s == 0,
            wants_will_at_end=self._session_expiry_s == 0,
            want_retained=not self._ever_poisoned,
            connack_within_s=self._version_policy.patience_s(protocol),
        )

    def _announce(self, connection: Connection, refused: Subscriptions) -> None:
        protocol, limits = connection.options.protocol, connection.limits
        self._version_policy.succeeded(protocol)
        if protocol == "3.1.1" and self._settings.version == "auto" and not self._warned_old:
            self._warned_old = True
            log.warning(
                "mqtt.old_broker",
                broker=connect_errors.endpoint(self._settings),
                protocol=protocol,
                hint="it tells neither refused publications nor the age of a command",
            )
        log.info(
            "mqtt.connected",
            broker=connect_errors.endpoint(self._settings),
            protocol=protocol,
            session_present=limits.session_present,
            receive_maximum=limits.receive_maximum,
            tls=self._settings.tls.enabled,
        )
        self._up = connection
        self._poisoned = False
        self._told_down = False
        self._failure.clear()
        self._emit(
            MqttConnected(
                limits.session_present,
                protocol,
                limits.receive_maximum,
                not refused.loopback if self._wanted.loopback else None,
                limits.keeps_s,
                limits.largest_packet_bytes,
                connection.maximum_qos,
            )
        )
        self._refused = refused
        self._tell_refused(refused)
        self._catch_up(connection)
        while self._early:
            self._emit(self._early.popleft())

    async def _serve(self, connection: Connection) -> None:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(self._keep_alive(connection), name="mqtt-keepalive")
            values = group.create_task(self._serve_values(connection), name="mqtt-values")
            again = group.create_task(self._ask_again(connection, self._refused), name="mqtt-ask")
            await asyncio.wait({connection.lost})
            for task in (keeper, values, again):
                task.cancel()

    async def _serve_values(self, connection: Connection) -> None:
        """Keep a value connection open, where the broker supports it."""
        if not self._has_values:
            return
        if connection.options.protocol != "5":
            await self._value_connection.serve(None, without="the broker supports only MQTT 3.1.1")
        elif connection.limits.maximum_qos == 0:
            await self._value_connection.serve(None, without="the broker accepts only QoS 0")
        else:
            await self._value_connection.serve(connection.route)

    async def _keep_alive(self, connection: Connection) -> None:
        wait_s = KEEP_ALIVE_STEP_S
        while True:
            await self._clock.sleep(shared_wait_s(self._clock.now().mono_s, wait_s))
            wait_s = min(max(connection.keep_alive(), KEEP_ALIVE_STEP_S), MAX_KEEP_ALIVE_WAIT_S)
            self._promise(HEARTBEAT_TIMEOUT_S)

    def _arrived(self, message: MqttMessage) -> None:
        if self._up is not None:
            self._emit(message)
        elif message.ack_token.qos > 0 or len(self._early) < EARLY_MESSAGES:
            self._early.append(message)

    def _acked(self, message_id: int, reason_code: int) -> None:
        said = self._farewell_said
        if said is not None and not said.done() and message_id == self._farewell_id:
            said.set_result(None)
        message = self._in_flight.pop(message_id, None)
        if message is not None:
            self._acks += 1
            self._emit(MqttAcked(message, reason_code))

    def _failures_after(self, failed: int, lived_s: float) -> int:
        """Return as how many failures in a row the end of a connection counts."""
        settled_s = STABLE_AFTER_BY_CODE_S.get(self._ended_with or 0, STABLE_AFTER_S)
        return 1 if self._is_intended or lived_s >= settled_s else failed + 1

    # -- between connections ----------------------------------------------------------------

    def _try_again_at_once(self, protocol: str, error: AttemptFailed) -> bool:
        """Return whether another attempt, with something changed, is due without waiting."""
        if error.cause is Cause.QOS and self._qos > 0:
            self._qos = 0
            log.warning("mqtt.only_qos_0", broker=connect_errors.endpoint(self._settings))
            return True
        if protocol == "3.1.1" and error.cause is Cause.NO_ANSWER:
            # It has no way to say that our will must not be at QoS 1; mosquitto just closes.
            self._guessed_qos = 1 - self._guessed_qos
        return self._version_policy.failed(protocol, error.cause, self._clock.now().mono_s)

    def _note_failure(self, reason: str) -> None:
        if self._closing:
            return
        if self._failure.is_new(reason):
            log.warning("mqtt.connect_failed", reason=reason)
            if self._told_down:
                self._emit(MqttUnreachable(reason))
        self._tell_down(MqttDisconnected(reason))

    def _note_loss(self, reason: str, lived_s: float) -> None:
        if self._closing or self._is_intended:
            log.info("mqtt.closed", lived_s=round(lived_s))
        else:
            log.warning("mqtt.disconnected", reason=reason, lived_s=round(lived_s))
        self._tell_down(MqttDisconnected(reason, self._ended_with, self._was_busy))

    def _tell_down(self, event: MqttDisconnected) -> None:
        if not self._told_down:
            self._told_down = True
            self._emit(event)

    async def _pause(self, failed: int, cause: Cause) -> None:
        if self._closing:
            return
        delay_s = reconnect_delay_s(
            failed,
            self._clock.jitter(),
            first_s=FIRST_WAIT_S,
            longest_s=MAX_WAIT_BY_CAUSE_S.get(cause, MAX_WAIT_S),
        )
        async with asyncio.TaskGroup() as group:
            self._sleeper = group.create_task(self._clock.sleep(delay_s), name="mqtt-back-off")
        self._sleeper = None


async def check_connection(settings: MqttSettings, *, subscriptions: tuple[str, ...] = ()) -> str:
    """Connect once, subscribe, disconnect, and describe what was found in one line.

    It has an id of its own, so that it does not throw out a running bridge.

    Raises:
        ConnectionLost: It did not work; the text says what to do.
    """
    async with _visit(settings, subscriptions, _ignore) as connection:
        return _describe(settings, connection, len(subscriptions))


async def read_retained(
    settings: MqttSettings, filters: tuple[str, ...], *, quiet_s: float = 1.0
) -> dict[str, bytes]:
    """Collect retained messages for the given filters.

    Args:
        settings: The broker.
        filters: What to read.
        quiet_s: Nothing for so long means that that was all.

    Returns:
        Payloads by topic.

    Raises:
        ConnectionLost: It did not work; the text says what to do.
    """
    found: dict[str, bytes] = {}
    await collect_retained(settings, filters, found.update, quiet_s=quiet_s)
    return found


async def collect_retained(
    settings: MqttSettings,
    filters: tuple[str, ...],
    take: Callable[[dict[str, bytes]], object],
    *,
    last: str = "",
    quiet_s: float = 1.0,
) -> None:
    """Hand over retained messages as they come: of many chargers they are many.

    Each topic once: what follows from them may be published on the same topics meanwhile.

    Args:
        settings: The broker.
        filters: What to read.
        take: Called with payloads by topic.
        last: A topic with a retained message, read behind the others. Brokers that send in the
            order of the subscriptions send nothing after it, so the silence may be short.
        quiet_s: As of :func:`read_retained`.

    Raises:
        ConnectionLost: It did not work; the text says what to do.
    """
    came: dict[str, bytes] = {}
    known: set[str] = set()
    news = asyncio.Event()
    ack_tokens: list[AckToken] = []
    now_s = asyncio.get_running_loop().time

    def arrived(message: MqttMessage) -> None:
        ack_tokens.append(message.ack_token)
        if message.topic not in known:
            known.add(message.topic)
            came[message.topic] = message.payload
        news.set()

    async with _visit(settings, filters, arrived, last) as connection:
        connection.lost.add_done_callback(lambda _: news.set())
        until_s = now_s() + quiet_s
        with contextlib.suppress(TimeoutError):
            while not connection.lost.done():
                async with asyncio.timeout_at(until_s):
                    await news.wait()
                news.clear()
                while ack_tokens:
                    connection.acknowledge(ack_tokens.pop())
                if not came:
                    continue
                if came.pop(last, None) is not None:
                    quiet_s = min(quiet_s, SETTLED_S)
                until_s = now_s() + quiet_s
                take(dict(came))
                came.clear()
        if connection.lost.done():
            raise ConnectionLost(connection.lost.result())


@contextlib.asynccontextmanager
async def _visit(
    settings: MqttSettings,
    filters: tuple[str, ...],
    arrived: Callable[[MqttMessage], None],
    last: str = "",
) -> AsyncIterator[Connection]:
    """Connect once with an id of its own, subscribe, and leave.

    Raises:
        ConnectionLost: It did not work; the text says what to do.
    """
    version_policy = ProtocolVersionPolicy(settings.version)
    while True:
        protocol = version_policy.choose(0.0)
        options = ConnectOptions(
            protocol,
            f"{settings.client_id}-check",
            clean_start=True,
            connack_within_s=version_policy.patience_s(protocol),
        )
        connection = Connection(
            settings,
            options,
            epoch=0,
            arrived=arrived,
            acked=_ignore,
            mono_s=asyncio.get_running_loop().time,
        )
        try:
            await connection.open()
            refused = await connection.subscribe(Subscriptions(filters))
            if refused.names:
                raise connect_errors.subscription_refused(refused.names)
            if last:
                await connection.subscribe(Subscriptions((last,)))
        except AttemptFailed as error:
            connection.drop("checked")
            if not version_policy.failed(protocol, error.cause, 0.0):
                raise
            continue
        try:
            yield connection
            connection.disconnect()
            await asyncio.wait({connection.lost}, timeout=DISCONNECT_S)
        finally:
            connection.drop("checked")
        return


def _describe(settings: MqttSettings, connection: Connection, subscriptions: int) -> str:
    limits = connection.limits
    facts = [
        f"MQTT {connection.options.protocol} at {connect_errors.endpoint(settings)}",
        "TLS verified" if settings.tls.enabled else "without TLS",
        f"{subscriptions} subscriptions granted",
    ]
    if connection.options.protocol != "5" and settings.version == "auto":
        facts.append("the broker does not support MQTT 5")
    if limits.receive_maximum < NO_RECEIVE_MAXIMUM:
        facts.append(f"{limits.receive_maximum} messages in flight")
    if limits.largest_packet_bytes is not None:
        facts.append(f"packets up to {limits.largest_packet_bytes} bytes")
    if limits.maximum_qos == 0:
        facts.append("only QoS 0, so nothing is acknowledged")
    return ", ".join(facts)


def _ignore(*_: object) -> None:
    """Ignore an event (callback of a probe)."""
