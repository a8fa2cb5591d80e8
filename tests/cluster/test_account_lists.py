"""One worker reads the account's lists for all, and every partition gets its part."""

import asyncio
import itertools
import json
import random
from dataclasses import dataclass, field

import pytest

from bridge.cluster.account_lists import (
    CHARGERS,
    RETRY_S,
    SITES,
    TOO_LARGE_FOR_S,
    AccountLists,
    Answer,
    PartitionCloud,
)
from bridge.core.easee.rest_requests import CloudRequest, Endpoint
from bridge.core.partitions import Division
from bridge.errors import (
    TOO_LARGE,
    AnswerUnusable,
    CloudRejected,
    CloudUnavailable,
    RateLimited,
    StoreError,
)
from bridge.ports import Listing
from tests.simulation.engine import SimulatedClock, SimulatedLoop, Timeline

PARTITIONS = 4
WITHIN_S = 30.0


@dataclass
class Memory:
    """What workers share: ``bridge.ports.Listings``."""

    clock: object
    sites: dict = field(default_factory=dict)
    devices: dict = field(default_factory=dict)
    lists: dict = field(default_factory=dict)
    asked_s: dict = field(default_factory=dict)
    away: bool = False

    async def division(self, known=None):
        if self.away:
            raise StoreError("away")
        return Division(PARTITIONS, dict(self.sites), dict(self.devices))

    async def place(self, sites, devices):
        self.sites = {**sites, **self.sites}
        self.devices = {**devices, **self.devices}

    async def read(self, name, *, within_s):
        if self.away:
            raise StoreError("away")
        content, at_s = self.lists.get(name, (b"", float("-inf")))
        age_s = self.clock.now().mono_s - at_s
        return Listing(content, age_s) if age_s <= within_s else None

    async def claim(self, name, *, every_s):
        now_s = self.clock.now().mono_s
        if now_s - self.asked_s.get(name, -1e9) < every_s:
            return False
        self.asked_s[name] = now_s
        return True

    async def release(self, name, *, asked_ago_s):
        self.asked_s[name] = self.clock.now().mono_s - asked_ago_s

    async def replace_with(self, name, content):
        self.lists[name] = content, self.clock.now().mono_s

    async def replace(self, name, content):
        self.lists[name] = content, self.asked_s[name]


class Cloud:
    """The account: sites with their chargers."""

    def __init__(self, clock, sites):
        self.clock, self.sites, self.loose = clock, sites, ()
        self.asked, self.fails = [], {}

    async def send(self, request, *, within_s):
        self.asked.append((self.clock.now().mono_s, request.path))
        await self.clock.sleep(0.2)
        if (error := self.fails.get(request.path)) is not None:
            raise error
        if request == CHARGERS.request:
            serials = [one for members in self.sites.values() for one in members]
            body = [{"id": one} for one in (*serials, *self.loose)]
        elif request == SITES.request:
            body = [
                {
                    "id": site,
                    "circuits": [{"id": site, "chargers": [{"id": one} for one in members]}],
                }
                for site, members in self.sites.items()
            ]
        else:
            body = {}
        return Answer(200, json.dumps(body).encode())

    async def token(self, *, rejected=None):
        return "token"

    async def negotiate(self, stream_url, token):
        return b""

    async def close(self):
        self.asked.append("closed")


class Bench:
    """Four partitions of one or several workers, on simulated time."""

    def __init__(self, sites=6, workers=2):
        self.timeline = Timeline()
        self.clock = SimulatedClock(self.timeline, random.Random(1))
        self.shared = Memory(self.clock)
        self.cloud = Cloud(
            self.clock, {n: [f"EH{n:03}{k:03}" for k in range(3)] for n in range(1, sites + 1)}
        )
        self.configured, self.divided = (), []
        self.workers = [
            AccountLists(
                self.shared,
                self.clock,
                configured=lambda: self.configured,
                divided=self.divided.append,
            )
            for _ in range(workers)
        ]
        self.parts = [
            PartitionCloud(number, self.cloud, self.workers[number % workers])
            for number in range(PARTITIONS)
        ]

    def run(self, story):
        """Let a story happen."""
        loop = SimulatedLoop(self.timeline)
        asyncio.set_event_loop(loop)
        try:
            return loop.run(story())
        finally:
            asyncio.set_event_loop(None)

    async def all(self, request=CHARGERS.request):
        """Let every partition ask at once."""
        return await asyncio.gather(
            *(part.send(request, within_s=WITHIN_S) for part in self.parts), return_exceptions=True
        )

    def paths(self):
        """Return what the vendor was asked for."""
        return [path for _, path in self.cloud.asked]


