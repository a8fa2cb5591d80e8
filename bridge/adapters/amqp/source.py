"""The push source of observations for partners: the operator's queue.

What a message says is decided in :mod:`bridge.core.easee.partner_feed`. Rules:

1. A delivery is acknowledged when its values are at the MQTT broker and its sessions are committed
   (:mod:`bridge.core.delivery.source_receipts`). Until then the queue holds it, and delivers it
   again to the next connection.
2. A queue has no last values: what is retained is read back before the first delivery is handed
   on, so that what the queue repeats never replaces something newer. The connection is made
   meanwhile; what it delivers waits, and there are no more of them than the prefetch.
3. Nothing that arrives ends the process. There is one retry, ours, with the hub's pace.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final

import structlog

from bridge.adapters.amqp.connection import PREFETCH, FeedConnection
from bridge.adapters.amqp.kept_connection import HEARTBEAT_TIMEOUT_S, keep_connected
from bridge.adapters.loss_reason import LossReason
from bridge.core.easee.partner_feed import FeedItem, FeedLogin, read, read_key
from bridge.core.events import Event, ObservationsReceived, StreamClosed, StreamOpened
from bridge.core.records.observation import RawObservation
from bridge.core.records.source_receipt import SourceReceipt
from bridge.errors import BridgeError
from bridge.ports import Clock, Emit, Heartbeat, VendorEye, no_heartbeat

log = structlog.get_logger()

KNOWN_TIMEOUT_S = 60.0
MAX_BATCH = 50


async def nothing_to_read(_charger_ids: tuple[str, ...]) -> None:
    """Return at once: nothing has to be read before the first delivery."""


class AmqpSource:
    """Implements :class:`bridge.ports.ObservationSource`: one connection after the other."""

    replays: Final = False

    def __init__(
        self,
        login: Callable[[], Awaitable[FeedLogin]],
        *,
        clock: Clock,
        emit: Emit,
        heartbeat: Heartbeat = no_heartbeat,
        read_back: Callable[[tuple[str, ...]], Awaitable[None]] = nothing_to_read,
        prefetch: int = PREFETCH,
        arguments: Mapping[str, object] | None = None,
        notes: VendorEye | None = None,
    ) -> None:
        """Connect nothing yet.

        Args:
            login: Returns where the queue is; raises ``BridgeError``.
            clock: Times the back-off.
            emit: Takes what arrives.
            heartbeat: Told when it will be heard of again.
            read_back: Reads what the MQTT broker retains of these chargers; awaited once, before
                the first delivery.
            prefetch: Most deliveries that are not acknowledged.
            arguments: The queue is made with these where it is not there; None: it is not ours.
            notes: Looks at what arrives for changes of the vendor's interface.
        """
        self._login = login
        self._prefetch = prefetch
        self._arguments = arguments
        self._notes = notes
        self._clock = clock
        self._emit = emit
        self._promise = heartbeat
        self._read_back = read_back
        self._is_known = asyncio.Event()
        self._is_read_back = False
        self._charger_ids: tuple[str, ...] = ()
        self._epoch = 0
        self._connection: FeedConnection | None = None
        self._loss = LossReason()
        # Of the deliveries of this turn of the loop: what they say, in order, and the last tag.
        self._items: list[FeedItem] = []
        self._delivery = 0
        self._last = ("", b"")

    def subscribe(self, charger_ids: tuple[str, ...]) -> None:
        """Note that the chargers are known; the queue has all of the operator anyway."""
        self._charger_ids = charger_ids
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
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._prepare(), name="read-back")
            await keep_connected(
                self._connect,
                opened=self._opened,
                lost=self._lost,
                clock=self._clock,
                promise=self._promise,
            )

    async def _prepare(self) -> None:
        """Read back what is retained, then hand on what was delivered meanwhile."""
        await self._read_back(self._charger_ids)
        self._is_read_back = True
        self._hand_over()

    async def _connect(self) -> FeedConnection:
        login = await self._login()
        self._epoch += 1
        self._connection = FeedConnection(
            login, self._arrived, prefetch=self._prefetch, arguments=self._arguments
        )
        return self._connection

    def _opened(self, _connection: FeedConnection) -> None:
        self._loss.clear()
        log.info("stream.connected", source="amqp")
        self._emit(StreamOpened())

    # -- what arrives -----------------------------------------------------------------------------

    def _arrived(self, delivery: int, routing_key: str, body: bytes) -> None:
        """Collect what arrives in one turn of the loop."""
        if not self._delivery:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._items += read(routing_key, body)
        self._delivery, self._last = delivery, (routing_key, body)
        if len(self._items) >= MAX_BATCH:
            self._hand_over()

    def _hand_over(self) -> None:
        """Emit what was collected; the receipt goes with the last of it."""
        if not (self._is_read_back and self._delivery):
            return
        items, self._items = self._items, []
        delivery, self._delivery = self._delivery, 0
        for event in _events(items, SourceReceipt(self._epoch, delivery)):
            self._emit(event)
        self._note(items)

    def _note(self, items: Sequence[FeedItem]) -> None:
        """Look at what arrived for changes of the vendor's interface."""
        if self._notes is not None:
            self._notes.observed([each for each in items if isinstance(each, RawObservation)])
            routing_key, body = self._last
            self._notes.message(f"feed {read_key(routing_key).kind or 'other'}", body)

    def _lost(self, lost: BridgeError, failures: int, wait_s: float) -> None:
        """Emit the loss of the connection once, and again when the reason changes."""
        self._hand_over()
        self._items, self._delivery = [], 0  # not handed on: they come again
        self._connection = None
        reason = str(lost)
        if not self._loss.is_new(reason):
            log.debug("stream.still_lost", failures=failures, retry_in_s=round(wait_s, 1))
            return
        log.warning("stream.lost", reason=reason, retry_in_s=round(wait_s, 1))
        self._emit(StreamClosed(reason, refused=lost.refused))


def _events(items: Sequence[FeedItem], receipt: SourceReceipt) -> Iterator[Event]:
    """Yield the observations as one event with the receipt, behind everything else.

    The receipt acknowledges the other items too: they are handled before it.
    """
    together = tuple(each for each in items if isinstance(each, RawObservation))
    for each in items:
        if not isinstance(each, RawObservation):
            yield each
    while len(together) > MAX_BATCH:
        yield ObservationsReceived(together[:MAX_BATCH])
        together = together[MAX_BATCH:]
    yield ObservationsReceived(together, receipt=receipt)
