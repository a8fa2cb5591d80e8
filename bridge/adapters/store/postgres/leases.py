"""Leases and members in PostgreSQL, by the clock of the database.

Rules:

1. Each method is one statement. Its connection is used for nothing else, and gives up before the
   lease would end: a lease cannot be kept by waiting.
2. A lease is taken by a lock for update on its row that passes over what is locked: by another
   worker that takes it, or by the last write of its former owner.
3. A lease ends by the clock of the database, which counts from the moment the statement ran. The
   owner counts from a moment before it asked.
4. A member whose lease was taken ends, so it counts as one that leaves from its first renewal on:
   others would hand it a share that it never takes.
"""

from collections.abc import Sequence
from typing import Any, Final

import structlog

import bridge
from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.schema import migrate
from bridge.core.records.lease import ClusterView, HeldLease, Lease, Member, MemberStatus
from bridge.errors import StoreError
from bridge.ports import Clock
from bridge.settings import ClusterSettings, StoreSettings

log = structlog.get_logger()

# A free lease that nobody with a share took for so long is taken by anybody.
ANYBODY_AFTER_S: Final = 1.0
FORGET_MEMBER_AFTER_S: Final = 600.0
# A renewal that has no answer after this part of the time to live is given up.
PATIENCE: Final = 0.35

_PARTITIONS: Final = (
    "INSERT INTO installation VALUES ('partitions', $1) ON CONFLICT (name) DO UPDATE"
    " SET value = installation.value RETURNING value"
)
_CREATE: Final = (
    "INSERT INTO lease (partition, until) SELECT number, clock_timestamp()"
    " FROM generate_series(0, $1 - 1) AS number ON CONFLICT DO NOTHING"
)
_FORGET: Final = "DELETE FROM member WHERE seen_at < clock_timestamp() - make_interval(secs => $1)"
_AGAIN: Final = (
    " ON CONFLICT (name) DO UPDATE SET version = excluded.version, seen_at = excluded.seen_at,"
    " broker_up = excluded.broker_up, cloud_up = excluded.cloud_up, draining = excluded.draining"
)
_SEEN: Final = f"INSERT INTO member VALUES ($1, $2, clock_timestamp(), $3, $4, $5){_AGAIN}"
_TAKE: Final = (
    "WITH live AS (SELECT count(*) AS count FROM member WHERE NOT draining"
    " AND seen_at > clock_timestamp() - make_interval(secs => $2)),"
    " mine AS (SELECT count(*) AS count FROM lease"
    " WHERE owner = $1 AND until > clock_timestamp()),"
    " every AS (SELECT count(*) AS count FROM lease),"
    " missing AS (SELECT ceil(every.count::numeric / greatest(live.count, 1)) - mine.count AS count"
    " FROM live, mine, every),"
    " free AS (SELECT partition, until < clock_timestamp() - make_interval(secs => $3) AS is_old"
    " FROM lease WHERE until < clock_timestamp() ORDER BY partition FOR UPDATE SKIP LOCKED),"
    " placed AS (SELECT partition, is_old, row_number() OVER (ORDER BY is_old DESC, partition)"
    " AS place FROM free)"
    " UPDATE lease SET epoch = epoch + 1, owner = $1,"
    " until = clock_timestamp() + make_interval(secs => $2)"
    " FROM placed, missing WHERE lease.partition = placed.partition AND placed.place <= $4"
    " AND (placed.is_old OR placed.place <= missing.count)"
    " RETURNING lease.partition, lease.epoch"
)
_RENEW: Final = (
    "WITH held AS (SELECT * FROM unnest($7::integer[], $8::bigint[]) AS each (partition, epoch)),"
    " lost AS (SELECT EXISTS (SELECT FROM held LEFT JOIN lease USING (partition, epoch)"
    " WHERE lease.owner IS DISTINCT FROM $1::text) AS is_lost),"
    " seen AS (INSERT INTO member SELECT $1::text, $2::text, clock_timestamp(), $3::boolean,"
    f" $4::boolean, $5::boolean OR is_lost FROM lost{_AGAIN})"
    " UPDATE lease SET until = clock_timestamp() + make_interval(secs => $6) FROM held"
    " WHERE lease.partition = held.partition AND lease.epoch = held.epoch AND lease.owner = $1"
    " RETURNING lease.partition, lease.epoch"
)
_GIVE_UP: Final = (
    "UPDATE lease SET until = clock_timestamp(), owner = NULL"
    " FROM unnest($2::integer[], $3::bigint[]) AS held (partition, epoch)"
    " WHERE lease.partition = held.partition AND lease.epoch = held.epoch AND lease.owner = $1"
)
_STAYS: Final = "UPDATE member SET leave_asked = false WHERE name = $1"
_ASK_TO_LEAVE: Final = "UPDATE member SET leave_asked = true WHERE name = $1 RETURNING name"
_LEAVE: Final = "DELETE FROM member WHERE name = $1"
_MEMBERS: Final = (
    "SELECT name, extract(epoch FROM clock_timestamp() - seen_at)::double precision AS seen_ago_s,"
    " version, broker_up, cloud_up, draining, leave_asked FROM member"
    " WHERE seen_at > clock_timestamp() - make_interval(secs => $1) ORDER BY name"
)
_LEASES: Final = (
    "SELECT partition, owner, epoch,"
    " extract(epoch FROM until - clock_timestamp())::double precision AS left_s"
    " FROM lease ORDER BY partition"
)


