"""The key that hashes of tags are made with: one for all partitions."""

import secrets
from typing import Final

from bridge.adapters.store.postgres.connection import Connection

KEY_BYTES: Final = 32
_MAKE: Final = "INSERT INTO installation VALUES ('tag_hash_key', $1) ON CONFLICT DO NOTHING"
_READ: Final = "SELECT value FROM installation WHERE name = 'tag_hash_key'"


async def find(db: Connection) -> bytes | None:
    """Return the key; None when there is none yet.

    Raises:
        StoreError: It cannot be read.
    """
    found = await db.fetch(_READ)
    return bytes(found[0][0]) if found else None


async def tag_hash_key(db: Connection) -> bytes:
    """Return the key, made on first use; whichever worker makes it, all use the same.

    Raises:
        StoreError: There is none and none could be kept.
    """
    if (held := await find(db)) is not None:
        return held
    made = secrets.token_bytes(KEY_BYTES)
    await db.execute(_MAKE, made)
    return await find(db) or made
