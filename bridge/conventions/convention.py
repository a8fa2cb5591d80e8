"""Protocol of output conventions: changes of the core in, MQTT messages out.

Rules:

1. A convention decides on topics, payloads, QoS and retention. It does not decide what is
   published of personal data, nor when something changed.
2. A convention with a connection of its own has a will and a client id of its own. The messages
   that go over it carry its name in :attr:`~bridge.core.messages.Publish.link`, and after each
   connection the convention says everything again.
3. A convention that fails costs no other one anything.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from bridge.core.changes import Change
from bridge.core.events import MqttMessage
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.requests import IncomingRequest


@dataclass(frozen=True, slots=True)
class ConnectionNeed:
    """A connection to the broker of a convention's own.

    Attributes:
        name: Of the connection, as messages carry it.
        client_id: At the broker; no other connection may have it.
        will: Published by the broker when the connection is lost, and by the gateway at its end.
    """

    name: str
    client_id: str
    will: Publish


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
