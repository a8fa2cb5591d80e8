"""Lists of the account that one worker reads for all, and the division that follows from them.

Rules:

1. A list is asked for by whoever claims it; a claim lasts for a time, so that a worker that dies
   meanwhile holds nobody up.
2. A site and a device are written once: the first one counts. So as many as before are the same.
3. A list is kept compressed: of 100,000 chargers it has tens of megabytes.
"""

import asyncio
import zlib
from collections.abc import Mapping
from typing import Final

from bridge.adapters.store.postgres.connection import Connection
from bridge.core.partitions import Division
from bridge.ports import Listing

# Of a list that was not read: its worker may have died.
CLAIMED_FOR_S: Final = 12.0
# Level of compression: a tenth of the size, in a third of the time of the usual one.
FAST: Final = 1
_COUNTS: Final = "SELECT (SELECT count(*) FROM site), (SELECT count(*) FROM device)"
_SITES: Final = "SELECT name, partition FROM site"
_DEVICES: Final = "SELECT name, site FROM device"
_PLACE_SITES: Final = (
    "INSERT INTO site SELECT * FROM unnest($1::text[], $2::integer[]) ON CONFLICT DO NOTHING"
)
_PLACE_DEVICES: Final = (
    "INSERT INTO device SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING"
)
_READ: Final = (
    "SELECT content, extract(epoch FROM clock_timestamp() - read_at)::double precision"
    " FROM listing WHERE name = $1 AND content IS NOT NULL"
    " AND read_at >= clock_timestamp() - make_interval(secs => $2)"
)
_CLAIM: Final = (
    "INSERT INTO listing (name, asked_at) VALUES ($1, clock_timestamp()) ON CONFLICT (name)"
    " DO UPDATE SET asked_at = excluded.asked_at"
    " WHERE listing.asked_at <= clock_timestamp() - make_interval(secs =>"
    " CASE WHEN listing.read_at = listing.asked_at THEN $2::double precision"
    " ELSE least($2::double precision, $3::double precision) END)"
    " RETURNING name"
)
_RELEASE: Final = (
    "UPDATE listing SET asked_at = clock_timestamp() - make_interval(secs => $2) WHERE name = $1"
)
# Read at the moment it was asked for: it may be older than its answer.
_REPLACE: Final = "UPDATE listing SET content = $2, read_at = asked_at WHERE name = $1"


class PostgresListings:
    """Implements :class:`bridge.ports.Listings`.

    Args:
        db: The database.
        account: The lists are of this one.
        partitions: How many there are.
    """

    def __init__(self, db: Connection, account: str, partitions: int) -> None:
        self._db = db
        self._account = account
        self._partitions = partitions

    async def division(self, known: Division | None = None) -> Division:
        """Return which partition serves what; what is known where nothing was added."""
        if known is not None and known.partitions == self._partitions:
            (counts,) = await self._db.fetch(_COUNTS)
            if tuple(counts) == (len(known.sites), len(known.devices)):
                return known
        sites, devices = await self._db.fetch(_SITES), await self._db.fetch(_DEVICES)
        return Division(self._partitions, dict(sites), dict(devices))

    async def place(self, sites: Mapping[str, int], devices: Mapping[str, str]) -> None:
        """Write down partitions of sites, and sites of devices, that have none yet."""
        await self._db.execute(_PLACE_SITES, list(sites), list(sites.values()))
        await self._db.execute(_PLACE_DEVICES, list(devices), list(devices.values()))

    async def read(self, name: str, *, within_s: float) -> Listing | None:
        """Return a list that was requested within this time; None where there is none."""
        found = await self._db.fetch(_READ, self._named(name), within_s)
        if not found:
            return None
        ((content, age_s),) = found
        return Listing(await asyncio.to_thread(zlib.decompress, content), float(age_s))

    async def claim(self, name: str, *, every_s: float) -> bool:
        """Return whether the caller is to read a list: nobody asked for it so recently."""
        return bool(await self._db.fetch(_CLAIM, self._named(name), every_s, CLAIMED_FOR_S))

    async def release(self, name: str, *, asked_ago_s: float) -> None:
        """Let a list be claimed again sooner: it could not be read."""
        await self._db.execute(_RELEASE, self._named(name), asked_ago_s)

    async def replace(self, name: str, content: bytes) -> None:
        """Keep a list that was read."""
        packed = await asyncio.to_thread(zlib.compress, content, FAST)
        await self._db.execute(_REPLACE, self._named(name), packed)

    def _named(self, name: str) -> str:
        # A list by this name is not compressed: of a version before.
        return f"{self._account}/{name}.z"
