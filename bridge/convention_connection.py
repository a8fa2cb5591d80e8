"""Separate connection of a convention to the broker, with its own queue.

Rules:

1. It has nothing to do with the main connection: neither waits for the other, and the core learns
   nothing of it but the requests that arrive.
2. At every connection the convention says everything again (:meth:`Convention.snapshot`).
3. A request goes to the core as the native message that means the same, with a receipt that names
   this connection; what is no request is acknowledged at once.
"""

from collections.abc import Callable
from dataclasses import replace

import structlog

from bridge.conventions.convention import ConnectionNeed, Convention
from bridge.conventions.native.requests import native_message
from bridge.core.delivery.outbox import TOO_LARGE, Outbox
from bridge.core.events import (
    ComponentFailed,
    Event,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.topics import Topics
from bridge.errors import ConnectionLost, TooLarge
from bridge.ports import Clock, MqttLink

log = structlog.get_logger()

# The MQTT 5 reason code a broker would give to a message we do not even send.
TOPIC_NAME_INVALID = 0x90


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
        request = None
        try:
            request = self._convention.parse(message)
        finally:
            if request is None:
                self.acknowledge(message.ack_token)
        if request is not None:
            ack_token = replace(message.ack_token, link=self.need.name)
            told = replace(message, ack_token=ack_token)
            self._put_event(native_message(request, told, self._topics))

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
            await self._link.close(self.need.will)
