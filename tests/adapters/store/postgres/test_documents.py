"""Documents of a partition are replaced by its owner alone."""

import asyncio

import pytest

from bridge.adapters.state_files.charger_list import KeptChargerList
from bridge.adapters.store.postgres.documents import SharedDocuments
from bridge.core.effects import SaveChargerList
from bridge.core.records.lease import Lease
from bridge.errors import LeaseLost, StoreError
from tests.adapters.store.rows import NOON

pytestmark = pytest.mark.anyio


async def test_a_document_is_what_its_owner_put_there_last(database, lease, stale):
    """And None before; a former owner changes nothing."""
    documents, former = SharedDocuments(database, lease), SharedDocuments(database, stale)

    def play():
        assert documents.read("chargers.json", largest=99) is None
        documents.replace("chargers.json", b"one")
        documents.replace("chargers.json", b"another\0")
        with pytest.raises(LeaseLost):
            former.replace("chargers.json", b"stale")
        assert documents.read("chargers.json", largest=99) == b"another\0"
        assert documents.read("chargers.json", largest=3) == b"ano"
        assert documents.read("last_seen.json", largest=99) is None

    await asyncio.to_thread(play)


async def test_the_next_owner_knows_the_chargers(database, lease):
    """Of its partition; without them a command would be refused."""
    await database.execute("INSERT INTO lease VALUES (1, 1, 'one', 'infinity')")
    kept = KeptChargerList(SharedDocuments(database, lease), "me")
    await asyncio.to_thread(kept.save, SaveChargerList(("EH123456",), {"EH654321": NOON}))
    await database.execute("UPDATE lease SET epoch = 2 WHERE partition = 0")
    successor = KeptChargerList(SharedDocuments(database, Lease(0, 2, 0.0)), "me")
    other = KeptChargerList(SharedDocuments(database, Lease(1, 1, 0.0)), "me")
    known = await asyncio.to_thread(successor.load)

    assert (known.charger_ids, known.left) == (("EH123456",), {"EH654321": NOON})
    assert (await asyncio.to_thread(other.load)).charger_ids == ()
    await asyncio.to_thread(kept.save, SaveChargerList(()))  # a warning
    assert (await asyncio.to_thread(successor.load)).charger_ids == ("EH123456",)


async def test_a_database_that_is_away_is_an_error(database, lease, server):
    """Not a missing document."""
    documents = SharedDocuments(database, lease)
    server.shut()
    try:
        with pytest.raises(StoreError):
            await asyncio.to_thread(documents.read, "chargers.json", largest=99)
    finally:
        server.open_()
