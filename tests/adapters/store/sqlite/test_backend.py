"""The settings of the store reach it."""

import pytest

from bridge.adapters.store.sqlite.backend import SqliteBackend
from bridge.adapters.store.sqlite.schema import PAGE_BYTES
from bridge.settings import StoreSettings
from tests.adapters.store.rows import numbered

pytestmark = pytest.mark.anyio


async def test_the_configured_file_and_quota_are_used(tmp_path):
    """What is saved is read back from ``store.path``, and ``store.max_mib`` is its limit."""
    settings = StoreSettings(str(tmp_path / "x.db"), max_mib=1)
    store = SqliteBackend().store(settings, lambda _event: None)
    await store.open()
    row, _ = await store.save(numbered(1))
    pages = await store._ask(lambda db: db.execute("PRAGMA max_page_count").fetchone()[0])
    await store.close()

    assert pages * PAGE_BYTES == 1024 * 1024
    assert list(SqliteBackend().reader(settings).reports()) == [row]
