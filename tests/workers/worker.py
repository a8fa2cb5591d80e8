"""``python -m tests.workers.worker NAME MISTAKE ARGUMENTS``: the program, marked, for the judges.

The vendor's side sees the name as the user agent, the database as the name of the application. The
request budget is lifted: it is another test's subject. A mistake is a rule that is left out; with
``none`` the program is as it is.
"""

import asyncio
import sys

from bridge.__main__ import main
from bridge.adapters.easee import http_client
from bridge.adapters.mqtt.client import MqttClient
from bridge.adapters.store.postgres import allowance, connection, fence, leases
from bridge.cluster.partition import Partition
from bridge.cluster.supervisor import Supervisor
from bridge.core import partitions
from bridge.core.easee import rate_limits

# Longer than a lease of 3 s lasts after its last renewal.
SLOW_S = 3.7


def no_fence() -> None:
    """Write whatever the epoch of the lease is, as a worker that stood still would."""
    fence._FENCED = fence._FENCED.replace("epoch = $2", "$2::bigint IS NOT NULL")
    _believing_on()


def believed_too_long() -> None:
    """Believe in a lease for a minute longer than the database grants it.

    The way of a command to the cloud takes longer than the lease of the run lasts, so that the last
    ones that are on disk outlive it.
    """
    partitions.margin_s = lambda _ttl_s: -60.0  # type: ignore[assignment]
    send = http_client.HttpClient.send

    async def slow(self, method, base, path, **options):  # type: ignore[no-untyped-def]
        if "/commands/" in path:
            await asyncio.sleep(SLOW_S)
        return await send(self, method, base, path, **options)

    http_client.HttpClient.send = slow  # type: ignore[method-assign]


def no_epoch() -> None:
    """Renew a lease of any epoch and owner."""
    leases._RENEW = leases._RENEW.replace(
        "AND lease.epoch = held.epoch AND lease.owner = $1", "AND $1 = $1"
    )


def _believing_on() -> None:
    """Serve on, whatever the table of leases says: only the fence is left."""
    Partition.is_clear = lambda _self: True  # type: ignore[method-assign]
    Supervisor._lost = lambda _self, _lease: None  # type: ignore[method-assign]
    Supervisor.left_s = lambda _self, _partition: 3.0  # type: ignore[method-assign]
    MqttClient._is_admitted = _admitted  # type: ignore[method-assign]


async def _admitted(self: MqttClient) -> bool:
    await asyncio.sleep(0)
    return not self._closing


def as_it_is() -> None:
    """Leave nothing out."""


MISTAKES = {
    "none": as_it_is,
    "no_fence": no_fence,
    "believed_too_long": believed_too_long,
    "no_epoch": no_epoch,
}

if __name__ == "__main__":
    _, name, mistake, *arguments = sys.argv
    http_client.HEADERS["User-Agent"] = name
    connection._SESSION["application_name"] = name
    rate_limits.GLOBAL_LIMIT = allowance.GLOBAL_LIMIT = rate_limits.Limit(1_000_000, 300.0)
    MISTAKES[mistake]()
    sys.argv[1:] = arguments
    main()