class PostgresLeases:
    """Implements :class:`bridge.ports.Leases`.

    Args:
        store: Where the database is.
        cluster: Number of partitions, name of this worker, time to live.
        clock: For the moments from which this process counts.
    """

    def __init__(
        self,
        store: StoreSettings,
        cluster: ClusterSettings,
        clock: Clock,
    ) -> None:
        self._db = Connection(store, timeout_s=PATIENCE * cluster.lease_ttl_s)
        self._store = store
        self._partitions = cluster.partitions
        self._ttl_s = float(cluster.lease_ttl_s)
        self._clock = clock
        self._name = cluster.worker or ""

    async def join(self) -> ClusterView:
        """Connect, create or migrate what the database needs, and register this member."""
        preparing = Connection(self._store)
        try:
            await migrate(preparing)
            ((held,),) = await preparing.fetch(_PARTITIONS, b"%d" % self._partitions)
            if int(held) != self._partitions:
                raise StoreError(
                    f"the database is divided into {int(held)} partitions, not {self._partitions}",
                    hint=f"set cluster.partitions to {int(held)}, or use a new database",
                )
            await preparing.execute(_CREATE, self._partitions)
            await preparing.execute(_FORGET, FORGET_MEMBER_AFTER_S)
        finally:
            await preparing.close()
        await self._db.execute(_SEEN, *self._member(MemberStatus()))
        await self._db.execute(_STAYS, self._name)
        return await self.view()

    async def take(self, most: int) -> tuple[Lease, ...]:
        """Take free leases, as many as are missing for this member's share, and at most so many."""
        asked_at_s = self._clock.now().mono_s
        taken = await self._db.fetch(_TAKE, self._name, self._ttl_s, ANYBODY_AFTER_S, most)
        return _leases(taken, asked_at_s)

    async def renew(
        self, held: Sequence[Lease], status: MemberStatus
    ) -> tuple[tuple[Lease, ...], ClusterView]:
        """Renew leases at their epochs, and record that this member lives."""
        asked_at_s = self._clock.now().mono_s
        renewed = await self._db.fetch(_RENEW, *self._member(status), self._ttl_s, *_keys(held))
        return _leases(renewed, asked_at_s), await self.view()

    async def give_up(self, leases: Sequence[Lease]) -> None:
        """End leases now, so that another worker takes them at once."""
        await self._db.execute(_GIVE_UP, self._name, *_keys(leases))

    async def view(self) -> ClusterView:
        """Return members and leases without being a member."""
        members = await self._db.fetch(_MEMBERS, FORGET_MEMBER_AFTER_S)
        leases = await self._db.fetch(_LEASES)
        return ClusterView(
            tuple(
                Member(name, ago_s, version, MemberStatus(broker, cloud, draining), asked)
                for name, ago_s, version, broker, cloud, draining, asked in members
            ),
            tuple(HeldLease(*row) for row in leases),
        )

    async def ask_to_leave(self, name: str) -> bool:
        """Ask a member to hand everything over and end; return whether there is one."""
        return bool(await self._db.fetch(_ASK_TO_LEAVE, name))

    async def leave(self) -> None:
        """Remove this member and close the connection."""
        try:
            await self._db.execute(_LEAVE, self._name)
        except StoreError as error:
            log.info("cluster.left_unsaid", reason=str(error))
        await self._db.close()

    def _member(self, status: MemberStatus) -> tuple[object, ...]:
        up = status.broker_up, status.cloud_up
        return self._name, bridge.__version__, *up, status.draining


def _leases(rows: Sequence[Any], asked_at_s: float) -> tuple[Lease, ...]:
    found = (Lease(partition, epoch, asked_at_s) for partition, epoch in rows)
    return tuple(sorted(found, key=lambda lease: lease.partition))


def _keys(leases: Sequence[Lease]) -> tuple[list[int], list[int]]:
    return [lease.partition for lease in leases], [lease.epoch for lease in leases]
