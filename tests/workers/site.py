"""A whole installation with real processes: PostgreSQL, mosquitto, a simulated cloud, workers.

Everything that happens is written down as :class:`~tests.workers.history.Event` by those that see
it: the callers of commands, a subscriber of the broker, the cloud, and the database.
"""

import asyncio
import contextlib
import gc
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import yaml

from benchmarks.records import PLAIN
from benchmarks.stage import PROCESS_CPU_CLOCK, memory_kib
from bridge.adapters.store.postgres.connection import SCHEMA, Connection
from bridge.adapters.store.postgres.schema import migrate
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from bridge.simulator.simulator import Simulator
from tests.mosquitto import Mosquitto, outsider
from tests.ports import unused_port
from tests.postgres import Server
from tests.proxy import Proxy, proxied
from tests.rabbitmq import RabbitMq
from tests.workers.history import Event

ROOT = Path(__file__).resolve().parents[2]
WATCHED = ("charger/+/result/+", "charger/bridge/state", "charger/+/session/report",
           "charger/+/availability", "charger/+/state/total_power")  # fmt: skip
POWER = 120
# In a network of its own a worker is known by its group, and its connections by a mark.
GROUPS = {name: 20001 + number for number, name in enumerate("abcde")}
STRANGER = "EH999999"
STRANGER_EVERY = 10
COMMAND = "dynamic_charger_current"
PATH = "/commands/set_dynamic_charger_current"
TTL_S = 20
# What commands, sessions and the judge need.
NEEDED = frozenset({47, 48, 96, 109, POWER, 121, 124, 128, 129, 250})
# A burst for many chargers is not to be dropped, neither for the workers nor for the judge.
UNLIMITED = ("max_inflight_messages 1000", "max_queued_messages 0")
# The start of a worker on a machine that is busy with everything else, and for each charger.
WITHIN_S = 180.0
WITHIN_OF_ONE_S = 0.15
POLL_S = 0.02
# What the database writes down by itself. The clock is that of this machine, as everywhere here.
TRIGGERS = """
CREATE SCHEMA IF NOT EXISTS judge;
CREATE TABLE judge.log (
    at timestamptz NOT NULL, application text NOT NULL, kind text NOT NULL,
    partition integer NOT NULL, owner text, epoch bigint
);
CREATE FUNCTION judge.leased() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO judge.log VALUES (clock_timestamp(), current_setting('application_name'),
        CASE WHEN NEW.epoch <> OLD.epoch THEN 'take' WHEN NEW.owner IS NULL THEN 'give_up'
        ELSE 'renew' END, NEW.partition, NEW.owner, NEW.epoch);
    RETURN NULL;
END $$;
CREATE FUNCTION judge.written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO judge.log VALUES (clock_timestamp(), current_setting('application_name'),
        'write', NEW.partition, NULL, NULL);
    RETURN NULL;
END $$;
CREATE TRIGGER judge AFTER UPDATE ON lease FOR EACH ROW EXECUTE FUNCTION judge.leased();
CREATE TRIGGER judge AFTER INSERT OR UPDATE ON command
    FOR EACH ROW EXECUTE FUNCTION judge.written();
CREATE TRIGGER judge AFTER INSERT OR UPDATE ON report
    FOR EACH ROW EXECUTE FUNCTION judge.written();
"""


@dataclass
class Worker:
    """One worker process."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    def signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.process.returncode is None:
            self.process.send_signal(number)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Return what it logged."""
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found


