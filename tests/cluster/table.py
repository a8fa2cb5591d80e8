"""A table of leases in memory, and what a member sees of it: ``bridge.ports.Leases``."""

import asyncio
from dataclasses import dataclass, field

from msgspec.structs import replace

from bridge.core.records.lease import ClusterView, HeldLease, Lease, Member, MemberStatus
from bridge.errors import StoreError


@dataclass
class Row:
    """A lease."""

    owner: str | None = None
    epoch: int = 0
    until_s: float = 0.0


@dataclass
class Table:
    """The database.

    Attributes:
        clock: Its clock.
        ttl_s: For so long a lease is granted.
        away: It does not answer.
        takes_s: Each request takes so long.
    """

    clock: object
    partitions: int = 1
    ttl_s: float = 4.0
    away: bool = False
    takes_s: float = 0.001
    rows: dict = field(default_factory=dict)
    members: dict = field(default_factory=dict)
    leaving: set = field(default_factory=set)

    def __post_init__(self):
        self.rows = {number: Row() for number in range(self.partitions)}

    def owners(self):
        """Name the owners whose leases hold."""
        return [row.owner if row.until_s > self.now_s else None for row in self.rows.values()]

    @property
    def now_s(self):
        return self.clock.now().mono_s

    def view(self):
        return ClusterView(
            tuple(
                Member(name, self.now_s - seen_s, "1.0", status, name in self.leaving)
                for name, (seen_s, status) in sorted(self.members.items())
            ),
            tuple(
                HeldLease(number, row.owner, row.epoch, row.until_s - self.now_s)
                for number, row in self.rows.items()
            ),
        )


class MemberLeases:
    """The leases as one member uses them.

    Attributes:
        is_cut: This member alone cannot reach the database.
        left: It left.
        is_slow: It never takes anything in time.
    """

    def __init__(self, table, name):
        self.table, self.name = table, name
        self.is_cut = False
        self.left = False
        self.is_slow = False

    async def _asked(self):
        await asyncio.sleep(self.table.takes_s)
        if self.table.away or self.is_cut:
            await asyncio.sleep(1.0)
            raise StoreError("the database is away", hint="start it")

    async def join(self):
        await self._asked()
        self._seen(MemberStatus())
        return self.table.view()

    def _seen(self, status):
        self.table.members[self.name] = (self.table.now_s, status)

    async def take(self, most):
        asked_at_s = self.table.now_s
        await self._asked()
        table = self.table
        live = [
            name
            for name, (seen_s, status) in table.members.items()
            if table.now_s - seen_s < table.ttl_s and not status.draining
        ]
        share = -(-len(table.rows) // max(1, len(live)))
        have = sum(
            row.owner == self.name and row.until_s > table.now_s for row in table.rows.values()
        )
        taken = []
        for number, row in () if self.is_slow else table.rows.items():
            free_s = table.now_s - row.until_s
            if len(taken) < most and free_s > 0 and (have < share or free_s >= 1.0):
                have += 1
                row.owner, row.epoch = self.name, row.epoch + 1
                row.until_s = table.now_s + table.ttl_s
                taken.append(Lease(number, row.epoch, asked_at_s))
        return tuple(taken)

    async def renew(self, held, status):
        asked_at_s = self.table.now_s
        await self._asked()
        kept = []
        for lease in held:
            row = self.table.rows[lease.partition]
            if (row.owner, row.epoch) == (self.name, lease.epoch):
                row.until_s = self.table.now_s + self.table.ttl_s
                kept.append(replace(lease, asked_at_s=asked_at_s))
        self._seen(replace(status, draining=status.draining or len(kept) < len(held)))
        return tuple(kept), self.table.view()

    async def give_up(self, leases):
        await self._asked()
        for lease in leases:
            row = self.table.rows[lease.partition]
            if (row.owner, row.epoch) == (self.name, lease.epoch):
                row.owner, row.until_s = None, self.table.now_s - 1e-6

    async def view(self):
        await self._asked()
        return self.table.view()

    async def ask_to_leave(self, name):
        self.table.leaving.add(name)
        return name in self.table.members

    async def leave(self):
        self.left = True
        if not (self.table.away or self.is_cut):
            self.table.members.pop(self.name, None)
