"""All partitions hash tags with one key."""

import asyncio

import pytest

from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.tag_hash_key import find, tag_hash_key

pytestmark = pytest.mark.anyio


async def test_the_key_is_made_once_by_whoever_comes_first(database, server):
    """Workers that start at once get the same."""
    assert await find(database) is None
    others = [Connection(server.settings) for _ in range(4)]
    keys = await asyncio.gather(*(tag_hash_key(each) for each in others))

    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    assert await tag_hash_key(database) == await find(database) == keys[0]
    for each in others:
        await each.close()
