"""PostgreSQL as a store that can be configured, and as what a cluster shares."""

from collections.abc import Mapping
from typing import Final, NoReturn

from bridge.adapters.store.postgres.allowance import SharedAllowance
from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.documents import SharedDocuments
from bridge.adapters.store.postgres.leases import PostgresLeases
from bridge.adapters.store.postgres.listings import PostgresListings
from bridge.adapters.store.postgres.reader import PostgresReader
from bridge.adapters.store.postgres.store import PostgresStore
from bridge.adapters.store.postgres.tokens import SharedTokens
from bridge.core.records.lease import Lease, Owed
from bridge.core.records.stored_tokens import account_of
from bridge.errors import StoreLocked
from bridge.ports import Clock, Emit
from bridge.settings import Settings, StoreSettings

MIB: Final = 1024 * 1024
# A request waits for the budget, and has a deadline of its own.
ALLOWANCE_TIMEOUT_S: Final = 1.0
_OWED: Final = (
    "SELECT partition, (SELECT count(*) FROM report WHERE report.partition = lease.partition"
    " AND settled <> 1), (SELECT count(*) FROM command WHERE command.partition = lease.partition"
    " AND answer = '') FROM lease"
)
PARAMETERS: Final = ("fsync", "full_page_writes", "synchronous_standby_names")
_PARAMETERS: Final = "SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])"


class PostgresBackend:
    """Implements :class:`bridge.ports.StoreBackend`."""

    def store(self, _settings: StoreSettings, _emit: Emit) -> NoReturn:
        """Refuse: a store in PostgreSQL is written under a lease only.

        Raises:
            StoreLocked: Always.
        """
        raise StoreLocked(
            "a store in PostgreSQL is written by its workers only", hint="ask a running worker"
        )

    def reader(self, settings: StoreSettings) -> PostgresReader:
        """Return a reader of the store, which need not exist."""
        return PostgresReader(settings)


class PostgresCluster:
    """Implements :class:`bridge.ports.ClusterBackend`. Made on the loop that uses it."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._account = account_of(settings.easee)
        self._db = Connection(settings.store)
        self._budget = Connection(settings.store, timeout_s=ALLOWANCE_TIMEOUT_S)
        self._locking = Connection(settings.store)
        self._allowance = SharedAllowance(
            self._budget, self._account, clock, connections=settings.cluster.partitions
        )
        self._tokens = SharedTokens(self._db, self._locking, self._account)
        self.leases = PostgresLeases(settings.store, settings.cluster, clock)

    def store(self, lease: Lease, emit: Emit) -> PostgresStore:
        """Return the slice of one partition, fenced by the epoch of its lease."""
        share = self._settings.store.max_mib * MIB // self._settings.cluster.partitions
        return PostgresStore(self._settings.store, lease, max_bytes=share, emit=emit)

    def documents(self, lease: Lease) -> SharedDocuments:
        """Return the documents of one partition, fenced likewise."""
        return SharedDocuments(self._db, lease)

    def allowance(self) -> SharedAllowance:
        """Return the shared budget of the account."""
        return self._allowance

    def tokens(self) -> SharedTokens:
        """Return the shared tokens of the account."""
        return self._tokens

    def listings(self) -> PostgresListings:
        """Return the lists of the account, and the division."""
        return PostgresListings(self._db, self._account, self._settings.cluster.partitions)

    async def parameters(self) -> Mapping[str, str]:
        """Return the parameters that decide what the loss of the server would cost."""
        return dict(await self._db.fetch(_PARAMETERS, list(PARAMETERS)))

    async def owed(self) -> Mapping[int, Owed]:
        """Return what is not finished, by partition."""
        rows = await self._db.fetch(_OWED)
        return {partition: Owed(reports, commands) for partition, reports, commands in rows}

    async def close(self) -> None:
        """Close connections; the stores are closed before."""
        for each in (self._db, self._budget, self._locking):
            await each.close()
