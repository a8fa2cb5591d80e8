"""Decides which worker serves which partition: partitions of sites, shares, leases.

A partition is what one gateway serves. A worker serves a partition while it has its lease, a row of
the database with an owner, an epoch and a time until which it holds.

Rules:

1. The database's clock alone ends a lease. A worker believes in its lease for less than that: from
   the moment *before* it asked, on its monotonic clock, for the TTL less a margin. The margin is a
   tenth of the TTL, so a worker whose clock is up to ten percent slow stops in time.
2. A lease belongs to an owner and an epoch. Every take raises the epoch; a renewal that does not
   find its own epoch is refused, and what was believed is void. A lease that ran out and that
   nobody took is renewed as it was.
3. Members get equal shares, up to one partition. A member takes what is free up to its own share;
   where they do not divide evenly, the first by name have one more, whatever the order in which
   members look. The owner of what ran out has no share. What stayed free for :data:`UNTAKEN_S`
   anybody takes.
4. A member gives back what is more than its share, and only while another has less than its own.
   So a join or leave moves at most ``ceil(partitions / members)`` partitions, and none twice. What
   is being handed over counts as given back already, however long that takes.
5. All chargers of a site have one partition, because a circuit's limit concerns all of them. It is
   computed once from the site's id and stored; a site that is stored keeps its partition.
6. A device is placed at the site that the account lists it at, or at one of its own, once and for
   all: it never has two partitions, not even while it moves. So a device is placed only by a list
   of sites that was read after the device was seen.
"""

import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

import msgspec

from bridge.core.records.lease import HeldLease, Lease

# Stands for the gateway that speaks for all partitions, beside their numbers.
SPEAKER = -2
RENEW_EVERY_S = 1.0
# Between a request and its commit, and for timers that come late.
MIN_MARGIN_S = 0.3
# Clocks differ by this share at most.
MAX_DRIFT = 0.1
UNTAKEN_S = 1.0
# A broker or an internet connection that restarts is back sooner.
GIVE_BACK_AFTER_S = 15.0
# An owner needs three renewals to lose a lease by.
MIN_TTL_S = 3.0
HASH_BYTES = 8


def partition_of(site: str, partitions: int) -> int:
    """Return the partition of a site: the same on every machine and in every version."""
    return int.from_bytes(sha256(site.encode()).digest()[:HASH_BYTES], "big") % partitions


def assigned(
    sites: Mapping[str, str], stored: Mapping[str, int], partitions: int
) -> dict[str, int]:
    """Return the partitions of sites that have none yet.

    Args:
        sites: Site by charger.
        stored: Partition by site, as it was written once.
        partitions: How many there are.
    """
    return {
        site: partition_of(site, partitions)
        for site in sorted(set(sites.values()))
        if site not in stored
    }


class Division(msgspec.Struct, frozen=True):
    """Which partition serves what: the same for all workers, as it was written once.

    Attributes:
        partitions: How many there are.
        sites: Partition of each site.
        devices: Site of each charger and Equalizer.
    """

    partitions: int = 1
    sites: Mapping[str, int] = msgspec.field(default_factory=dict)
    devices: Mapping[str, str] = msgspec.field(default_factory=dict)

    def partition_of(self, device: str) -> int | None:
        """Return the partition of a charger or an Equalizer; None before it is placed."""
        return self.sites.get(self.devices.get(device, ""))

    def devices_of(self, partition: int) -> frozenset[str]:
        """Return the chargers and Equalizers of a partition."""
        return frozenset(
            one for one, site in self.devices.items() if self.sites.get(site) == partition
        )


def placed(
    devices: Iterable[str], sites: Iterable[tuple[str, Iterable[str]]], known: Mapping[str, str]
) -> dict[str, str]:
    """Return the sites of devices that have none yet.

    Args:
        devices: Chargers and Equalizers that are listed or configured.
        sites: Names of the account's sites with their devices; a device belongs to the first one.
        known: Site by device, as it was written once.
    """
    listed: dict[str, str] = {}
    for site, members in sites:
        for device in members:
            listed.setdefault(device, site)
    wanted = sorted({*devices, *listed} - known.keys())
    return {device: listed.get(device, device) for device in wanted}


# -- leases ---------------------------------------------------------------------------------------


def margin_s(ttl_s: float) -> float:
    """Return by how much sooner than the database a worker stops believing in a lease."""
    return max(MIN_MARGIN_S, ttl_s * MAX_DRIFT)


