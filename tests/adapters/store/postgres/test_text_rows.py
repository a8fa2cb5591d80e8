"""Texts of a partition; the contract of all stores has the rest."""

import pytest

from bridge.adapters.store.postgres import text_rows
from bridge.core.records.unread_text import UnreadText
from bridge.errors import LeaseLost
from tests.adapters.store.rows import NOON

pytestmark = pytest.mark.anyio
TEXT = UnreadText("EH123456", '{"Id"\0', "no JSON", "stream", NOON, NOON)
OTHER = UnreadText("EH654321", "x", "no JSON", "stream", NOON, NOON)


async def test_a_damaged_text_is_not_handed_out(database, lease):
    """Its hash tells."""
    await text_rows.put(database, lease, TEXT)
    await text_rows.put(database, lease, OTHER)
    assert await text_rows.read_all(database, 0) == (TEXT, OTHER)
    await database.execute("UPDATE unread SET reason = 'other' WHERE charger_id = 'EH654321'")

    assert await text_rows.read_all(database, None) == (TEXT,)


async def test_a_stale_lease_changes_nothing(database, lease, stale):
    """Neither adds nor deletes."""
    await text_rows.put(database, lease, TEXT)
    with pytest.raises(LeaseLost):
        await text_rows.put(database, stale, OTHER)
    with pytest.raises(LeaseLost):
        await text_rows.forget(database, stale, [TEXT.key])
    assert await text_rows.read_all(database, 0) == (TEXT,)
