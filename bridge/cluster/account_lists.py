"""The lists of chargers and sites of the account, read once for all partitions, and the division.

Rules:

1. One worker reads a list, the others take what it read; the vendor allows two charger lists a
   minute.
2. A charger is served when it is placed. Where its site is not known yet, the list of sites is read
   again; where the account may not read that, the charger has a site of its own.
3. A list is divided once for all gateways of this process that wait for it, entry by entry, with a
   turn of the loop for everything else in between: a large account has megabytes of entries.
4. A list that is over the bound would be so again: it is not requested again for
   :data:`TOO_LARGE_FOR_S`, and every gateway gets the same error.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, TypeVar

import msgspec
import structlog

from bridge.core.easee import account_share
from bridge.core.easee.account_share import ListedSite
from bridge.core.easee.rest_requests import (
    CloudRequest,
    Endpoint,
    charger_list_request,
    products_request,
)
from bridge.core.partitions import Division, assigned, placed
from bridge.errors import (
    TOO_LARGE,
    AnswerUnusable,
    CloudError,
    CloudRejected,
    CloudUnavailable,
    DecodeError,
    RateLimited,
    StoreError,
)
from bridge.ports import Clock, Cloud, CloudAnswer, Listings

log = structlog.get_logger()

LOOK_AGAIN_S: Final = 0.5
# A list that could not be read may be asked for again behind this time.
RETRY_S: Final = 5.0
TOO_LARGE_FOR_S: Final = 300.0
# Entries that are read in one turn of the loop: some 10 ms.
ENTRIES_A_TURN: Final = 500
OK: Final = 200

T = TypeVar("T")


class Shared(msgspec.Struct, frozen=True):
    """A list of the account.

    Attributes:
        name: Its own.
        request: Reads it.
        fresh_s: So old it is as good as new.
        every_s: It is not read more often.
    """

    name: str
    request: CloudRequest
    fresh_s: float
    every_s: float


# Shorter than the pauses between two lists that count for a charger that left.
CHARGERS: Final = Shared("chargers", charger_list_request(), 25.0, 30.0)
SITES: Final = Shared("sites", products_request(), 120.0, 5.0)


class Answer(msgspec.Struct, frozen=True):
    """A list, as the cloud answers it."""

    status: int
    body: bytes


class Waiting(msgspec.Struct):
    """The gateways of this process that wait for a list, and what was made for them.

    Attributes:
        turn: Held by the one that reads the list.
        partitions: Those that wait.
        asked_s: When the list was requested that the parts are of.
        parts: By partition; each is taken once.
        too_large: The error of a list over the bound, and until when it is given again.
    """

    turn: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    partitions: set[int] = msgspec.field(default_factory=set)
    asked_s: float = 0.0
    parts: dict[int, bytes] = msgspec.field(default_factory=dict)
    too_large: tuple[AnswerUnusable, float] | None = None


# Part by partition, and when the list was requested.
Divided = tuple[dict[int, bytes], float]
Divide = Callable[[AbstractSet[int], Cloud, float], Awaitable[Divided]]


class AccountLists:
    """Lists of the account for all partitions of this process.

    Attributes:
        division: As it was read last.
    """

    def __init__(
        self,
        listings: Listings,
        clock: Clock,
        *,
        configured: Callable[[], tuple[str, ...]],
        divided: Callable[[Division], object],
    ) -> None:
        """Know nothing yet.

        Args:
            listings: What workers share.
            clock: Time and waiting.
            configured: Returns the chargers that are configured; none: all of the account.
            divided: Called with the division behind each charger list.
        """
        self._listings = listings
        self._clock = clock
        self._configured = configured
        self._divided = divided
        self._waiting = {shared.name: Waiting() for shared in (CHARGERS, SITES)}
        self.division = Division()

    async def load(self) -> Division:
        """Read the division that was written down.

        Raises:
            StoreError: The database cannot be used.
        """
        self.division = await self._listings.division(self.division)
        return self.division

    async def chargers(self, partition: int, cloud: Cloud, within_s: float) -> Answer:
        """Return the part of the charger list that a partition serves.

        Raises:
            CloudError: It cannot be read now.
        """
        return await self._part(CHARGERS, self._chargers_divided, partition, cloud, within_s)

    async def sites(self, partition: int, cloud: Cloud, within_s: float) -> Answer:
        """Return the part of the list of sites that a partition serves.

        Raises:
            CloudError: It cannot be read now.
        """
        return await self._part(SITES, self._sites_divided, partition, cloud, within_s)

    async def _part(
        self, shared: Shared, divide: Divide, partition: int, cloud: Cloud, within_s: float
    ) -> Answer:
        """Return the part of a partition, made with those of all that wait (rule 3)."""
        until_s = self._clock.now().mono_s + within_s
        waiting = self._waiting[shared.name]
        waiting.partitions.add(partition)
        try:
            async with waiting.turn:
                is_fresh = self._clock.now().mono_s - waiting.asked_s < shared.fresh_s
                if partition not in waiting.parts or not is_fresh:
                    waiting.parts, waiting.asked_s = await divide(
                        waiting.partitions | {partition}, cloud, until_s
                    )
                return Answer(OK, waiting.parts.pop(partition))
        except StoreError as error:
            raise CloudUnavailable(f"the lists of the account cannot be shared: {error}") from error
        finally:
            waiting.partitions.discard(partition)

    async def _chargers_divided(
        self, wanted: AbstractSet[int], cloud: Cloud, until_s: float
    ) -> Divided:
        body, asked_s = await self._read(CHARGERS, cloud, until_s)
        try:
            entries = await self._paced(account_share.listed_chargers(body))
        except DecodeError:
            self._divided(await self.load())
            return dict.fromkeys(wanted, body), asked_s  # the gateways report it
        chosen = frozenset(self._configured())
        listed = {entry.serial for entry in entries if entry.serial is not None}
        await self._place(listed | chosen, asked_s, cloud, until_s)
        self._divided(self.division)

        def partition_of(serial: str | None) -> int | None:
            if serial is None:
                return account_share.FOR_ODD
            return self.division.partition_of(serial) if serial in (chosen or listed) else None

        numbered = ((entry.text, partition_of(entry.serial)) for entry in entries)
        return account_share.parts(numbered, wanted), asked_s

    async def _sites_divided(
        self, wanted: AbstractSet[int], cloud: Cloud, until_s: float
    ) -> Divided:
        body, asked_s = await self._read(SITES, cloud, until_s)
        try:
            entries = await self._paced(account_share.listed_sites(body))
        except DecodeError as error:
            log.warning("sites.unreadable", error=str(error))
            return dict.fromkeys(wanted, body), asked_s
        await self._write((), entries)
        chosen = frozenset(self._configured())

        def partition_of(site: ListedSite) -> int | None:
            if site.name is None:
                return account_share.FOR_ODD
            is_served = not chosen or not chosen.isdisjoint(site.charger_ids)
            return self.division.sites.get(site.name) if is_served else None

        numbered = ((entry.text, partition_of(entry)) for entry in entries)
        return account_share.parts(numbered, wanted), asked_s

    async def _paced(self, entries: Iterator[T]) -> list[T]:
        """Return all entries; everything else has its turns meanwhile.

        Raises:
            DecodeError: It is no list.
        """
        found: list[T] = []
        for entry in entries:
            found.append(entry)
            if len(found) % ENTRIES_A_TURN == 0:
                await self._clock.sleep(0)
        return found

    # -- one list for all -----------------------------------------------------------------------

    async def _read(
        self, shared: Shared, cloud: Cloud, until_s: float, *, since_s: float | None = None
    ) -> tuple[bytes, float]:
        """Return a list, read by whichever worker, and when it was asked for.

        Args:
            shared: Which one.
            cloud: Reads it if nobody did.
            until_s: Monotonic time until which it is waited for.
            since_s: It must have been asked for then or later; None: it need not be new.

        Raises:
            CloudError: It cannot be read now.
            StoreError: The database cannot be used.
        """
        oldest_s = self._clock.now().mono_s - shared.fresh_s if since_s is None else since_s
        while (now_s := self._clock.now().mono_s) < until_s:
            self._refuse_too_large(shared, now_s)
            found = await self._listings.read(shared.name, within_s=now_s - oldest_s)
            if found is not None and now_s - found.age_s >= oldest_s:
                return found.content, now_s - found.age_s
            if await self._listings.claim(shared.name, every_s=shared.every_s):
                return await self._asked(shared, cloud, until_s - now_s), now_s
            await self._clock.sleep(LOOK_AGAIN_S)
        raise RateLimited(
            f"another worker reads the list of {shared.name}", retry_after_s=RETRY_S, local=True
        )

    async def _asked(self, shared: Shared, cloud: Cloud, within_s: float) -> bytes:
        try:
            answer = await cloud.send(shared.request, within_s=within_s)
        except AnswerUnusable as error:
            if error.reason == TOO_LARGE:
                until_s = self._clock.now().mono_s + TOO_LARGE_FOR_S
                self._waiting[shared.name].too_large = error, until_s
            raise
        except CloudError:
            await self._listings.release(shared.name, asked_ago_s=shared.every_s - RETRY_S)
            raise
        except asyncio.CancelledError:  # its gateway is handed over
            await self._listings.release(shared.name, asked_ago_s=shared.every_s)
            raise
        await self._listings.replace(shared.name, answer.body)
        return answer.body

    def _refuse_too_large(self, shared: Shared, now_s: float) -> None:
        """Raise the error of a list that was over the bound a short time ago (rule 4)."""
        held = self._waiting[shared.name].too_large
        if held is not None and now_s < held[1]:
            raise held[0]

    # -- the division ---------------------------------------------------------------------------

    async def _place(
        self, devices: AbstractSet[str], asked_s: float, cloud: Cloud, until_s: float
    ) -> None:
        """Place the chargers of a list, and those that are configured, that have no place yet."""
        division = await self.load()
        new = devices - division.devices.keys()
        if not new:
            return
        try:
            sites = await self._sites_since(asked_s, cloud, until_s)
        except CloudError as error:
            log.warning("chargers.not_placed", count=len(new), error=str(error))
            return
        await self._write(new, sites)

    async def _sites_since(
        self, since_s: float, cloud: Cloud, until_s: float
    ) -> Sequence[ListedSite]:
        """Return the sites by a list that was requested then or later; none that can be read.

        Raises:
            CloudError: It cannot be read now.
            StoreError: The database cannot be used.
        """
        try:
            body, _ = await self._read(SITES, cloud, until_s, since_s=since_s)
            return await self._paced(account_share.listed_sites(body))
        except CloudRejected as error:
            log.warning("sites.refused", error=str(error))
        except DecodeError as error:
            log.warning("sites.unreadable", error=str(error))
        return ()

    async def _write(self, devices: Iterable[str], sites: Iterable[ListedSite]) -> None:
        known = self.division
        members = [
            (one.name, (*one.charger_ids, *one.equalizers)) for one in sites if one.name is not None
        ]
        new = placed(devices, members, known.devices)
        if new:
            wanted = assigned(new, known.sites, known.partitions)
            await self._listings.place(wanted, new)
            await self.load()
            log.info("chargers.placed", new=len(new), all=len(self.division.devices))


class PartitionCloud:
    """The cloud as the gateway of a partition sees it: an account with its part of the lists.

    Args:
        partition: Its number.
        cloud: The vendor's REST interface.
        lists: Of the account.
    """

    def __init__(self, partition: int, cloud: Cloud, lists: AccountLists) -> None:
        self._partition = partition
        self._lists = lists
        self._cloud = cloud
        self.token = cloud.token
        self.negotiate = cloud.negotiate
        self.close = cloud.close

    async def send(self, request: CloudRequest, *, within_s: float) -> CloudAnswer:
        """Send one request; lists of the account come from what all workers share.

        Raises:
            CloudError: It was not answered with a 2xx status.
        """
        if request.endpoint is Endpoint.CHARGER_LIST:
            return await self._lists.chargers(self._partition, self._cloud, within_s)
        if request == SITES.request:
            return await self._lists.sites(self._partition, self._cloud, within_s)
        return await self._cloud.send(request, within_s=within_s)
