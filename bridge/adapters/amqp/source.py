"""The push source of observations for partners: the operator's queue.

What a message says is decided in :mod:`bridge.core.easee.partner_feed`. Rules:

1. A delivery is acknowledged when its values are at the MQTT broker and its sessions are committed
   (:mod:`bridge.core.delivery.source_receipts`). Until then the queue holds it, and delivers it
   again to the next connection.
2. A queue has no last values: what is retained is read back before the first delivery is taken, so
   that what the queue repeats never replaces something newer.
3. Nothing that arrives ends the process. There is one retry, ours, with the hub's pace.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

import structlog

from bridge.adapters.amqp.connection import FeedConnection
from bridge.core.easee.hub_session import count_failure, retry_in_s
from bridge.core.easee.partner_feed import FeedItem, FeedLogin, login_request, read, read_login
from bridge.core.events import Event, ObservationsReceived, StreamClosed, StreamOpened
from bridge.core.records.observation import RawObservation
from bridge.core.records.source_receipt import SourceReceipt
from bridge.errors import BridgeError, ConnectionLost
from bridge.ports import Clock, Cloud, Emit, Heartbeat, no_heartbeat
from bridge.settings import AmqpSettings

log = structlog.get_logger()

HEARTBEAT_TIMEOUT_S = 300.0
LOGIN_TIMEOUT_S = 30.0
KNOWN_TIMEOUT_S = 60.0
MAX_BATCH = 50
AMQP_PORT, AMQPS_PORT = 5672, 5671


async def nothing_to_read() -> None:
    """Return at once: nothing has to be read before the first delivery."""


class AmqpSource:
    """Implements :class:`bridge.ports.ObservationSource`: one connection after the other."""

    replays: Final = False

    def __init__(
        self,
        settings: AmqpSettings,
        *,
        cloud: Cloud,
        clock: Clock,
        emit: Emit,
        heartbeat: Heartbeat = no_heartbeat,
        read_back: Callable[[], Awaitable[None]] = nothing_to_read,
    ) -> None:
        """Connect nothing yet.

        Args:
            settings: Where the queue is, or that the cloud is asked.
            cloud: Is asked for it.
            clock: Times the back-off.
            emit: Takes what arrives.
            heartbeat: Told when it will be heard of again.
            read_back: Reads what the MQTT broker retains; awaited once, before the first delivery.
        """
        self._settings = settings
        self._cloud = cloud
        self._clock = clock
        self._emit = emit
        self._promise = heartbeat
        self._read_back = read_back
        self._is_known = asyncio.Event()
        self._epoch = 0
        self._connection: FeedConnection | None = None
        self._reason = ""
        # Of the deliveries of this turn of the loop: what they say, in order, and the last tag.
        self._items: list[FeedItem] = []
        self._delivery = 0

    def subscribe(self, charger_ids: tuple[str, ...]) -> None:
        """Note that the chargers are known; the queue has all of the operator anyway."""
        if charger_ids:
            self._is_known.set()

    def acknowledge(self, receipt: SourceReceipt) -> None:
        """Acknowledge a delivery and all before it, where they came over this connection."""
        if receipt.epoch == self._epoch and self._connection is not None:
            self._connection.acknowledge(receipt.delivery)

    async def run(self) -> None:
        """Keep a connection open until cancelled, and emit what arrives."""
        self._promise(HEARTBEAT_TIMEOUT_S)
        # Values of chargers that are not known yet would be lost on the core.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_known.wait(), KNOWN_TIMEOUT_S)
        await self._read_back()
        failures = 0
        while True:
            self._promise(HEARTBEAT_TIMEOUT_S)
            began_s = self._clock.now().mono_s
            lost, was_up = await self._attempt()
            lived_s = self._clock.now().mono_s - began_s if was_up else None
            failures = count_failure(lived_s, failures)
            wait_s = retry_in_s(failures, self._clock.jitter(), getattr(lost, "retry_after_s", 0))
            self._lost(lost, failures, wait_s)
            self._promise(wait_s + HEARTBEAT_TIMEOUT_S)
            await self._clock.sleep(wait_s)

    async def _attempt(self) -> tuple[BridgeError, bool]:
        """Make one connection and serve it; return what ended it, and whether it was up."""
        is_up = False
        try:
            login = await self._login()
            self._epoch += 1
            connection = self._connection = FeedConnection(login, self._arrived)
            try:
                await connection.open()
                is_up, self._reason = True, ""
                log.info("stream.connected", source="amqp", queue=login.queue)
                self._emit(StreamOpened())
                return await self._served(connection), is_up
            finally:
                self._connection = None
                connection.close()
        except BridgeError as error:
            return error, is_up
        except Exception as error:
            log.warning("stream.failed", error=type(error).__name__)
            log.debug("stream.failed_at", exc_info=True)
            return ConnectionLost(f"unexpected {type(error).__name__}"), is_up

    async def _served(self, connection: FeedConnection) -> ConnectionLost:
        """Wait for the end of a connection, saying that this task lives."""
        while True:
            self._promise(HEARTBEAT_TIMEOUT_S)
            try:
                async with asyncio.timeout(HEARTBEAT_TIMEOUT_S / 2):
                    return await asyncio.shield(connection.lost)
            except TimeoutError:
                continue

    async def _login(self) -> FeedLogin:
        """Return where the queue is.

        Raises:
            BridgeError: The cloud does not tell.
        """
        if self._settings.url is not None:
            return configured_login(self._settings.url.reveal(), self._settings.queue or "")
        answer = await self._cloud.send(login_request(), within_s=LOGIN_TIMEOUT_S)
        return read_login(answer.body)

    # -- what arrives -----------------------------------------------------------------------------

    def _arrived(self, delivery: int, routing_key: str, body: bytes) -> None:
        """Collect what arrives in one turn of the loop."""
        if not self._delivery:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._items += read(routing_key, body)
        self._delivery = delivery
        if len(self._items) >= MAX_BATCH:
            self._hand_over()

    def _hand_over(self) -> None:
        """Emit what was collected; the receipt goes with the last of it."""
        items, self._items = self._items, []
        delivery, self._delivery = self._delivery, 0
        if not delivery:
            return
        for event in _events(items, SourceReceipt(self._epoch, delivery)):
            self._emit(event)

    def _lost(self, lost: BridgeError, failures: int, wait_s: float) -> None:
        """Emit the loss of the connection once, and again when the reason changes."""
        self._hand_over()
        reason = str(lost)
        if reason == self._reason:
            log.debug("stream.still_lost", failures=failures, retry_in_s=round(wait_s, 1))
            return
        self._reason = reason
        log.warning("stream.lost", reason=reason, retry_in_s=round(wait_s, 1))
        self._emit(StreamClosed(reason, refused=getattr(lost, "refused", False)))


def _events(items: Sequence[FeedItem], receipt: SourceReceipt) -> Iterator[Event]:
    """Yield the observations as one event with the receipt, then everything else."""
    together = tuple(each for each in items if isinstance(each, RawObservation))
    yield ObservationsReceived(together, receipt=receipt)
    for each in items:
        if not isinstance(each, RawObservation):
            yield each


def configured_login(url: str, queue: str) -> FeedLogin:
    """Return where a configured queue is.

    Args:
        url: ``amqps://user:password@host:port/vhost``, validated.
        queue: To consume from.
    """
    parts = urlsplit(url)
    is_tls = parts.scheme == "amqps"
    path = unquote(parts.path.removeprefix("/")) or "/"
    return FeedLogin(
        parts.hostname or "",
        parts.port or (AMQPS_PORT if is_tls else AMQP_PORT),
        is_tls,
        path,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        queue,
        "",
    )
