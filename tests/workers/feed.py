"""``python -m tests.workers.feed FAULT=COUNT …``: the partner feed of two workers through faults.

``make soak-feed`` is the long form; the short one is in ``test_feed.py``. Faults: ``kill`` and
``stop`` hit the worker that owns the partition and reads the feed (see :mod:`tests.workers.runs`);
``server`` kills the RabbitMQ, ``freeze`` stops it for some seconds, ``broker`` does that with the
mosquitto. Each value that the cloud sends is one of its kind, so that each must be seen.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.records import PLAIN
from bridge.adapters.amqp.partition_queues import queue_of
from bridge.core.easee.observation_spec import DataType
from tests.rabbitmq import QUEUE, rabbitmq
from tests.workers import runs
from tests.workers.runs import Subscriber
from tests.workers.site import Site, installed

WATCHED = ("charger/+/observation/+", "charger/+/session/report")
WORKERS = ("a", "b")
FROZEN_S = 6.0
# Between two values, and between two sessions.
EVERY_S, SESSION_EVERY_S = 0.02, 1.0
SETTLE_S = 3.0
ALL_SEEN_WITHIN_S = 120.0
NUMBERS = tuple(spec for spec in PLAIN if spec.kind is DataType.DOUBLE)
NAMES_SENT = frozenset(spec.name for spec in NUMBERS)


@dataclass
class Story:
    """What was sent and what was seen.

    Attributes:
        sent: By serial and name of an observation: the numbers it had, in order.
        sessions: Keys of the sessions that ended.
        faults: Name, begin and end of each, and what shows that it fired.
        partitions: Of each device, where they are divided.
    """

    sent: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    sessions: list[str] = field(default_factory=list)
    faults: list[tuple[str, float, float, str]] = field(default_factory=list)
    seen: list[tuple[float, str, bytes]] = field(default_factory=list)
    partitions: dict[str, int] = field(default_factory=dict)

    @property
    def values(self) -> int:
        """Return how many values were sent."""
        return sum(len(each) for each in self.sent.values())

    def lost(self) -> list[tuple[str, str, float]]:
        """Return the values that were never seen, nor a newer one of their topic behind them."""
        newest = {topic: value for _, topic, value, _ in self._documents()}
        return [
            (serial, name, number)
            for (serial, name), numbers in self.sent.items()
            for number in numbers
            if newest.get(f"charger/{serial}/observation/{name}", 0) < number
        ]

    def overtaken(self) -> int:
        """Return how many values were not seen because a newer one took their place."""
        seen = {(topic, value) for _, topic, value, _ in self._documents()}
        sent = (
            (f"charger/{serial}/observation/{name}", number)
            for (serial, name), numbers in self.sent.items()
            for number in numbers
        )
        return sum(each not in seen for each in sent) - len(self.lost())

    def went_back(self) -> list[str]:
        """Return the topics on which a later message was measured earlier."""
        newest: dict[str, str] = {}
        found = []
        for _, topic, _, measured_at in self._documents():
            if measured_at < newest.get(topic, ""):
                found.append(f"{topic}: {newest[topic]}, then {measured_at}")
            newest[topic] = measured_at
        return found

    def lost_sessions(self) -> list[str]:
        """Return the sessions without a report."""
        reports = [p for _, topic, p in self.seen if topic.endswith("/session/report")]
        seen = {json.loads(payload)["key"] for payload in reports}
        return [key for key in self.sessions if key not in seen]

    def silences(self) -> list[tuple[str, float, float]]:
        """Return the longest silence from each fault on, and the rest of it after its end.

        A value that is published again, as what was read back is, ends no silence.
        """
        newest: dict[str, str] = {}
        at = []
        for seen_at, topic, _, measured_at in self._documents():
            if measured_at > newest.get(topic, ""):
                newest[topic] = measured_at
                at.append(seen_at)
        found = []
        ends = [*(begun for _, begun, _, _ in self.faults[1:]), float("inf")]
        for (name, begun, ended, _), until in zip(self.faults, ends, strict=True):
            times = [begun, *(t for t in at if begun <= t <= until)]
            gap = max(later - sooner for sooner, later in itertools.pairwise(times))
            first = next((t for t in times if t > ended), ended)
            found.append((name, gap, first - ended))
        return found

    def _documents(self) -> list[tuple[float, str, float, str]]:
        found = []
        for at, topic, payload in self.seen:
            if topic.rpartition("/")[2] in NAMES_SENT and "/observation/" in topic and payload:
                document = json.loads(payload)
                found.append((at, topic, document["value"], document["measured_at"]))
        return found


async def worker(site: Site, fault: str) -> str:
    """Kill or freeze an owner; return how it ended."""
    processes = {name: one.process for name, one in site.workers.items()}
    await runs.FAULTS[fault](site)
    name = next(e.fields["worker"] for e in reversed(site.events) if e.kind == "fault")
    return f"worker {name} ended with {processes[name].returncode}"


async def server(site: Site, _fault: str) -> str:
    """Kill the RabbitMQ and start it again."""
    feed = site.feed
    assert feed is not None
    assert feed.process is not None
    process = feed.process
    await asyncio.to_thread(feed.kill)
    await asyncio.to_thread(feed.start)
    return f"RabbitMQ ended with {process.returncode}"


async def freeze(site: Site, _fault: str) -> str:
    """Stop the RabbitMQ for some seconds: longer than two heartbeats."""
    feed = site.feed
    assert feed is not None
    owner = site.workers[await site.owner()]
    before = _lost(owner.lines)
    feed.signal(signal.SIGSTOP)
    await asyncio.sleep(FROZEN_S)
    feed.signal(signal.SIGCONT)
    return f"{_lost(owner.lines) - before} losses noticed"


async def broker(site: Site, _fault: str) -> str:
    """Stop the mosquitto for some seconds."""
    site.broker.freeze()
    await asyncio.sleep(FROZEN_S)
    site.broker.thaw()
    return "stopped"


def _lost(lines: Sequence[dict[str, object]]) -> int:
    return sum(line.get("event") == "stream.lost" for line in lines)


FAULTS: dict[str, Callable[[Site, str], Awaitable[str]]] = {
    "kill": worker, "stop": worker, "term": worker,
    "server": server, "freeze": freeze, "broker": broker,
}  # fmt: skip


async def _values(site: Site, story: Story, ended: asyncio.Event) -> None:
    """Let every charger measure everything in turn; each number is sent once."""
    places = itertools.cycle([(serial, spec) for spec in NUMBERS for serial in site.serials])
    sessions_at, serials = time.monotonic(), itertools.cycle(site.serials)  # noqa: TID251 - as above
    for number in itertools.count(1):
        if ended.is_set():
            return
        serial, spec = next(places)
        site.cloud.push(serial, spec.id, number / 4)
        story.sent.setdefault((serial, spec.name), []).append(number / 4)
        if time.monotonic() >= sessions_at:  # noqa: TID251 - as above
            sessions_at += SESSION_EVERY_S
            site.finish_session(next(serials))
        await asyncio.sleep(EVERY_S)


async def told(
    folder: Path, faults: Sequence[str], *, chargers: int = 8, partitions: int = 1
) -> Story:
    """Run an installation with a feed through faults; return what was sent and seen.

    With several partitions the RabbitMQ is the vendor's and our own at the same time.
    """
    story = Story()
    data = folder / "rabbitmq"
    data.mkdir()
    with rabbitmq(data) as feed:
        sites = 1 if partitions == 1 else -(-chargers // 3)
        async with installed(
            folder, chargers=chargers, sites=sites, partitions=partitions, feed=feed
        ) as site:
            for name in WORKERS:
                await site.start(name)
            for name in WORKERS:
                await site.member(name)
            for partition in range(partitions):
                await site.owner(partition)
            watching = Subscriber(site.broker.port, *WATCHED)
            ended = asyncio.Event()
            try:
                await _consumed(site)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_values(site, story, ended))
                    for fault in faults:
                        await asyncio.sleep(SETTLE_S)
                        begun = time.time()  # noqa: TID251 - the judges' own clock
                        fired = await FAULTS[fault](site, fault)
                        over = time.time()  # noqa: TID251 - the judges' own clock
                        story.faults.append((fault, begun, over, fired))
                        sys.stderr.write(f"{fault}: {fired}\n")
                        await _consumed(site)
                    await asyncio.sleep(SETTLE_S)
                    ended.set()
                story.partitions = await site.divided()
                story.sessions = [e.fields["key"] for e in site.events if e.kind == "session"]
                story.seen = watching.seen
                async with asyncio.timeout(ALL_SEEN_WITHIN_S):
                    while story.lost() or story.lost_sessions():  # noqa: ASYNC110 - another thread's
                        await asyncio.sleep(1)
            except TimeoutError:
                pass  # what is missing is found by who asks
            finally:
                watching.close()
    return story


async def _consumed(site: Site) -> None:
    """Wait until one worker consumes, and no other; and from the queue of each partition, too."""
    feed = site.feed
    assert feed is not None
    async with asyncio.timeout(ALL_SEEN_WITHIN_S):
        while (count := await asyncio.to_thread(feed.consumers)) != 1:
            if count > 1 and site.partitions == 1:
                raise AssertionError(f"{count} consumers of {QUEUE}")
            await asyncio.sleep(0.2)
        for partition in range(site.partitions if site.partitions > 1 else 0):
            queue = queue_of("charger-bridge", partition)
            while not await asyncio.to_thread(feed.consumers, queue):  # noqa: ASYNC110 - a server's
                await asyncio.sleep(0.2)


def summary(story: Story) -> str:
    """Say what happened, in a line each."""
    values = f"{story.values} values sent, {len(story.lost())} lost, {story.overtaken()} overtaken"
    sessions = f"{len(story.sessions)} sessions, {len(story.lost_sessions())} lost"
    lines = [f"{values}, {len(story.went_back())} went back; {sessions}"]
    for (name, gap, rest), (*_, fired) in zip(story.silences(), story.faults, strict=True):
        lines.append(f"{name}: silence {gap:.1f} s, {rest:.1f} s after its end ({fired})")
    return "\n".join(lines)


def main() -> int:
    """Run as many faults as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="+", metavar="FAULT=COUNT")
    parser.add_argument("--chargers", type=int, default=20)
    parser.add_argument("--partitions", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        story = asyncio.run(
            told(
                Path(folder),
                runs.repeated(arguments.faults),
                chargers=arguments.chargers,
                partitions=arguments.partitions,
            )
        )
    sys.stdout.write(f"{summary(story)}\n")
    for text in story.went_back()[:10]:
        sys.stdout.write(f"went back: {text}\n")
    return 1 if story.lost() or story.went_back() or story.lost_sessions() else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
