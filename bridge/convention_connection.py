"""Separate connection of a convention to the broker, with its own queue.

Rules:

1. It has nothing to do with the main connection: neither waits for the other, and the core learns
   nothing of it but the requests that arrive.
2. At every connection the convention says everything again (:meth:`Convention.snapshot`).
3. A request goes to the core as the native message that means the same, with a receipt that names
   this connection; what is no request is acknowledged at once.
4. A connection of a session (:class:`~bridge.conventions.convention.Session`) has no queue: it asks
   for the next message while fewer than :data:`WINDOW` are in flight. Nothing outlives it.
"""

from collections.abc import Callable, Iterable

import structlog
from msgspec.structs import replace

from bridge.conventions.convention import ConnectionNeed, Convention, EndConnection, Session
from bridge.conventions.native.requests import native_message
from bridge.core.delivery.outbox import TOO_LARGE, Outbox
from bridge.core.events import (
    ComponentFailed,
    Event,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    ReportsDelivered,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from bridge.core.requests import IncomingRequest
from bridge.core.topics import Topics
from bridge.errors import ConnectionLost, DecodeError, TooLarge
from bridge.ports import Clock, MqttLink

log = structlog.get_logger()

# The MQTT 5 reason code a broker would give to a message we do not even send.
TOPIC_NAME_INVALID = 0x90
# Nothing is acknowledged with it.
NO_RECEIPT = AckToken(0, 0, 0)
# Of a session, at QoS 0: handed to the socket, and not written yet.
WINDOW = 20


def hand_over(outbox: Outbox, link: MqttLink, put: Callable[[MqttAcked], object]) -> bool:
    """Send as much as the window allows.

    Args:
        outbox: What waits.
        link: Where it goes.
        put: Takes the end of what cannot be sent.

    Returns:
        Whether the connection is there still.
    """
    while (message := outbox.take()) is not None:
        try:
            link.publish(message)
        except ConnectionLost:
            outbox.unsent(message)
            return False  # its MqttDisconnected is on the way
        except TooLarge:
            put(MqttAcked(message, TOO_LARGE))
        except ValueError as error:
            log.error("mqtt.unpublishable", topic=message.topic, error=str(error))
            put(MqttAcked(message, TOPIC_NAME_INVALID))
    return True


class ConventionConnection:
    """The connection of one convention.

    Made before the adapter that keeps it connected, which is given :meth:`emit`, and attached then.
    """

    def __init__(
        self,
        convention: Convention,
        need: ConnectionNeed,
        *,
        topics: Topics,
        clock: Clock,
        put: Callable[[Event], None],
    ) -> None:
        """Start without a connection.

        Args:
            convention: Whose it is.
            need: What it asked for.
            topics: The native topic tree, for requests.
            clock: Time.
            put: Takes requests, and errors of the convention.
        """
        self.need = need
        self.outbox = Outbox()
        self._convention = convention
        self._topics = topics
        self._clock = clock
        self._put_event = put
        self._link: MqttLink | None = None
        self._is_up = False

    def attach(self, link: MqttLink) -> None:
        """Set the adapter."""
        self._link = link

    # -- from the broker ------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Handle an event of the adapter; never raises."""
        try:
            self._take(event)
        except Exception as error:  # noqa: BLE001 - the border of a convention
            failed = ComponentFailed(self._convention.name, type(event).__name__, error)
            self._put_event(failed)

    def _take(self, event: Event) -> None:
        match event:
            case MqttConnected():
                self._is_up = True
                self.outbox.granted(event.receive_maximum)
                for message in self._convention.snapshot(self._clock.now()):
                    self.outbox.put(message)
            case MqttDisconnected():
                self._is_up = False
                self.outbox.connection_lost(event.code, self._clock.now().mono_s)
            case MqttAcked():
                self._acked(event)
            case MqttMessage():
                self._arrived(event)
            case _:
                pass
        self.flush()

    def _acked(self, event: MqttAcked) -> None:
        self.outbox.acked(event.message, event.reason_code)

    def _arrived(self, message: MqttMessage) -> None:
        requests: tuple[IncomingRequest, ...] = ()
        try:
            requests = tuple(self._requests(message))
        finally:
            if not requests:
                self.acknowledge(message.ack_token)
        # Of several requests the last one has the receipt: it is acknowledged when all were read.
        receipts = [NO_RECEIPT] * (len(requests) - 1) + [message.ack_token]
        for request, receipt in zip(requests, receipts, strict=False):
            told = replace(message, ack_token=replace(receipt, link=self.need.name))
            self._put_event(native_message(request, told, self._topics))

    def _requests(self, message: MqttMessage) -> Iterable[IncomingRequest]:
        request = self._convention.parse(message)
        return () if request is None else (request,)

    # -- to the broker ----------------------------------------------------------------------------

    def put(self, message: Publish) -> None:
        """Queue a message; it goes with the next :meth:`flush`."""
        self.outbox.put(message)

    def flush(self) -> None:
        """Send as much as the window allows."""
        if self._link is None:
            return
        self.outbox.try_again(self._clock.now().mono_s)
        if self._is_up:
            self._is_up = hand_over(self.outbox, self._link, self._acked)
        while self.outbox.given_up:
            log.warning("mqtt.set_aside", topic=self.outbox.given_up.popleft().topic)

    def acknowledge(self, ack_token: AckToken) -> None:
        """Acknowledge a message that arrived over this connection."""
        if self._link is not None:
            self._link.acknowledge(ack_token)

    async def run(self) -> None:
        """Keep a connection open until cancelled."""
        if self._link is not None:
            await self._link.run()

    async def close(self) -> None:
        """Publish the will ourselves, and disconnect."""
        if self._link is not None:
            await self._link.close(self.farewell())

    def will(self) -> Publish:
        """Return the will of the next attempt to connect."""
        if self.need.will is None:
            raise ValueError(f"the connection {self.need.name} has no will")
        return self.need.will

    def farewell(self) -> Publish:
        """Return what is published at an intended end."""
        return self.will()

    def deadline_s(self) -> float | None:
        """Return when :meth:`flush` is due, on the monotonic clock; None: after each event."""
        return None


class SessionConnection(ConventionConnection):
    """The connection of a convention that hands out its messages one by one."""

    def __init__(
        self,
        convention: Convention,
        need: ConnectionNeed,
        session: Session,
        *,
        topics: Topics,
        clock: Clock,
        put: Callable[[Event], None],
    ) -> None:
        """Start without a connection.

        Args:
            convention: Whose it is.
            need: What it asked for.
            session: Of the convention.
            topics: The native topic tree, for requests.
            clock: Time.
            put: Takes requests, delivered reports, and errors of the convention.
        """
        super().__init__(convention, need, topics=topics, clock=clock, put=put)
        self._session = session
        self._in_flight = 0

    def put(self, message: Publish) -> None:
        """Refuse a message: a session hands out its own."""
        raise ValueError(f"{message.topic} is not of the session")

    def will(self) -> Publish:
        """Return the will of the next attempt to connect."""
        return self._session.will(self._clock.now())

    def farewell(self) -> Publish:
        """Return what is published at an intended end."""
        return self._session.farewell(self._clock.now())

    def deadline_s(self) -> float | None:
        """Return when the session may have something to do."""
        return self._session.deadline_s()

    def _take(self, event: Event) -> None:
        now = self._clock.now()
        match event:
            case MqttConnected():
                self._is_up, self._in_flight = True, 0
                self._session.connected(now)
            case MqttDisconnected():
                self._is_up = False
                self._session.disconnected(now)
            case MqttAcked():
                self._in_flight -= 1
            case MqttMessage():
                self._arrived(event)
            case _:
                pass
        self.flush()

    def _requests(self, message: MqttMessage) -> Iterable[IncomingRequest]:
        try:
            return tuple(self._session.received(message, self._clock.now()))
        except DecodeError as error:
            log.warning("mqtt.message_ignored", topic=message.topic, error=str(error))
            return ()

    def flush(self) -> None:
        """Send what the session has to say, while there is room; never raises."""
        try:
            self._hand_over(self._clock.now())
        except Exception as error:  # noqa: BLE001 - the border of a convention
            self._put_event(ComponentFailed(self._convention.name, "flush", error))
            # What was to be said is unknown now; a new connection begins with everything.
            self._end(EndConnection(self.farewell(), "the convention failed"))

    def _hand_over(self, now: Timestamp) -> None:
        if reports := self._session.delivered(now):
            self._put_event(ReportsDelivered(self._convention.name, reports))
        while self._is_up and self._link is not None and self._in_flight < WINDOW:
            step = self._session.take(now)
            if step is None:
                return
            if isinstance(step, EndConnection):
                self._end(step)
                return
            try:
                self._link.publish(step)
            except ConnectionLost:
                self._is_up = False  # its MqttDisconnected is on the way
            except (TooLarge, ValueError) as error:
                log.error("mqtt.unpublishable", topic=step.topic, error=str(error))
                self._session.unsent(step)
            else:
                self._in_flight += 1

    def _end(self, end: EndConnection) -> None:
        self._is_up = False
        if self._link is not None:
            self._link.reconnect(end.reason, end.farewell)


def connection_of(
    convention: Convention,
    need: ConnectionNeed,
    *,
    topics: Topics,
    clock: Clock,
    put: Callable[[Event], None],
) -> ConventionConnection:
    """Make the connection that a convention needs; arguments as in its class."""
    if need.session is None:
        return ConventionConnection(convention, need, topics=topics, clock=clock, put=put)
    return SessionConnection(convention, need, need.session, topics=topics, clock=clock, put=put)
