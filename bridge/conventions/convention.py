"""Protocol of output conventions: changes of the core in, MQTT messages out.

Rules:

1. A convention decides on topics, payloads, QoS and retention. It does not decide what is
   published of personal data, nor when something changed.
2. A convention with a connection of its own has a will and a client id of its own. The messages
   that go over it carry its name in :attr:`~bridge.core.messages.Publish.link`, and after each
   connection the convention says everything again.
3. Where the order of all messages matters, or the will differs from attempt to attempt, the
   convention has a :class:`Session`. It then hands out one message after the other, when there is
   room for it, so that nothing is queued that a newer value replaces.
4. A convention that fails costs no other one anything.
"""

from collections.abc import Iterable
from typing import Protocol

import msgspec

from bridge.core.changes import Change
from bridge.core.events import MqttMessage
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.requests import IncomingRequest


class EndConnection(msgspec.Struct, frozen=True):
    """The connection is to be ended, and another one made.

    Attributes:
        farewell: Published before.
        reason: For the log, half a sentence.
    """

    farewell: Publish
    reason: str


class Session(Protocol):
    """What a convention says over a connection of its own, in an order that is its own.

    The calls come in the order of what happened. After :meth:`disconnected` nothing of the former
    connection is repeated by itself.
    """

    def will(self, now: Timestamp) -> Publish:
        """Return the will of the next attempt to connect."""
        ...

    def farewell(self, now: Timestamp) -> Publish:
        """Return what is published last, before an intended end of the connection."""
        ...

    def connected(self, now: Timestamp) -> None:
        """Handle a connection on which the subscriptions were answered."""
        ...

    def disconnected(self, now: Timestamp) -> None:
        """Handle the end of the connection."""
        ...

    def received(self, message: MqttMessage, now: Timestamp) -> Iterable[IncomingRequest]:
        """Handle a message of one of the subscriptions; return what it asks of the core.

        Raises:
            DecodeError: It cannot be read, or not be believed; it is logged.
        """
        ...

    def take(self, now: Timestamp) -> Publish | EndConnection | None:
        """Return what is to be sent next, or None where there is nothing to say."""
        ...

    def unsent(self, message: Publish) -> None:
        """Handle a message that can never be sent; it is the last one that was taken."""
        ...

    def delivered(self, now: Timestamp) -> tuple[tuple[str, int], ...]:
        """Return key and revision of the session reports that count as delivered from now on."""
        ...

    def deadline_s(self) -> float | None:
        """Return when, on the monotonic clock, there may be something to do, or None."""
        ...


class ConnectionNeed(msgspec.Struct, frozen=True):
    """A connection to the broker of a convention's own.

    Attributes:
        name: Of the connection, as messages carry it.
        client_id: At the broker; no other connection may have it.
        will: Published by the broker when the connection is lost, and by the gateway at its end;
            None where a session makes one for each attempt.
        session: Hands out the messages, or None: they are queued as the convention yields them.
        keeps_s: How long the broker is to keep what is meant for us while we are away; 0 starts
            with nothing each time, and has the broker publish the will at an intended end too.
        keepalive_s: Largest keep alive interval; a smaller one of the operator's stays.
    """

    name: str
    client_id: str
    will: Publish | None = None
    session: Session | None = None
    keeps_s: int = 60
    keepalive_s: int = 3600


class Convention(Protocol):
    """One way to name and spell what the core yields.

    Attributes:
        name: For the log, and for the alert about errors.
        connection: One of its own, or None: its messages go over the main connection.
        subscriptions: Topic filters, of its own connection or of the main one.
    """

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def connection(self) -> ConnectionNeed | None:
        """Return the connection it needs."""
        ...

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Return its subscriptions."""
        ...

    def publish(self, change: Change, now: Timestamp) -> Iterable[Publish]:
        """Return what is to be published of a change; nothing where it does not concern it."""
        ...

    def snapshot(self, now: Timestamp) -> Iterable[Publish]:
        """Return everything retained, after its own connection was made.

        Over the main connection the core yields everything again, and this is not asked for.
        """
        ...

    def parse(self, message: MqttMessage) -> IncomingRequest | None:
        """Read a message of one of its subscriptions; None where it asks for nothing."""
        ...
