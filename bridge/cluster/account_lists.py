"""The lists of chargers and sites of the account, read once for all partitions, and the division.

Rules:

1. One worker reads a list, the others take what it read; the vendor allows two charger lists a
   minute.
2. A charger is served when it is placed. Where its site is not known yet, the list of sites is read
   again; where the account may not read that, the charger has a site of its own.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from bridge.core.easee import account_share
from bridge.core.easee.rest_requests import (
    CloudRequest,
    Endpoint,
    charger_list_request,
    products_request,
)
from bridge.core.easee.rest_responses import charger_list
from bridge.core.easee.sites import Site, site_list
from bridge.core.partitions import Division, assigned, placed
from bridge.errors import (
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
OK: Final = 200


@dataclass(frozen=True, slots=True)
class Shared:
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


@dataclass(frozen=True, slots=True)
class Answer:
    """A list, as the cloud answers it."""

    status: int
    body: bytes


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
        self.division = Division()

    async def load(self) -> Division:
        """Read the division that was written down.

        Raises:
            StoreError: The database cannot be used.
        """
        self.division = await self._listings.division()
        return self.division

    async def chargers(self, partition: int, cloud: Cloud, within_s: float) -> Answer:
        """Return the part of the charger list that a partition serves.

        Raises:
            CloudError: It cannot be read now.
        """
        until_s = self._clock.now().mono_s + within_s
        try:
            body, asked_s = await self._read(CHARGERS, cloud, until_s)
            await self._place(body, asked_s, cloud, until_s)
        except StoreError as error:
            raise _unshared(error) from error
        self._divided(self.division)
        return _answer(
            account_share.chargers_of, body, lambda one: self._serves(partition, one), partition
        )

    async def sites(self, partition: int, cloud: Cloud, within_s: float) -> Answer:
        """Return the part of the list of sites that a partition serves.

        Raises:
            CloudError: It cannot be read now.
        """
        until_s = self._clock.now().mono_s + within_s
        try:
            body, _ = await self._read(SITES, cloud, until_s)
            sites = _sites(body)
            await self._write((), sites)
        except StoreError as error:
            raise _unshared(error) from error
        mine = {one.addressee for one in sites if self._has_configured(one)}
        mine &= {name for name, number in self.division.sites.items() if number == partition}
        return _answer(account_share.sites_of, body, mine.__contains__, partition)

    def _serves(self, partition: int, device: str) -> bool:
        configured = self._configured()
        is_chosen = not configured or device in configured
        return is_chosen and self.division.partition_of(device) == partition

    def _has_configured(self, site: Site) -> bool:
        configured = self._configured()
        return not configured or any(one in configured for one in site.charger_ids)

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
            found = await self._listings.read(shared.name)
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
        except CloudError:
            await self._listings.release(shared.name, asked_ago_s=shared.every_s - RETRY_S)
            raise
        except asyncio.CancelledError:  # its gateway is handed over
            await self._listings.release(shared.name, asked_ago_s=shared.every_s)
            raise
        await self._listings.replace(shared.name, answer.body)
        return answer.body

    # -- the division ---------------------------------------------------------------------------

    async def _place(self, body: bytes, asked_s: float, cloud: Cloud, until_s: float) -> None:
        """Place the chargers of a list that have no place yet."""
        division = await self.load()
        try:
            listed = charger_list(body).charger_ids
        except DecodeError:
            return  # the gateways say so
        new = {*listed, *self._configured()} - division.devices.keys()
        if not new:
            return
        try:
            sites_body, _ = await self._read(SITES, cloud, until_s, since_s=asked_s)
        except CloudRejected as error:
            log.warning("sites.refused", error=str(error))
            sites_body = b"[]"
        except CloudError as error:
            log.warning("chargers.not_placed", count=len(new), error=str(error))
            return
        await self._write(new, _sites(sites_body))

    async def _write(self, devices: Iterable[str], sites: Iterable[Site]) -> None:
        known = self.division
        members = [(one.addressee, (*one.charger_ids, *one.equalizers)) for one in sites]
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


def _sites(body: bytes) -> tuple[Site, ...]:
    try:
        return site_list(body).sites
    except DecodeError as error:
        log.warning("sites.unreadable", error=str(error))
        return ()


def _answer(
    share: Callable[..., bytes], body: bytes, serves: account_share.Serves, partition: int
) -> Answer:
    """Return a part of a list; one that cannot be read is handed on as it is."""
    try:
        return Answer(OK, share(body, serves, keeps_odd=partition == 0))
    except DecodeError:
        return Answer(OK, body)


def _unshared(error: StoreError) -> CloudUnavailable:
    return CloudUnavailable(f"the lists of the account cannot be shared: {error}")
