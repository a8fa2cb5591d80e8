"""Supervisor of a worker: takes leases, runs a gateway for each, renews them, hands them over.

Rules:

1. Leases are renewed each second, whatever the gateways do; a request to the database that takes
   too long is given up, and the next one asks again.
2. A gateway runs from the take of its lease until it was handed over, or the lease is lost. A lease
   that ran out and was not taken goes on when the database answers.
3. A lease that another worker took ends this process: what it has in memory is not to be believed.
   It hands over what it still has, and returns 75.
4. A hand-over is: finish what was sent to the vendor, publish, disconnect, and only then give the
   lease up. Leases are renewed meanwhile.
5. Standing by, a worker looks three times a second, and when a lease is about to end.
6. After an outage of the database that outlasted the leases a worker takes none for one TTL: the
   owners live, and reach the database a moment sooner or later than it does.
7. What was handed over for the balance and came back, because the member that lacks it did not take
   it in time, stays here for :data:`KEPT_FOR_S`: it would be handed to and fro.
"""

import asyncio
import contextlib
import math
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, TypeVar

import structlog

from bridge.cluster.partition import Partition
from bridge.core.partitions import RENEW_EVERY_S, Holdings, balance, is_free, is_given_back
from bridge.core.records.lease import ClusterView, HeldLease, Lease, Member, MemberStatus
from bridge.errors import LeaseLost, StoreError
from bridge.ports import Clock, Leases
from bridge.settings import ClusterSettings

LOOK_EVERY_S: Final = 0.3
# Behind the end of a lease that another has.
LOOK_BEHIND_S: Final = 0.02
REQUEST_TIMEOUT_S: Final = 2.0
# Schema and first connection take longer than a renewal.
JOIN_TIMEOUT_S: Final = 30.0
JOIN_AGAIN_S: Final = 2.0
HINT: Final = "check that PostgreSQL runs and can be reached from here"
# A worker whose lease is lost gives the others this long to be handed over.
LAST_HAND_OVER_S: Final = 8.0
# A worker that handed over because it could not reach the broker says so for this long.
DOWN_FOR_S: Final = 120.0
# A member that takes nothing in a second is too slow to serve: it gets another chance then.
KEPT_FOR_S: Final = 60.0

Serve = Callable[[Partition], Awaitable[None]]
T = TypeVar("T")

log = structlog.get_logger()


def awake_for_ever() -> float:
    """Return 0.0: this machine never sleeps."""
    return 0.0


