"""A cluster of one process: SQLite, files, and one partition locked by the store's file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import bridge
from bridge.adapters.state_files.documents import FileDocuments
from bridge.core.records.lease import (
    SOLE_EPOCH,
    ClusterView,
    HeldLease,
    Lease,
    Member,
    MemberStatus,
    Owed,
)
from bridge.errors import ConfigError
from bridge.ports import Clock, Emit, Store, StoreBackend
from bridge.settings import Settings

SOLE_MEMBER = "this process"


class SoleLeases:
    """Implements :class:`bridge.ports.Leases` for one process with one partition.

    The lease never ends: what keeps a second process away is the store, which then raises
    ``StoreLocked`` when it is opened.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._status = MemberStatus()
        self._is_held = False

    async def join(self) -> ClusterView:
        """Return the one member and the one lease."""
        return await self.view()

    async def take(self, most: int) -> tuple[Lease, ...]:
        """Take partition 0 unless it is held."""
        if self._is_held or not most:
            return ()
        self._is_held = True
        return (self._lease(),)

    async def renew(
        self, held: Sequence[Lease], status: MemberStatus
    ) -> tuple[tuple[Lease, ...], ClusterView]:
        """Renew the lease, if it is held."""
        self._status = status
        return ((self._lease(),) if held and self._is_held else ()), await self.view()

    async def give_up(self, leases: Sequence[Lease]) -> None:
        """Give the lease up."""
        self._is_held = self._is_held and not leases

    async def view(self) -> ClusterView:
        """Return the one member and the one lease."""
        member = Member(SOLE_MEMBER, 0.0, bridge.__version__, self._status)
        owner = SOLE_MEMBER if self._is_held else None
        left_s = float("inf") if self._is_held else 0.0
        return ClusterView((member,), (HeldLease(0, owner, SOLE_EPOCH, left_s),))

    async def ask_to_leave(self, _name: str) -> bool:
        """Return False: a process alone is stopped by a signal."""
        return False

    async def leave(self) -> None:
        """Give the lease up."""
        self._is_held = False

    def _lease(self) -> Lease:
        return Lease(0, SOLE_EPOCH, self._clock.now().mono_s)


class LocalCluster:
    """Implements :class:`bridge.ports.ClusterBackend` with the files of one process."""

    def __init__(self, settings: Settings, clock: Clock, backend: StoreBackend) -> None:
        if settings.cluster.partitions != 1:
            raise ConfigError(("cluster.partitions: needs store.url",))
        self._settings = settings
        self._backend = backend
        self.leases = SoleLeases(clock)

    def store(self, _lease: Lease, emit: Emit) -> Store:
        """Return the store; nothing is opened yet."""
        return self._backend.store(self._settings.store, emit)

    def documents(self, _lease: Lease) -> FileDocuments:
        """Return the documents in the folder of the small state files."""
        return FileDocuments(Path(self._settings.state_folder))

    def allowance(self) -> None:
        """Return nothing: this process uses the account alone."""

    def tokens(self) -> None:
        """Return nothing: this process uses the account alone."""

    def listings(self) -> None:
        """Return nothing: the one partition serves everything."""

    async def parameters(self) -> Mapping[str, str]:
        """Return nothing: there is no server."""
        return {}

    async def owed(self) -> Mapping[int, Owed]:
        """Return nothing: the store's reader tells it."""
        return {}

    async def close(self) -> None:
        """Do nothing: each store closes its own file."""
