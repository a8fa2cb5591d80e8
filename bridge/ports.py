"""The outside world as the application sees it: five protocols, each small.

An adapter implements one of them; tests put a twin in its place. Adapters push what happens
through the ``emit`` function they are given, which never blocks and never raises.
"""

from collections.abc import Callable
from typing import Protocol

from bridge.core.cloud.requests import CloudRequest
from bridge.core.events import Event, Moment
from bridge.core.messages import Publish, Receipt
from bridge.core.sessions.ledger import StoredReport
from bridge.core.sessions.reports import SessionReport

Emit = Callable[[Event], None]


class Clock(Protocol):
    """Time, jitter and waiting: the only way to any of them."""

    def now(self) -> Moment:
        """Read both clocks."""
        ...

    def jitter(self) -> float:
        """Draw a number in [0, 1)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait on the monotonic clock."""
        ...


class CloudAnswer(Protocol):
    """The answer to a REST call that the cloud took."""

    @property
    def status(self) -> int:
        """A 2xx HTTP status."""
        ...

    @property
    def body(self) -> bytes:
        """The body, capped."""
        ...


class Cloud(Protocol):
    """The vendor's REST interface, logged in and within its limits."""

    async def send(self, request: CloudRequest, *, within_s: float) -> CloudAnswer:
        """Send one request, waiting for the budget if that fits the time.

        Raises:
            CloudError: It was not answered with a 2xx status.
        """
        ...

    async def token(self, *, rejected: str | None = None) -> str:
        """Return a valid access token.

        Args:
            rejected: A token the other side just refused; it is not returned again.

        Raises:
            CloudError: There is none to be had now.
        """
        ...

    async def negotiate(self, stream_url: str) -> tuple[str, bytes]:
        """Ask the hub for a connection: the negotiate request of its protocol.

        Args:
            stream_url: The hub, without ``/negotiate``; its host is one of the configured ones.

        Returns:
            The access token that was used, and the response body, capped.

        Raises:
            CloudError: There is no negotiation to be had now.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


class ObservationStream(Protocol):
    """The push source of observations."""

    async def run(self) -> None:
        """Stay connected until cancelled, emitting what arrives."""
        ...

    def watch(self, charger_ids: tuple[str, ...]) -> None:
        """Subscribe exactly these chargers, now and after every reconnect."""
        ...


class MqttLink(Protocol):
    """One MQTT connection after the other."""

    async def run(self) -> None:
        """Stay connected until cancelled, emitting what arrives."""
        ...

    def publish(self, message: Publish) -> None:
        """Hand one message over; acknowledged by an ``MqttAcked`` event.

        Raises:
            LinkLost: There is no connection; nothing was sent.
            ValueError: The message can never be sent (topic or size).
        """
        ...

    def acknowledge(self, receipt: Receipt) -> None:
        """Acknowledge an incoming message; does nothing for an older connection's receipt."""
        ...

    async def close(self, farewell: Publish) -> None:
        """Publish a last message, wait shortly for its acknowledgement, and disconnect."""
        ...


class Store(Protocol):
    """Durable reports. Every method that returns has committed."""

    async def open(self) -> tuple[StoredReport, ...]:
        """Open or create the store and return what is still owed, oldest first.

        Raises:
            StoreError: It cannot be opened; ``StoreLocked`` when another process has it.
        """
        ...

    async def save(self, report: SessionReport) -> tuple[StoredReport, bool]:
        """Commit a report; return its row and whether its content is new.

        Raises:
            StoreError: It is not committed.
        """
        ...

    async def mark_published(self, key: str, revision: int) -> None:
        """Note that the broker acknowledged this revision.

        Raises:
            StoreError: It is not noted; the report will go out again.
        """
        ...

    async def close(self) -> None:
        """Finish what is queued and close."""
        ...
