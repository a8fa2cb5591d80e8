"""Reads the partner feed for all partitions, and gives each partition its messages.

It runs beside the gateway of partition 0, so its lease is the lease of the feed. Rules:

1. A delivery is acknowledged when the queue of its partition has it. What is under way when either
   connection ends comes again, to the next reader perhaps: a partition never lets an older value
   replace a newer one.
2. Nothing is parsed but the charger: a partition reads the message.
3. What concerns no charger that has a partition goes to partition 0, which counts it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from bridge.adapters.amqp.connection import FeedConnection
from bridge.adapters.amqp.kept_connection import keep_connected
from bridge.adapters.amqp.partition_queues import PartitionQueues
from bridge.adapters.loss_reason import LossReason
from bridge.core.easee.partner_feed import FeedLogin, charger_of
from bridge.errors import BridgeError, ConnectionLost
from bridge.ports import Clock, Heartbeat, no_heartbeat

log = structlog.get_logger()

REST_PARTITION = 0


class DividedConnection:
    """The queue of the operator and the queues of the partitions, joined; used once.

    Attributes:
        lost: Resolved with the reason when either is over.
    """

    def __init__(
        self,
        login: FeedLogin,
        make_queues: Callable[[Callable[[int], None]], PartitionQueues],
        partition_of: Callable[[str], int | None],
    ) -> None:
        """Connect nothing yet.

        Args:
            login: Where the feed is.
            make_queues: Makes the connection to the queues, given what is told of confirms.
            partition_of: Returns the partition of a charger.
        """
        self.lost: asyncio.Future[ConnectionLost] = asyncio.get_running_loop().create_future()
        self._queues = make_queues(self._confirmed)
        self._feed = FeedConnection(login, self._arrived)
        self._partition_of = partition_of
        # Number of a message at our queues, and the delivery that it was.
        self._under_way: deque[tuple[int, int]] = deque()

    async def open(self) -> None:
        """Make both connections: first the one that takes what comes.

        Raises:
            ConnectionLost: It did not work.
        """
        await self._queues.open()
        await self._feed.open()
        for one in (self._queues, self._feed):
            one.lost.add_done_callback(self._ended)

    def close(self) -> None:
        """Close both; never raises."""
        self._feed.close()
        self._queues.close()

    def _arrived(self, delivery: int, routing_key: str, body: bytes) -> None:
        partition = self._partition_of(charger_of(routing_key, body))
        target = REST_PARTITION if partition is None else partition
        try:
            number = self._queues.publish(target, routing_key, body)
        except ConnectionLost as error:
            self._lose(error)
        else:
            self._under_way.append((number, delivery))

    def _confirmed(self, number: int) -> None:
        delivery = 0
        while self._under_way and self._under_way[0][0] <= number:
            delivery = self._under_way.popleft()[1]
        if delivery:
            self._feed.acknowledge(delivery)

    def _ended(self, lost: asyncio.Future[ConnectionLost]) -> None:
        self._lose(lost.result())

    def _lose(self, error: ConnectionLost) -> None:
        if not self.lost.done():
            self.lost.set_result(error)


class FeedDivider:
    """Keeps the feed divided: one joined connection after the other."""

    def __init__(
        self,
        login: Callable[[], Awaitable[FeedLogin]],
        make_queues: Callable[[Callable[[int], None]], PartitionQueues],
        partition_of: Callable[[str], int | None],
        *,
        clock: Clock,
        heartbeat: Heartbeat = no_heartbeat,
    ) -> None:
        """Connect nothing yet.

        Args:
            login: Returns where the feed is; raises ``BridgeError``.
            make_queues: As of :class:`DividedConnection`.
            partition_of: Likewise.
            clock: Times the back-off.
            heartbeat: Told when it will be heard of again.
        """
        self._login = login
        self._make_queues = make_queues
        self._partition_of = partition_of
        self._clock = clock
        self._promise = heartbeat
        self._loss = LossReason()

    async def run(self) -> None:
        """Divide until cancelled."""
        await keep_connected(
            self._connect,
            opened=self._opened,
            lost=self._lost,
            clock=self._clock,
            promise=self._promise,
        )

    async def _connect(self) -> DividedConnection:
        return DividedConnection(await self._login(), self._make_queues, self._partition_of)

    def _opened(self, _connection: DividedConnection) -> None:
        self._loss.clear()
        log.info("feed.divided")

    def _lost(self, error: BridgeError, failures: int, wait_s: float) -> None:
        """Log the loss once, and again when the reason changes."""
        reason = str(error)
        if not self._loss.is_new(reason):
            log.debug("feed.still_lost", failures=failures, retry_in_s=round(wait_s, 1))
            return
        log.warning("feed.lost", reason=reason, retry_in_s=round(wait_s, 1))