class Holdings:
    """The leases that one worker has, and for how long it believes in each.

    Args:
        ttl_s: For so long the database grants a lease.
    """

    def __init__(self, ttl_s: float) -> None:
        self._believed_s = ttl_s - margin_s(ttl_s)
        self._leases: dict[int, Lease] = {}

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Return all that were granted and neither lost nor given back, holding or not."""
        return tuple(self._leases.values())

    def left_s(self, partition: int, mono_s: float) -> float:
        """Return for how long a lease holds; not positive once it does not."""
        lease = self._leases.get(partition)
        return -math.inf if lease is None else lease.asked_at_s + self._believed_s - mono_s

    def granted(self, lease: Lease) -> None:
        """Record what a take granted."""
        self._leases[lease.partition] = lease

    def renewed(self, asked: Iterable[Lease], renewed: Iterable[Lease]) -> tuple[Lease, ...]:
        """Record the answer to a renewal.

        Args:
            asked: The leases that it named.
            renewed: Those of them that this worker still has.

        Returns:
            The leases that are lost: another worker took them.
        """
        still = {each.partition: each for each in renewed}
        lost = []
        for lease in asked:
            current = self._leases.get(lease.partition)
            if current is None or current.epoch != lease.epoch:
                continue  # given back meanwhile
            found = still.get(lease.partition)
            if found is None or found.epoch != lease.epoch:
                lost.append(self._leases.pop(lease.partition))
            else:
                self._leases[lease.partition] = found
        return tuple(lost)

    def give_back(self, partition: int) -> Lease | None:
        """Stop believing in a lease, and return it."""
        return self._leases.pop(partition, None)


# -- shares ---------------------------------------------------------------------------------------


class Balance(msgspec.Struct, frozen=True):
    """What a member does about its share.

    Attributes:
        take: Free partitions to ask for, in this order; another may be faster.
        give_back: Partitions to hand over.
    """

    take: tuple[int, ...] = ()
    give_back: tuple[int, ...] = ()


def is_free(lease: HeldLease) -> bool:
    """Return whether a lease may be taken."""
    return lease.left_s <= 0 or not lease.owner


def shares(members: Iterable[str], leases: Sequence[HeldLease]) -> dict[str, int]:
    """Return how many partitions each member is to have.

    Where they do not divide evenly, those that have the most now get the extra one, so that
    nothing moves without need.
    """
    names = sorted(set(members))
    if not names:
        return {}
    least, extra = divmod(len(leases), len(names))
    have = Counter(each.owner for each in leases if not is_free(each))
    most_first = sorted(names, key=lambda name: (-have[name], name))
    return {name: least + (rank < extra) for rank, name in enumerate(most_first)}


def balance(
    me: str,
    members: Iterable[str],
    leases: Sequence[HeldLease],
    *,
    leaving: bool = False,
    handing: Container[int] = (),
) -> Balance:
    """Return what a member takes and gives back.

    Args:
        me: Its name.
        members: The members that live and stay, with or without itself.
        leases: All of them.
        leaving: It hands everything over and takes nothing.
        handing: Partitions that it is handing over.
    """
    mine = sorted(
        (each.partition for each in leases if each.owner == me and not is_free(each)),
        key=lambda number: (number in handing, number),
    )
    if leaving:
        return Balance(give_back=tuple(mine))
    free = sorted((each for each in leases if is_free(each)), key=lambda each: each.partition)
    if free:
        return Balance(tuple(_taken(free, len(mine), _share_of_free(me, members, leases))))
    wanted = shares({*members, me}, leases)
    have = Counter(each.owner for each in leases)
    if any(have[name] < share for name, share in wanted.items()):
        return Balance(give_back=tuple(mine[wanted[me] :]))
    return Balance()


def _share_of_free(me: str, members: Iterable[str], leases: Sequence[HeldLease]) -> int:
    """Return how many partitions a member has when it took what is free.

    The others take at the same moment, and may not be seen: no order by what they have by now.
    """
    have = Counter(each.owner for each in leases if not is_free(each))
    gone = {each.owner for each in leases if is_free(each)} - have.keys()
    names = {*members, me} - (gone - {me})
    least, extra = divmod(len(leases), len(names))
    extra -= sum(have[name] > least for name in names)
    first = sorted(name for name in names if have[name] <= least)[: max(0, extra)]
    return least + (me in first)


def _taken(free: Sequence[HeldLease], have: int, share: int) -> Iterator[int]:
    """Yield the free partitions that a member takes which has some already."""
    for each in free:
        if have < share or each.left_s <= -UNTAKEN_S:
            have += 1
            yield each.partition


def is_given_back(*, is_up: bool, down_for_s: float, others_up: Iterable[bool]) -> bool:
    """Return whether a member gives everything back because it cannot serve it.

    Args:
        is_up: It reaches broker and vendor.
        down_for_s: Otherwise, for how long it has not.
        others_up: What the other members that live say of themselves.
    """
    return not is_up and down_for_s >= GIVE_BACK_AFTER_S and any(others_up)