def serials(answers):
    """Return the serials of each answer."""
    return [[one["id"] for one in json.loads(each.body)] for each in answers]


def test_every_charger_is_in_the_list_of_exactly_one_partition():
    """With all of its site; the vendor is asked once for each list."""
    bench = Bench()

    async def story():
        return serials(await bench.all()), serials(await bench.all(SITES.request))

    chargers, sites = bench.run(story)
    everything = [one for members in bench.cloud.sites.values() for one in members]

    assert sorted(one for part in chargers for one in part) == sorted(everything)
    assert sorted(one for part in sites for one in part) == sorted(bench.cloud.sites)
    for part, own in zip(chargers, sites, strict=True):
        assert part == [one for site in own for one in bench.cloud.sites[site]]
    assert bench.paths() == [CHARGERS.request.path, SITES.request.path]
    assert len({one.partition_of("EH001000") for one in bench.divided[-PARTITIONS:]}) == 1


def test_the_vendor_is_asked_for_two_charger_lists_a_minute_at_most():
    """However many partitions want one, and whenever."""
    bench = Bench()

    async def asking(part, pause_s):
        for _ in range(20):
            await part.send(CHARGERS.request, within_s=WITHIN_S)
            await asyncio.sleep(pause_s)

    async def story():
        await asyncio.gather(*(asking(p, 7.0 + n) for n, p in enumerate(bench.parts)))

    bench.run(story)
    asked_s = [at for at, path in bench.cloud.asked if path == CHARGERS.request.path]
    assert len(asked_s) > 4
    assert all(after - before >= 30.0 for before, after in itertools.pairwise(asked_s))


def test_two_lists_a_minute_apart_are_two_lists():
    """Who is missing from three of them has left the account."""
    bench = Bench(workers=1)

    async def story():
        for _ in range(3):
            await bench.all()
            await asyncio.sleep(60)

    bench.run(story)
    assert bench.paths().count(CHARGERS.request.path) == 3


def test_a_charger_is_placed_by_a_list_of_sites_that_is_newer_than_it():
    """An older one does not know its site."""
    bench = Bench()

    async def story():
        await bench.all()
        await asyncio.sleep(40)
        bench.cloud.sites[1].append("EH001009")
        return serials(await bench.all())

    found = bench.run(story)
    (its,) = [part for part in found if "EH001009" in part]

    assert "EH001000" in its
    assert bench.paths().count(SITES.request.path) == 2


def test_a_charger_that_moves_to_another_site_keeps_its_partition():
    """Two partitions must never serve it."""
    bench = Bench()

    async def story():
        before = serials(await bench.all())
        bench.cloud.sites[2].append(bench.cloud.sites[1].pop())
        await asyncio.sleep(700)
        await bench.all(SITES.request)
        return before, serials(await bench.all())

    before, after = bench.run(story)
    assert [sorted(part) for part in before] == [sorted(part) for part in after]


def test_without_a_list_of_sites_new_chargers_wait():
    """They are placed when it can be read; an account that may not read it has chargers alone."""
    bench = Bench()
    bench.cloud.fails[SITES.request.path] = CloudUnavailable("down")

    async def story():
        first = serials(await bench.all())
        await asyncio.sleep(60)
        bench.cloud.fails[SITES.request.path] = CloudRejected("no", status=403, reason="no")
        return first, serials(await bench.all())

    first, second = bench.run(story)
    assert first == [[]] * PARTITIONS
    assert sum(map(len, second)) == 18
    assert bench.shared.devices["EH001000"] == "EH001000"


def test_a_list_that_cannot_be_read_is_an_error_for_all_and_tried_again_soon():
    """Each partition raises its alert; one request is made for all."""
    bench = Bench()
    bench.cloud.fails[CHARGERS.request.path] = CloudUnavailable("down")

    async def story():
        return await bench.parts[0].send(CHARGERS.request, within_s=0.1)

    with pytest.raises(CloudUnavailable, match="down"):
        bench.run(story)

    async def other():
        began_s = bench.clock.now().mono_s
        with pytest.raises(RateLimited) as caught:
            await bench.parts[1].send(CHARGERS.request, within_s=1.0)
        bench.cloud.fails.clear()
        await bench.parts[1].send(CHARGERS.request, within_s=WITHIN_S)
        return caught.value.local, bench.clock.now().mono_s - began_s

    is_local, took_s = bench.run(other)
    assert is_local
    assert took_s <= RETRY_S + 1


