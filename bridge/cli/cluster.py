"""``charger-bridge cluster status`` and ``cluster drain``: members, leases, and what is owed.

Both ask the database and work on any machine that has the configuration.
"""

import argparse
import asyncio
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import asdict

from bridge.adapters.clock import SystemClock
from bridge.adapters.store.backends import cluster_of
from bridge.core.partitions import Division, is_free
from bridge.core.records.lease import ClusterView, HeldLease, Member, Owed
from bridge.errors import ConfigError, StoreError
from bridge.ports import Clock, ClusterBackend
from bridge.settings import Settings

NOT_A_CLUSTER = "store.url: not set; without it there is one process and no cluster"
POLL_S = 0.2
# A hand-over finishes requests for 5 s, then publishes and disconnects.
DRAINED_WITHIN_S = 20.0
NONE_OWED = Owed()


def add_arguments(
    parser: argparse.ArgumentParser, config_option: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    status = commands.add_parser("status", help="show members, leases and what is owed")
    status.add_argument("--json", action="store_true", help="as one JSON object")
    status.set_defaults(cluster_run=show)
    drained = commands.add_parser("drain", help="have a worker hand everything over and end")
    drained.add_argument(
        "--worker", metavar="NAME", help="which one (default: the one of this machine)"
    )
    drained.set_defaults(cluster_run=drain)
    for each in (status, drained):
        config_option(each)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Run the subcommand and return the exit status.

    Raises:
        ConfigError: There is no cluster.
        StoreError: The database cannot be used, or a worker did not hand over.
    """
    if settings.store.url is None:
        raise ConfigError((NOT_A_CLUSTER,))
    return int(asyncio.run(_run(settings, arguments)))


async def _run(settings: Settings, arguments: argparse.Namespace) -> int:
    clock = SystemClock()
    cluster = cluster_of(settings, clock)
    try:
        text = await arguments.cluster_run(settings, cluster, clock, arguments)
    finally:
        await cluster.close()
    sys.stdout.write(text)
    return 0


# -- status ---------------------------------------------------------------------------------------


async def show(
    settings: Settings, cluster: ClusterBackend, _clock: Clock, arguments: argparse.Namespace
) -> str:
    """Return the members, the leases and what is owed, for people or as JSON."""
    view, owed = await cluster.leases.view(), await cluster.owed()
    ttl_s = float(settings.cluster.lease_ttl_s)
    listings = cluster.listings() if settings.cluster.is_divided else None
    division = None if listings is None else await listings.division()
    show_as = as_json if arguments.json else as_tables
    return show_as(view, owed, ttl_s, division)


def as_json(
    view: ClusterView, owed: Mapping[int, Owed], ttl_s: float, division: Division | None = None
) -> str:
    """Return one JSON object with ``members`` and ``partitions``."""
    document = {
        "members": [
            {
                "worker": each.name,
                "version": each.version,
                "seen_ago_s": round(each.seen_ago_s, 1),
                "alive": each.seen_ago_s < ttl_s,
                **asdict(each.status),
                "partitions": _partitions_of(each, view),
            }
            for each in view.members
        ],
        "partitions": [
            {
                "partition": each.partition,
                "owner": None if is_free(each) else each.owner,
                "epoch": each.epoch,
                "left_s": round(each.left_s, 1),
                "reports_owed": owed.get(each.partition, NONE_OWED).reports,
                "commands_open": owed.get(each.partition, NONE_OWED).commands,
                **({} if division is None else {"devices": _devices(each, division)}),
            }
            for each in view.leases
        ],
    }
    return msgspec.json.encode(document).decode() + "\n"


def as_tables(
    view: ClusterView, owed: Mapping[int, Owed], ttl_s: float, division: Division | None = None
) -> str:
    """Return two tables for people."""
    members = [
        (
            each.name,
            each.version,
            f"{each.seen_ago_s:.1f} s ago",
            "up" if each.status.broker_up else "down",
            "up" if each.status.cloud_up else "down",
            _state(each, view, ttl_s),
        )
        for each in view.members
    ]
    leases = [
        (
            f"{each.partition:02}",
            "-" if is_free(each) else str(each.owner),
            str(each.epoch),
            _age(each),
            str(owed.get(each.partition, NONE_OWED).reports),
            str(owed.get(each.partition, NONE_OWED).commands),
            *(() if division is None else (str(_devices(each, division)),)),
        )
        for each in view.leases
    ]
    head = ("partition", "owner", "epoch", "lease", "reports owed", "commands")
    return "\n".join(
        [
            *_table(("worker", "version", "seen", "broker", "cloud", "state"), members),
            "",
            *_table(head if division is None else (*head, "devices"), leases),
            "",
        ]
    )


def _devices(lease: HeldLease, division: Division) -> int:
    """Return how many chargers and Equalizers were given to a partition."""
    return len(division.devices_of(lease.partition))


def _partitions_of(member: Member, view: ClusterView) -> list[int]:
    return [e.partition for e in view.leases if e.owner == member.name and not is_free(e)]


def _state(member: Member, view: ClusterView, ttl_s: float) -> str:
    if member.seen_ago_s >= ttl_s:
        return "gone"
    if member.status.draining:
        return "draining"
    return "serving" if _partitions_of(member, view) else "standing by"


def _age(lease: HeldLease) -> str:
    if lease.epoch == 0:
        return "never taken"
    return f"free for {-lease.left_s:.0f} s" if is_free(lease) else f"{lease.left_s:.1f} s left"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


# -- drain ----------------------------------------------------------------------------------------


async def drain(
    settings: Settings, cluster: ClusterBackend, clock: Clock, arguments: argparse.Namespace
) -> str:
    """Have a worker hand over and end; return who serves its partitions now.

    Raises:
        StoreError: It did not hand over in time, or it is not clear which one is meant.
    """
    ttl_s = float(settings.cluster.lease_ttl_s)
    view = await cluster.leases.view()
    alive = [each.name for each in view.members if each.seen_ago_s < ttl_s]
    name = _meant(arguments.worker or settings.cluster.worker, alive)
    had = [each.partition for each in view.leases if each.owner == name and not is_free(each)]
    await cluster.leases.ask_to_leave(name)
    until_s = clock.now().mono_s + DRAINED_WITHIN_S
    while any(each.name == name for each in view.members):
        if clock.now().mono_s >= until_s:
            raise StoreError(
                f"{name} did not hand over within {DRAINED_WITHIN_S:.0f} s",
                hint="look at its log; SIGTERM does the same on its machine",
            )
        await clock.sleep(POLL_S)
        view = await cluster.leases.view()
    lines = [f"{name} handed over and ended\n"]
    for each in view.leases:
        if each.partition in had:
            owner = "nobody yet" if is_free(each) else each.owner
            lines.append(f"partition {each.partition:02}: {owner}\n")
    return "".join(lines)


def _meant(name: str | None, alive: Sequence[str]) -> str:
    """Return the worker that is meant: by name, or the one of this machine.

    Raises:
        StoreError: There is none, or several.
    """
    here = f"{socket.gethostname()}-"
    found = [each for each in alive if (each == name if name else each.startswith(here))]
    if len(found) == 1:
        return found[0]
    what = (
        f"{name} is no worker that lives" if name else f"{len(found)} workers are of this machine"
    )
    raise StoreError(what, hint=f"name one by --worker: {', '.join(alive) or 'none lives'}")