@dataclass
class Site:
    """The installation.

    Attributes:
        folder: Where everything is.
        partitions: Of the cluster.
        chargers: How many the cloud has.
        ttl_s: Of a lease.
        feed: What the workers read values from; None: the hub.
        watching: What a subscriber sees, if a takeover is over only when every charger that was
            taken over has a value again.
    """

    folder: Path
    database: Server
    broker: Mosquitto
    cloud: Simulator
    db: Any
    partitions: int = 1
    ttl_s: int = 4
    mistake: str = "none"
    own_network: bool = False
    feed: RabbitMq | None = None
    watching: list[tuple[float, str, bytes]] | None = None
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    proxies: dict[str, Proxy] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    _numbers: dict[str, int] = field(default_factory=dict)
    _used_s: dict[str, float] = field(default_factory=dict)

    @property
    def within_s(self) -> float:
        """Return how long anything may take."""
        return WITHIN_S + WITHIN_OF_ONE_S * self.cloud.scenario.chargers

    @property
    def serials(self) -> list[str]:
        """Return the chargers."""
        return [f"EH{number:06}" for number in range(1, self.cloud.scenario.chargers + 1)]

    # -- workers -----------------------------------------------------------------------------

    def _config(self, name: str) -> Path:
        proxy = self.proxies.get(name)
        port = proxy.port if proxy else self.database.port
        document = {
            "easee": {
                "username": "someone@example.com",
                "api_url": self.cloud.api_url,
                "stream_url": self.cloud.stream_url,
            },
            "mqtt": {"host": "127.0.0.1", "port": self.broker.port, "keepalive_s": 5},
            "commands": {"allow": ["control", "access", "current"], "ttl_s": TTL_S},
            "publish": {"require_subscriber": False},
            "store": {"url": f"postgresql://bridge@127.0.0.1:{port}/postgres"},
            "state_dir": str(self.folder / name),
            "cluster": {"worker": name, "partitions": self.partitions, "lease_ttl_s": self.ttl_s},
            "log": {"format": "json", "level": "info"},
        }
        if self.feed is not None:
            document["easee"]["source"] = "amqp"
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))
        (self.folder / name).mkdir(exist_ok=True)
        return path

    async def start(self, name: str, *, mistake: str | None = None) -> Worker:
        """Start a worker."""
        log = self.folder / f"{name}.log"
        environ = dict(os.environ, CHARGER_BRIDGE_EASEE__PASSWORD="canary")
        if self.feed is not None and self.partitions > 1:
            environ["CHARGER_BRIDGE_AMQP__OWN_URL"] = self.feed.url
        with log.open("ab") as stream:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.workers.worker", name, mistake or self.mistake,
                "run", "--config", str(self._config(name)),
                stdout=stream, stderr=stream, cwd=ROOT, env=environ,
                group=GROUPS.get(name) if self.own_network else None,
            )  # fmt: skip
        self.note("start", worker=name)
        worker = self.workers[name] = Worker(name, process, log)
        return worker

    async def tool(self, name: str, *arguments: str, may_find: bool = False) -> str:
        """Run a command of the program with a worker's configuration; return what it prints.

        Args:
            name: The worker.
            arguments: The command.
            may_find: Status 1 is none of a failure.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge", *arguments, "--config", str(self._config(name)),
            stdout=asyncio.subprocess.PIPE, cwd=ROOT,
            env=dict(os.environ, CHARGER_BRIDGE_EASEE__PASSWORD="canary"),
        )  # fmt: skip
        async with asyncio.timeout(self.within_s):
            printed, _ = await process.communicate()
        if process.returncode not in (0, int(may_find)):
            raise OSError(f"{arguments} ended with {process.returncode}")
        return printed.decode()

    def note(self, kind: str, at: float | None = None, **fields: Any) -> None:
        """Write down what happened."""
        self.events.append(Event(time.time() if at is None else at, kind, fields))  # noqa: TID251 - the judges' own clock

    async def owner(self, partition: int = 0, *, but: str | None = None) -> str:
        """Wait until a partition has an owner; return it."""
        query = "SELECT owner FROM lease WHERE partition = $1 AND until > clock_timestamp()"
        async with asyncio.timeout(self.within_s):
            while True:
                held = await self.db.fetchval(query, partition)
                if held not in (None, but):
                    return str(held)
                await asyncio.sleep(POLL_S)

    async def held(self, name: str) -> list[int]:
        """Return the partitions that a worker serves."""
        query = "SELECT partition FROM lease WHERE owner = $1 AND until > clock_timestamp()"
        return [row["partition"] for row in await self.db.fetch(query, name)]

    async def replaced(self, name: str, partitions: list[int]) -> None:
        """Wait until others serve what a worker served."""
        for partition in partitions:
            await self.owner(partition, but=name)
        if self.watching is not None:
            fault = next(each for each in reversed(self.events) if each.kind == "fault")
            await self.refilled({*fault.fields["chargers"]}, fault.at)
            used_s = self.cpu_s()
            self.note(
                "refilled",
                fault=fault.fields["fault"],
                chargers=len(fault.fields["chargers"]),
                cpu_s=sum(used_s[each] - self._used_s[each] for each in used_s if each != name),
            )

    def cpu_s(self) -> dict[str, float]:
        """Return how much processor time each worker that lives has used."""
        live = {n: one for n, one in self.workers.items() if one.process.returncode is None}
        return {
            name: time.clock_gettime((~one.process.pid << 3) | PROCESS_CPU_CLOCK)
            for name, one in live.items()
        }

    async def refilled(self, chargers: set[str], since: float) -> None:
        """Wait until each of these chargers has a value again."""
        assert self.watching is not None
        looked, seen = 0, self.watching
        async with asyncio.timeout(self.within_s):
            while chargers:
                await asyncio.sleep(POLL_S)
                for at, topic, _ in seen[looked:]:
                    if at > since and topic.endswith("/state/total_power"):
                        chargers.discard(topic.split("/")[1])
                looked = len(seen)

    async def share(self) -> int:
        """Return how many partitions a worker has at most, where all that live have some."""
        live = [one for one in self.workers.values() if one.process.returncode is None]
        return -(-self.partitions // max(1, len(live)))

    async def note_fault(self, fault: str, name: str, partitions: list[int]) -> None:
        """Write down what is about to happen to a worker, and what it serves."""
        of = await self.divided()
        chargers = self.serials
        if self.partitions > 1:
            chargers = [one for one in chargers if of.get(one) in partitions]
        self._used_s = self.cpu_s()
        self.note(
            "fault", fault=fault, worker=name, partitions=partitions, chargers=chargers,
            share=await self.share(),
        )  # fmt: skip

    async def note_memory(self) -> None:
        """Write down the memory of each worker, and for how many chargers it is."""
        of = await self.divided()
        live = {n: one for n, one in self.workers.items() if one.process.returncode is None}
        for name, worker in live.items():
            held = await self.held(name)
            count = sum(number in held for number in of.values())
            if self.partitions == 1 and held:
                count = len(self.serials)
            mib = memory_kib(worker.process.pid) / 1024
            self.note("memory", worker=name, partitions=len(held), chargers=count, mib=mib)

    async def divided(self) -> dict[str, int]:
        """Return the partition of each device."""
        query = "SELECT device.name, partition FROM device JOIN site ON site.name = device.site"
        return dict(await self.db.fetch(query))

    async def served(self) -> None:
        """Wait until every partition has an owner and every charger has values."""
        for partition in range(self.partitions):
            await self.owner(partition)
        if self.partitions == 1:
            return
        await self.balanced()
        found: set[str] = set()
        with outsider(self.broker.port, "charger/+/state/total_power") as client:
            async with asyncio.timeout(self.within_s):
                while len(found) < len(self.serials):
                    await asyncio.sleep(POLL_S)
                    came, client.messages = client.messages, []
                    found.update(topic for topic, _, _ in came)

    async def locked(self, partition: int) -> Any:
        """Lock the row of a lease; closing the returned connection ends that."""
        db = await _connected(self.database)
        await db.execute("BEGIN")
        await db.execute("SELECT 1 FROM lease WHERE partition = $1 FOR UPDATE", partition)
        return db

    async def balanced(self) -> None:
        """Wait until every worker that lives has its share of the partitions."""
        live = [name for name, one in self.workers.items() if one.process.returncode is None]
        async with asyncio.timeout(self.within_s):
            while True:
                held = [len(await self.held(name)) for name in live]
                if sum(held) == self.partitions and max(held) - min(held) <= 1:
                    return
                await asyncio.sleep(POLL_S)

    async def member(self, name: str) -> None:
        """Wait until a worker has joined, and stands by or serves."""
        query = (
            "SELECT 1 FROM member WHERE name = $1 AND seen_at > clock_timestamp() - interval '1 s'"
            " AND seen_at > to_timestamp($2)"
        )
        since = next(e.at for e in reversed(self.events) if e.kind == "start")
        async with asyncio.timeout(self.within_s):
            while not await self.db.fetchval(query, name, since):  # noqa: ASYNC110 - a row, no event
                await asyncio.sleep(POLL_S)

    async def proxied(self, name: str) -> None:
        """Put a proxy between a worker and the database."""
        self.proxies[name] = await self.stack.enter_async_context(proxied(self.database.port))

    def mark_connections(self) -> None:
        """Have the kernel mark the connections of each worker."""
        self.own_network = True
        for group in GROUPS.values():
            firewall(
                "-t", "mangle", "-A", "OUTPUT", "-m", "owner", "--gid-owner", str(group),
                "-j", "CONNMARK", "--set-mark", str(group),
            )  # fmt: skip

    def cut(self, name: str, *, on: bool) -> None:
        """Let all packets of a worker's connections vanish, or no more."""
        for chain in ("INPUT", "OUTPUT"):
            rule = "-I" if on else "-D"
            mark = str(GROUPS[name])
            firewall(rule, chain, "-m", "connmark", "--mark", mark, "-j", "DROP")

    def push_value(self, serial: str) -> None:
        """Let a charger measure another power."""
        self._numbers["power"] = number = self._numbers.get("power", 0) + 1
        self.cloud.push(serial, POWER, number / 100)
        self.note("push", charger=serial, value=number / 100)

    async def reconnect(self) -> None:
        """Connect to the database again: it was restarted."""
        self.db = await _connected(self.database)

    async def sessions(self, stop: asyncio.Event, every_s: float) -> None:
        """Let sessions end at all chargers in turn, until told to stop."""
        for serial in itertools.cycle(self.serials):
            if stop.is_set():
                return
            self.finish_session(serial)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await stop.wait()

    async def ended(self, name: str) -> int:
        """Wait until a worker ended; return its status."""
        async with asyncio.timeout(self.within_s):
            return await self.workers[name].process.wait()

    # -- commands ------------------------------------------------------------------------------

    def command(self, client: Any, serial: str) -> str:
        """Send a command; its value tells it from every other of this charger."""
        number = self._numbers[serial] = self._numbers.get(serial, 0) + 1
        amps = 6 + number % 26
        name = f"{serial}-{number}"
        body = json.dumps({"value": amps, "id": name, "ttl_s": TTL_S})
        # Without a date a command that may have waited at the broker is refused.
        topic = f"charger/{serial}/set/{COMMAND}"
        client.publish(topic, body.encode(), MessageExpiryInterval=TTL_S)
        self.note("command", id=name, charger=serial, amps=amps, number=number, ttl_s=TTL_S)
        return name

    def stranger(self, client: Any) -> None:
        """Send a command for a charger that no partition serves."""
        self._numbers["stranger"] = number = self._numbers.get("stranger", 0) + 1
        name = f"stranger-{number}"
        body = json.dumps({"value": 16, "id": name, "ttl_s": TTL_S})
        client.publish(
            f"charger/{STRANGER}/set/{COMMAND}", body.encode(), MessageExpiryInterval=TTL_S
        )
        self.note("stranger", id=name, ttl_s=TTL_S)

    async def callers(self, stop: asyncio.Event, every_s: float) -> None:
        """Send commands to all chargers in turn, until told to stop."""
        with outsider(self.broker.port) as client:
            serials = self.serials
            number = 0
            while not stop.is_set():
                self.command(client, serials[number % len(serials)])
                number += 1
                if self.partitions > 1 and number % STRANGER_EVERY == 0:
                    self.stranger(client)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(every_s):
                        await stop.wait()

    def finish_session(self, serial: str) -> None:
        """Let a session begin and end at a charger."""
        charger = self.cloud.world.chargers[serial]
        charger.start_session()
        charger.end_session()
        self.cloud.tell()
        number = charger.sessions[-1].number
        self.note("session", key=f"{serial}-{number}")

    # -- what was seen -------------------------------------------------------------------------

    async def collect(self, messages: list[tuple[float, str, bytes]]) -> list[Event]:
        """Return everything that was seen by anybody, in order."""
        found, of = [*self.events], await self.divided()
        for at, topic, payload in messages:
            found += _published(at, topic, payload)
        for seen in self.cloud.seen:
            if seen.method == "POST" and PATH in seen.path:
                found.append(
                    Event(
                        seen.at.timestamp(),
                        "request",
                        {
                            "worker": seen.user_agent,
                            "charger": seen.path.split("/")[3],
                            "amps": json.loads(seen.body)["amps"],
                            "partition": of.get(seen.path.split("/")[3], 0),
                        },
                    )
                )
        for row in await self.db.fetch(
            "SELECT extract(epoch FROM at)::double precision AS at, application, kind, partition,"
            " owner, epoch FROM judge.log ORDER BY at"
        ):
            found.append(
                Event(
                    row["at"],
                    row["kind"],
                    {"worker": row["application"], "partition": row["partition"],
                     "owner": row["owner"], "epoch": row["epoch"]},
                )
            )  # fmt: skip
        return sorted(found, key=lambda event: event.at)