def test_a_list_over_the_bound_is_the_same_error_for_all_and_not_requested_again():
    """It would be over the bound again; after a while, or when it has become smaller, it may be."""
    bench = Bench(workers=1)
    bench.cloud.fails[CHARGERS.request.path] = AnswerUnusable(
        "the answer is over 64 MiB", status=200, reason=TOO_LARGE
    )

    async def story():
        refused = await bench.all()
        await asyncio.sleep(TOO_LARGE_FOR_S - 10)
        refused += await bench.all()
        bench.cloud.fails.clear()
        await asyncio.sleep(20)
        return refused, serials(await bench.all())

    refused, found = bench.run(story)
    assert {type(one) for one in refused} == {AnswerUnusable}
    assert bench.paths().count(CHARGERS.request.path) == 2
    assert sum(map(len, found)) == 18


def test_a_part_that_was_not_taken_is_not_given_for_a_newer_list():
    """Its gateway was handed over while it waited."""
    bench = Bench(workers=1)

    async def story():
        gone = asyncio.ensure_future(bench.parts[1].send(CHARGERS.request, within_s=WITHIN_S))  # noqa: TID251 - held here
        other = asyncio.ensure_future(bench.parts[0].send(CHARGERS.request, within_s=WITHIN_S))  # noqa: TID251 - likewise
        await asyncio.sleep(0.1)
        other.cancel()
        await asyncio.gather(gone, other, return_exceptions=True)
        for members in bench.cloud.sites.values():
            members.pop()
        await asyncio.sleep(60)
        return serials(await bench.all())

    assert sum(map(len, bench.run(story))) == 12


def test_a_worker_that_is_told_to_stop_leaves_the_list_to_another():
    """At once: nobody waits for a claim that is given up."""
    bench = Bench()

    async def story():
        task = asyncio.ensure_future(bench.parts[0].send(CHARGERS.request, within_s=WITHIN_S))  # noqa: TID251 - held here
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        began_s = bench.clock.now().mono_s
        await bench.parts[1].send(CHARGERS.request, within_s=WITHIN_S)
        return bench.clock.now().mono_s - began_s

    assert bench.run(story) < 2


def test_without_the_database_there_is_no_list():
    """An error that a gateway knows, and nothing is sent to the vendor."""
    bench = Bench()
    bench.shared.away = True

    async def story():
        return [*await bench.all(), *await bench.all(SITES.request)]

    assert {type(one) for one in bench.run(story)} == {CloudUnavailable}
    assert bench.paths() == []


def test_of_an_account_with_configured_chargers_only_these_are_served():
    """Each by one partition, listed or not; sites without any are left out."""
    bench = Bench()
    bench.configured = ("EH001000", "EH002001", "EH009999")

    async def story():
        found = serials(await bench.all()), serials(await bench.all(SITES.request))
        return (*found, await bench.workers[0].load())

    chargers, sites, division = bench.run(story)
    assert sorted(one for part in chargers for one in part) == ["EH001000", "EH002001"]
    assert sorted(one for part in sites for one in part) == [1, 2]
    assert division.partition_of("EH009999") is not None


def test_what_is_no_list_reaches_the_gateways_as_it_is():
    """They say what came."""
    bench = Bench()

    async def story():
        await bench.shared.replace_with(CHARGERS.name, b"<html>")
        await bench.shared.replace_with(SITES.name, b"<html>")
        return [*await bench.all(), *await bench.all(SITES.request)]

    assert {one.body for one in bench.run(story)} == {b"<html>"}


def test_everything_else_is_the_cloud_itself():
    """Requests, tokens, negotiation and the end."""
    bench = Bench()

    async def story():
        part = bench.parts[2]
        request = CloudRequest("GET", "/api/x", Endpoint.OTHER)
        answer = await part.send(request, within_s=1.0)
        found = answer.body, await part.token(), await part.negotiate("x", "y")
        await part.close()
        return found

    assert bench.run(story) == (b"{}", "token", b"")
    assert bench.cloud.asked[-1] == "closed"
