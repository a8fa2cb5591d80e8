"""Registry of the configurable stores. Other modules know only their protocols."""

from collections.abc import Callable
from typing import Final

from bridge.adapters.store.local_cluster import LocalCluster
from bridge.adapters.store.sqlite.backend import SqliteBackend
from bridge.ports import Clock, ClusterBackend, StoreBackend
from bridge.settings import Settings, StoreSettings

# By :attr:`bridge.settings.StoreSettings.kind`.
BACKENDS: Final[dict[str, Callable[[], StoreBackend]]] = {"sqlite": SqliteBackend}


def backend_of(settings: StoreSettings) -> StoreBackend:
    """Return the backend that the configuration names."""
    return BACKENDS[settings.kind]()


def cluster_of(settings: Settings, clock: Clock) -> ClusterBackend:
    """Return what the partitions of this installation share; nothing is opened yet."""
    return LocalCluster(settings, clock, backend_of(settings.store))