class Supervisor:
    """Holds the leases of this worker and runs their gateways.

    Attributes:
        view: Members and leases as they were last seen; None before the first answer.
        running: The partitions that are served, by number.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        leases: Leases,
        clock: Clock,
        serve: Serve,
        *,
        slept_s: Callable[[], float] = awake_for_ever,
        seen: Callable[[ClusterView], object] = id,
    ) -> None:
        """Do nothing yet.

        Args:
            settings: Name of this worker, and for how long a lease is granted.
            leases: The table of leases.
            clock: Time and waiting.
            serve: Runs the gateway of a partition until its ``stop`` is set.
            slept_s: For how long this machine slept: its monotonic clock stood still.
            seen: Is given members and leases with each renewal.
        """
        self._me = settings.worker or ""
        self._ttl_s = settings.lease_ttl_s
        self._leases = leases
        self._clock = clock
        self._serve = serve
        self._slept_s = slept_s
        self._seen = seen
        self._slept_at: dict[int, float] = {}
        self._holdings = Holdings(settings.lease_ttl_s)
        self._gateways: dict[int, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._renewed_s = -math.inf
        self._down_until_s = -math.inf
        # Handed over for the balance, and until when nothing else is.
        self._offered: set[int] = set()
        self._kept_until_s = -math.inf
        self._reached_s = math.inf
        self._takes_from_s = -math.inf
        self._unreached = ""
        self._has_lost = False
        self._is_leaving = False
        self.view: ClusterView | None = None
        self.running: dict[int, Partition] = {}

    async def run(self, stop: asyncio.Event) -> int:
        """Work until ``stop`` is set or a lease is lost.

        Returns:
            The exit status: 0 when everything was handed over, 75 when a lease was lost.

        Raises:
            BaseExceptionGroup: A gateway failed.
        """
        async with asyncio.TaskGroup() as tasks:
            waker = tasks.create_task(self._wake_at(stop), name="cluster-stop")
            try:
                if await self._joined(stop):
                    await self._work(tasks, stop)
            finally:
                waker.cancel()
                with contextlib.suppress(StoreError):
                    await self._in_time(self._leases.leave())
        return os.EX_TEMPFAIL if self._has_lost else os.EX_OK

    def left_s(self, partition: int) -> float:
        """Return for how long the lease of a partition holds; not positive once it does not."""
        slept_s = self._slept_s() - self._slept_at.get(partition, 0.0)
        return self._holdings.left_s(partition, self._clock.now().mono_s + slept_s)

    # -- the loop -----------------------------------------------------------------------------

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _joined(self, stop: asyncio.Event) -> bool:
        """Join the cluster, however long the database is away; return False when told to stop."""
        while not stop.is_set():
            try:
                self.view = await self._in_time(self._leases.join(), JOIN_TIMEOUT_S)
            except StoreError as error:
                self._note_unreached(error)
                await self._pause(JOIN_AGAIN_S)
            else:
                self._unreached = ""
                log.info("cluster.joined", worker=self._me, partitions=len(self._rows()))
                return True
        return False

    async def _work(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        until_s = math.inf
        while True:
            if (stop.is_set() or self._has_lost or self._is_asked()) and not self._is_leaving:
                self._is_leaving = True
                until_s = self._clock.now().mono_s + LAST_HAND_OVER_S
                self._renewed_s = -math.inf  # the others learn of it at once
            now_s = self._clock.now().mono_s
            if now_s >= self._renewed_s + RENEW_EVERY_S:
                await self._renew()
            elif self._has_reason_to_look():
                await self._look()
            await self._give_up_what_ended()
            await self._adjust(tasks)
            if self._is_leaving and (not self.running or self._clock.now().mono_s >= until_s):
                self._abandon()
                return
            await self._pause(self._rest_s())

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until something ended or is to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    def _rest_s(self) -> float:
        """Return how long there is nothing to do."""
        now_s = self._clock.now().mono_s
        rest_s = self._renewed_s + RENEW_EVERY_S - now_s
        if self._has_reason_to_look():
            ends = [each.left_s for each in self._others_leases() if each.left_s > 0]
            rest_s = min(rest_s, LOOK_EVERY_S, min(ends, default=math.inf) + LOOK_BEHIND_S)
        return max(0.0, rest_s)

    # -- the database --------------------------------------------------------------------------

    async def _in_time(self, work: Awaitable[T], within_s: float = REQUEST_TIMEOUT_S) -> T:
        """Await the database for a limited time.

        Raises:
            StoreError: It did not answer, or says why it cannot.
        """
        try:
            async with asyncio.timeout(within_s):
                return await work
        except TimeoutError as exc:
            raise StoreError("the database does not answer", hint=HINT) from exc

    async def _renew(self) -> None:
        self._renewed_s = self._clock.now().mono_s
        slept_s, held = self._slept_s(), self._holdings.leases
        try:
            renewed, view = await self._in_time(self._leases.renew(held, self._status()))
        except StoreError as error:
            self._note_unreached(error)
            for partition in self.running.values():
                partition.asked_in_vain(self._renewed_s)
            return
        if self._unreached:
            self._unreached = ""
            log.info("cluster.reached")
            if self._renewed_s - self._reached_s >= self._ttl_s:
                self._takes_from_s = self._renewed_s + self._ttl_s
        self._reached_s = self._renewed_s
        self.view = view
        self._seen(view)
        for lease in renewed:
            self._slept_at[lease.partition] = slept_s
        for lease in self._holdings.renewed(held, renewed):
            self._lost(lease)

    async def _look(self) -> None:
        with contextlib.suppress(StoreError):
            self.view = await self._in_time(self._leases.view())

    def _note_unreached(self, error: StoreError) -> None:
        if str(error) != self._unreached:
            self._unreached = str(error)
            log.error("cluster.unreachable", error=str(error), hint=error.hint)

    def _status(self) -> MemberStatus:
        queues = [each.queue for each in self.running.values()]
        was_down = self._clock.now().mono_s < self._down_until_s
        return MemberStatus(
            broker_up=not was_down and all(each.is_up("broker") for each in queues),
            cloud_up=not was_down and all(each.is_up("cloud") for each in queues),
            draining=self._is_leaving,
        )

    # -- shares ---------------------------------------------------------------------------------

    def _members(self) -> list[Member]:
        """Return the members that live and stay, without this one."""
        return [
            each
            for each in (self.view.members if self.view else ())
            if each.name != self._me and each.seen_ago_s < self._ttl_s and not each.status.draining
        ]

    def _is_asked(self) -> bool:
        """Return whether an operator asks this worker to leave."""
        members = self.view.members if self.view else ()
        return any(each.leave_asked for each in members if each.name == self._me)

    def _rows(self) -> list[HeldLease]:
        return [each for each in (self.view.leases if self.view else ()) if each.partition >= 0]

    def _others_leases(self) -> list[HeldLease]:
        return [each for each in self._rows() if each.partition not in self.running]

    def _has_reason_to_look(self) -> bool:
        return bool(self._others_leases()) and not self._is_leaving and not self._unreached

    async def _adjust(self, tasks: asyncio.TaskGroup) -> None:
        """Take and hand over what is due."""
        others = self._members()
        for partition in self.running.values():
            partition.is_last = not others
        names = [each.name for each in others]
        rows = self._rows()
        handing = {number for number, each in self.running.items() if each.stop.is_set()}
        todo = balance(self._me, names, rows, leaving=self._is_leaving, handing=handing)
        is_down = self._is_down(others)
        now_s = self._clock.now().mono_s
        for number, partition in self.running.items():
            if self._is_leaving or is_down:
                self._hand_over(partition)
            elif now_s >= self._kept_until_s and number in todo.give_back:
                self._offered.add(number)
                self._hand_over(partition)
        may_take = now_s >= self._takes_from_s and not self._unreached
        if todo.take and may_take and not (self._is_leaving or is_down):
            free = {each.partition: each for each in rows if is_free(each)}
            await self._take(tasks, len(todo.take), free)

    def _is_down(self, others: list[Member]) -> bool:
        """Return whether another worker reaches broker and vendor, and this one does not.

        Without the database what the others said is old, and none of them could take over.
        """
        if self._unreached:
            return False
        now_s = self._clock.now().mono_s
        others_up = [each.status.broker_up and each.status.cloud_up for each in others]
        down_for_s = max((each.queue.down_for_s() for each in self.running.values()), default=0.0)
        if is_given_back(is_up=not down_for_s, down_for_s=down_for_s, others_up=others_up):
            self._down_until_s = now_s + DOWN_FOR_S
        return now_s < self._down_until_s and any(others_up)

    async def _take(self, tasks: asyncio.TaskGroup, most: int, free: dict[int, HeldLease]) -> None:
        slept_s = self._slept_s()
        try:
            taken = await self._in_time(self._leases.take(most))
        except StoreError as error:
            self._note_unreached(error)
            return
        for lease in taken:
            if lease.partition not in self.running:
                self._holdings.granted(lease)
                self._slept_at[lease.partition] = slept_s
                self._start(tasks, lease, free.get(lease.partition))
                self._note_unwanted(lease.partition)

    def _note_unwanted(self, number: int) -> None:
        """Hand over nothing more for a while where nobody took what was handed over (rule 7)."""
        row = next((each for each in self._rows() if each.partition == number), None)
        if number in self._offered and (row is None or not row.owner):
            self._kept_until_s = self._clock.now().mono_s + KEPT_FOR_S
        self._offered.discard(number)

    def _start(self, tasks: asyncio.TaskGroup, lease: Lease, row: HeldLease | None) -> None:
        number = lease.partition
        log.info(
            "cluster.lease_taken",
            partition=number,
            epoch=lease.epoch,
            former=row.owner if row else None,
        )
        partition = self.running[number] = Partition(
            lease,
            self._clock,
            left_s=lambda: self.left_s(number),
            alive_at=self._alive_at(row),
        )
        work = tasks.create_task(self._served(partition), name=f"partition {number}")
        self._gateways[number] = work
        work.add_done_callback(lambda _: self._wake.set())

    def _alive_at(self, row: HeldLease | None) -> datetime | None:
        """Return when the former owner of a lease was last known to be connected to the broker."""
        now = self._clock.now()
        if row is None or not row.owner or not now.trusted:
            return None
        members = self.view.members if self.view else ()
        if not any(each.name == row.owner and each.status.broker_up for each in members):
            return None
        return now.wall - timedelta(seconds=self._ttl_s - row.left_s)

    async def _served(self, partition: Partition) -> None:
        """Run a gateway; what the database says of its lease ends it."""
        try:
            await self._serve(partition)
        except LeaseLost:
            self._lost(partition.lease)

    # -- the end of a lease ---------------------------------------------------------------------

    def _hand_over(self, partition: Partition) -> None:
        if not partition.stop.is_set():
            log.info("cluster.handing_over", partition=partition.lease.partition)
            partition.stop.set()

    async def _give_up_what_ended(self) -> None:
        """Give up the leases of gateways that ended."""
        ended = [number for number, task in self._gateways.items() if task.done()]
        leases = []
        for number in ended:
            del self._gateways[number], self.running[number]
            if (lease := self._holdings.give_back(number)) is not None:
                leases.append(lease)
        if leases:
            try:
                await self._in_time(self._leases.give_up(leases))
            except StoreError as error:
                self._note_unreached(error)
            log.info("cluster.handed_over", partitions=[each.partition for each in leases])
            self._renewed_s = -math.inf  # what the table shows is out of date

    def _lost(self, lease: Lease) -> None:
        """End at once what another worker serves by now."""
        self._holdings.give_back(lease.partition)
        self._has_lost = True
        log.error(
            "cluster.lease_lost",
            partition=lease.partition,
            epoch=lease.epoch,
            hint="another worker serves it; this process ends and is to be started again",
        )
        if (task := self._gateways.get(lease.partition)) is not None:
            task.cancel()
        self._wake.set()

    def _abandon(self) -> None:
        """End gateways that did not end in time."""
        for task in self._gateways.values():
            task.cancel()
