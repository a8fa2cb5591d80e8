"""Leases on partitions, and the members of a cluster that hold them."""

from typing import Final

import msgspec

# The vendor's partner feed has a lease of its own beside those of the partitions 0 to P - 1.
FEED: Final = -1
# Of a store that one process owns by a file lock: its lease is never taken over.
SOLE_EPOCH: Final = 0


class Lease(msgspec.Struct, frozen=True):
    """The right to be the only owner of a partition for a time.

    Attributes:
        partition: 0 to P - 1, or :data:`FEED`.
        epoch: Grows by one with every take; no two owners of a partition have the same.
        asked_at_s: Monotonic seconds of this process, read before the request that took or renewed
            it was sent. The database counts the time to live from a later moment.
    """

    partition: int
    epoch: int
    asked_at_s: float


class MemberStatus(msgspec.Struct, frozen=True):
    """What a member says of itself with every renewal.

    Attributes:
        broker_up: It has a connection to the broker, or had no reason to make one.
        cloud_up: Likewise to the vendor's cloud.
        draining: It hands over what it holds and takes nothing.
    """

    broker_up: bool = True
    cloud_up: bool = True
    draining: bool = False


class Member(msgspec.Struct, frozen=True):
    """A worker as the others see it.

    Attributes:
        name: ``cluster.worker``, unique; by default host name and process id.
        seen_ago_s: Seconds since its last renewal, by the database's clock.
        version: Of its program.
        status: What it said with its last renewal.
        leave_asked: An operator asks it to hand everything over and end.
    """

    name: str
    seen_ago_s: float
    version: str
    status: MemberStatus
    leave_asked: bool = False


class HeldLease(msgspec.Struct, frozen=True):
    """A row of the table of leases, held or not.

    Attributes:
        partition: 0 to P - 1, or :data:`FEED`.
        owner: Name of the member that took it last, or None after it was given up.
        epoch: Of the last take; 0 before the first.
        left_s: Seconds until it ends, by the database's clock; below zero: since it ended.
    """

    partition: int
    owner: str | None
    epoch: int
    left_s: float


class ClusterView(msgspec.Struct, frozen=True):
    """Members and leases at one moment.

    Attributes:
        members: By name; those not seen for 10 minutes are left out.
        leases: One for each partition, by number.
    """

    members: tuple[Member, ...]
    leases: tuple[HeldLease, ...]


class Owed(msgspec.Struct, frozen=True):
    """What is not finished in a partition.

    Attributes:
        reports: Session reports that are not delivered.
        commands: Commands without a final result.
    """

    reports: int = 0
    commands: int = 0