def _published(at: float, topic: str, payload: bytes) -> list[Event]:
    levels = topic.split("/")
    if levels[2] == "result":
        document = json.loads(payload)
        return [
            Event(at, "result", {"id": document.get("id"), "state": document["state"],
                                 "reason": document.get("reason"), "final": document["final"]})
        ]  # fmt: skip
    if topic == "charger/bridge/state":
        return [Event(at, "bridge_state", {"state": payload.decode()})]
    if levels[2] == "state":
        return [Event(at, "value", {"charger": levels[1], "value": float(payload)})]
    if levels[2:] == ["session", "report"]:
        return [Event(at, "report", {"key": json.loads(payload)["key"]})]
    return [Event(at, "availability", {"charger": levels[1], "state": payload.decode()})]


def firewall(*arguments: str) -> None:
    """Change the packet filter of this network namespace."""
    subprocess.run(["iptables", "-w", *arguments], check=True)


@contextlib.asynccontextmanager
async def installed(
    folder: Path,
    *,
    chargers: int = 8,
    sites: int = 1,
    partitions: int = 1,
    ttl_s: int = 4,
    mistake: str = "none",
    feed: RabbitMq | None = None,
    step_interval_s: float = 0.25,
    observations: int = 0,
) -> AsyncIterator[Site]:
    """Provide the installation without workers; everything ends with the block."""
    database, broker = Server(), Mosquitto(folder, unused_port(), listener=UNLIMITED)
    scenario = Scenario(
        chargers=chargers,
        sites=sites,
        traffic=False,
        rate_limits=False,
        command_latency_s=0.05,
        amqp=None if feed is None else feed.url,
        step_interval_s=step_interval_s,
    )
    try:
        database.start()
        broker.start()
        async with serve(scenario) as cloud:
            cloud.seen = deque()  # all requests
            _thinned(cloud, observations)
            gc.collect()
            gc.freeze()  # of many chargers: they stay
            db = await _watched(database)
            site = Site(folder, database, broker, cloud, db, partitions, ttl_s, mistake, feed=feed)
            try:
                yield site
            finally:
                for worker in site.workers.values():
                    worker.signal(signal.SIGCONT)
                    worker.signal(signal.SIGKILL)
                    await worker.process.wait()
                await site.stack.aclose()
                await site.db.close()
    finally:
        broker.kill()
        database.remove()


def _thinned(cloud: Simulator, observations: int) -> None:
    """Let each charger have so many observations: first go those that have no further effect."""
    for charger in cloud.world.chargers.values() if observations else ():
        spare = [*(spec.id for spec in reversed(PLAIN)), *sorted(charger.readings, reverse=True)]
        spare = [each for each in dict.fromkeys(spare) if each in charger.readings.keys() - NEEDED]
        for each in spare[: max(0, len(charger.readings) - observations)]:
            del charger.readings[each]


async def _watched(database: Server) -> Any:
    """Create the tables, have the database write down what it sees, and return a connection."""
    ours = Connection(database.settings)
    await migrate(ours)
    await ours.close()
    db = await _connected(database)
    await db.execute(TRIGGERS)
    return db


async def _connected(database: Server) -> Any:
    return await asyncpg.connect(
        host=str(database._folder), port=database.port, user="bridge", database="postgres",
        server_settings={"search_path": SCHEMA},
    )  # fmt: skip
