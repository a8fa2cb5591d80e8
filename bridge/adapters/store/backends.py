"""Registry of the configurable stores. Other modules know only their protocols."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

from bridge.adapters.store.local_cluster import LocalCluster
from bridge.adapters.store.sqlite.backend import SqliteBackend
from bridge.errors import ConfigError
from bridge.extras import missing_extra
from bridge.ports import Clock, ClusterBackend, StoreBackend
from bridge.settings import Settings, StoreSettings

NOT_INSTALLED: Final = f"store.url: {missing_extra('cluster', 'asyncpg')}"


def _postgres() -> StoreBackend:
    _require_asyncpg()
    from bridge.adapters.store.postgres.backend import PostgresBackend  # noqa: PLC0415 - an extra

    return PostgresBackend()


# By :attr:`bridge.settings.StoreSettings.kind`.
BACKENDS: Final[dict[str, Callable[[], StoreBackend]]] = {
    "sqlite": SqliteBackend,
    "postgres": _postgres,
}


def backend_of(settings: StoreSettings) -> StoreBackend:
    """Return the backend that the configuration names.

    Raises:
        ConfigError: It names PostgreSQL, and asyncpg is not installed.
    """
    return BACKENDS[settings.kind]()


def cluster_of(settings: Settings, clock: Clock) -> ClusterBackend:
    """Return what the partitions of this installation share; nothing is opened yet.

    Raises:
        ConfigError: The configuration names PostgreSQL, and asyncpg is not installed.
    """
    if not settings.store.url:
        return LocalCluster(settings, clock, backend_of(settings.store))
    _require_asyncpg()
    from bridge.adapters.store.postgres.backend import PostgresCluster  # noqa: PLC0415 - an extra

    return PostgresCluster(settings, clock)


def _require_asyncpg() -> None:
    if find_spec("asyncpg") is None:
        raise ConfigError((NOT_INSTALLED,))
