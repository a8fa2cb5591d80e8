"""SQLite as a store that can be configured: one file at ``store.path``."""

from pathlib import Path

from bridge.adapters.store.sqlite.reader import SqliteReader
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.ports import Emit
from bridge.settings import StoreSettings


class SqliteBackend:
    """Implements :class:`bridge.ports.StoreBackend`."""

    def store(self, settings: StoreSettings, emit: Emit) -> SqliteStore:
        """Return the store; nothing is opened yet."""
        return SqliteStore(Path(settings.path), max_mib=settings.max_mib, emit=emit)

    def reader(self, settings: StoreSettings) -> SqliteReader:
        """Return a reader of the store, which need not exist."""
        return SqliteReader(Path(settings.path))
