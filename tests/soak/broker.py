"""``make soak-broker N=100``: mosquitto is killed N times, and no accepted report is lost.

The real core, store and link serve a mosquitto that is ended by SIGKILL at random moments. Now and
then it writes its memory down before, so that some of its successors restore an old one and say
that they know everybody. A consumer with a persistent session comes and goes; it acknowledges
nothing unless told to. The oracle knows what was committed and what arrived.
"""

import asyncio
import contextlib
import json
import random
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.adapters.clock import SystemClock
from bridge.adapters.mqtt.client import MqttClient
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.conventions.native.convention import Native
from bridge.core.composition import Core
from bridge.core.events import (
    Event,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    ObservationsReceived,
)
from bridge.core.messages import Publish
from bridge.core.records.observation import RawObservation
from bridge.core.store_status import store_opened
from bridge.core.value_format import iso_utc
from bridge.errors import CloudUnavailable
from bridge.gateway import EventLoop, EventQueue
from bridge.settings import EaseeSettings, MqttSettings, Secret, Settings, StoreSettings
from tests.mosquitto import Mosquitto, until
from tests.ports import unused_port
from tests.soak.load import CHARGERS, report_of
from tests.soak.oracle import LIVE_TIMEOUT_S, Oracle
from tests.soak.script import arguments, progress, quiet, verdict, workshop

SERIALS = tuple(f"EH{number:06}" for number in range(CHARGERS))
# Everything of the run goes out again after the last kill, paced.
DRAIN_TIMEOUT_S = 150.0
MAX_NAP_S = 0.3
SESSION_EXPIRY_S = 3600
AWAY = 0.4
WRITTEN_DOWN = 0.05


class ImpatientClock(SystemClock):
    """Real time, but nobody backs off for long: it is the broker's turn to be the problem."""

    async def sleep(self, seconds: float) -> None:
        """Wait, not longer than a nap."""
        await super().sleep(min(seconds, MAX_NAP_S))


class NoCloud:
    """A cloud that is away: everything comes by the stream."""

    async def send(self, request, *, within_s):
        """Answer nothing."""
        raise CloudUnavailable("there is no cloud here")

    async def close(self):
        """Have nothing to close."""


class WatchedStore(SqliteStore):
    """The real store; what it says is committed counts as accepted."""

    def __init__(self, path: Path, oracle: Oracle) -> None:
        super().__init__(path, max_mib=64)
        self._oracle = oracle

    async def save(self, report):
        """Commit a report and note it."""
        stored, changed = await super().save(report)
        self._oracle.accept(stored.key, stored.revision)
        return stored, changed


class Consumer:
    """A subscriber with a persistent session.

    Args:
        port: The broker's.
        oracle: Told what arrives.
        speaks: Acknowledge every other report.
    """

    def __init__(self, port: int, oracle: Oracle, *, speaks: bool) -> None:
        self._port = port
        self.oracle = oracle
        self._speaks = speaks
        self._lock = threading.Lock()
        self._client: paho.Client | None = None

    def come(self) -> None:
        """Connect, now and after every loss."""
        client = paho.Client(
            CallbackAPIVersion.VERSION2, "billing", protocol=MQTTProtocolVersion.MQTTv5
        )
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.reconnect_delay_set(1, 1)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        client.connect_async("127.0.0.1", self._port, clean_start=False, properties=properties)
        client.loop_start()
        self._client = client

    def leave(self) -> None:
        """Disconnect; the broker keeps what comes meanwhile."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _on_connect(self, client, *_):
        # Also when the broker remembers us: what it wrote down may be older than our subscription.
        client.subscribe("charger/+/session/report", qos=1)

    def _on_message(self, client, _data, message):
        with self._lock:
            self.oracle.deliver(bytes(message.payload))
            arrived = len(self.oracle.arrived) + self.oracle.repeats
        if self._speaks and arrived % 2:
            document = json.loads(message.payload)
            word = {"key": document["key"], "revision": document["revision"]}
            client.publish("charger/bridge/session/ack", json.dumps(word), qos=1)


@dataclass
class Bridge:
    """The bridge under test, and what happened at its broker side.

    Attributes:
        taken: What the present broker acknowledged as delivered, as ``(key, revision)``.
        connections: How often it was connected.
        remembered: How often the broker claimed to remember our session.
    """

    queue: EventQueue
    core: Core
    taken: set[tuple[str, int]] = field(default_factory=set)
    connections: int = 0
    remembered: int = 0
    up: bool = False

    def emit(self, event: Event) -> None:
        """Pass an event on and note it."""
        match event:
            case MqttConnected(session_present):
                self.connections += 1
                self.remembered += session_present
                self.up = True
                self.taken.clear()
            case MqttDisconnected():
                self.up = False
            case MqttAcked(Publish(tag=tag), 0) if tag.startswith("report:"):
                _, key, revision = tag.split(":")
                self.taken.add((key, int(revision)))
        self.queue.put(event)

    def observe(self, number: int, oracle: Oracle) -> None:
        """Let a charger report a session."""
        report = report_of(number)
        started_at, ended_at = iso_utc(report.started_at), iso_utc(report.ended_at)
        oracle.issue(
            f"{report.charger_id}-{number}",
            charger_id=report.charger_id,
            session_id=number,
            started_at=started_at,
            ended_at=ended_at,
            energy_kwh=report.energy_kwh,
            auth_reason=report.auth_reason,
        )
        text = {
            "Id": number,
            "Start": started_at,
            "Stop": ended_at,
            "EnergyKwh": report.energy_kwh,
            "AuthReason": report.auth_reason,
        }
        raw = RawObservation(report.charger_id, 129, 6, json.dumps(text), ended_at)
        self.queue.put(ObservationsReceived((raw,)))


@contextlib.asynccontextmanager
async def bridged(port: int, folder: Path, oracle: Oracle) -> AsyncIterator[Bridge]:
    """Run a bridge against a broker, without a cloud."""
    settings = Settings(
        EaseeSettings("x@example.com", Secret("p"), SERIALS),
        MqttSettings(host="127.0.0.1", port=port, client_id="bridge", keepalive_s=5),
        store=StoreSettings(path=str(folder / "bridge.db")),
    )
    store = WatchedStore(Path(settings.store.path), oracle)
    opened = store_opened(await store.open())
    core = Core(settings, version="soak", salt=await store.tag_hash_key())
    bridge = Bridge(EventQueue(), core)
    mqtt_client = MqttClient(
        settings.mqtt,
        will=Publish(core.topics.bridge_state, b"offline"),
        subscriptions=core.topics.subscriptions,
        clock=ImpatientClock(),
        emit=bridge.emit,
    )
    gateway = EventLoop(
        core,
        bridge.queue,
        conventions=(Native(core.topics, settings.publish),),
        link=mqtt_client,
        cloud=NoCloud(),
        source=None,
        store=store,
        clock=SystemClock(),
    )
    stop = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(gateway.run(stop, opened=opened))
            try:
                yield bridge
            finally:
                stop.set()
    finally:
        await store.close()


@dataclass
class Run:
    """What a run showed.

    Attributes:
        gone: Reports a killed broker had acknowledged and not passed on by the time it was back.
    """

    oracle: Oracle
    seconds: float
    connections: int
    remembered: int
    gone: int

    def line(self) -> str:
        """Say it in one line."""
        return (
            f"{self.oracle.summary(self.seconds)}; {self.connections} connections,"
            f" {self.remembered} of them remembered; {self.gone} acknowledged by a broker that died"
            " before it passed them on"
        )


async def soak(kills: int, seed: int, folder: Path) -> Run:
    """Kill a broker so many times while reports flow; return what became of them."""
    rng = random.Random(seed)
    oracle = Oracle()
    port = unused_port()
    broker = Mosquitto(folder, port)
    broker.start()
    consumer = Consumer(port, oracle, speaks=seed % 2 == 1)
    began = time.perf_counter()
    try:
        async with bridged(port, folder, oracle) as bridge:
            consumer.come()
            await until(lambda: bridge.up, LIVE_TIMEOUT_S)
            gone = 0
            for number in range(1, kills + 1):
                gone += await _life(rng, bridge, broker, consumer)
                progress(number, kills)
            await _calm(bridge, oracle)
            connections, remembered = bridge.connections, bridge.remembered
    finally:
        consumer.leave()
        broker.kill()
    return Run(oracle, time.perf_counter() - began, connections, remembered, gone)


async def _life(rng: random.Random, bridge: Bridge, broker: Mosquitto, consumer: Consumer) -> int:
    """Let reports flow through a broker, kill it, and wait until its successor has us."""
    oracle = consumer.oracle
    away = rng.random() < AWAY
    if away:
        await asyncio.to_thread(consumer.leave)
        oracle.faults["absence"] += 1
    for _ in range(rng.randrange(1, 30)):
        bridge.observe(len(oracle.issued) + 1, oracle)
        await asyncio.sleep(rng.uniform(0, 0.03))
        if rng.random() < WRITTEN_DOWN:
            broker.write_down()
            oracle.faults["snapshot"] += 1
    await asyncio.sleep(rng.uniform(0, 0.3))
    connections, taken = bridge.connections, bridge.taken - oracle.arrived.keys()
    broker.kill()
    oracle.faults["kill"] += 1
    await asyncio.sleep(rng.uniform(0, 0.3))
    broker.start()
    await until(lambda: bridge.connections > connections, LIVE_TIMEOUT_S)
    if away:
        await asyncio.sleep(rng.uniform(0, 0.5))
        consumer.come()
    return len(taken - oracle.arrived.keys())


async def _calm(bridge, oracle) -> None:
    """Let the trouble end: something fresh passes, and the rest follows."""
    began = time.perf_counter()
    fresh = 1_000_000
    bridge.observe(fresh, oracle)
    key = f"{report_of(fresh).charger_id}-{fresh}"
    with contextlib.suppress(TimeoutError):
        await until(lambda: (key, 1) in oracle.arrived, LIVE_TIMEOUT_S)
        oracle.live(time.perf_counter() - began)
    with contextlib.suppress(TimeoutError):
        await until(lambda: not oracle.missing, DRAIN_TIMEOUT_S)


def main() -> int:
    """Run from the command line: ``python -m tests.soak.broker N [SEED]``."""
    kills, seed = arguments()
    quiet()
    with workshop() as folder:
        run = asyncio.run(soak(kills, seed, folder))
    return verdict(run.oracle.problems(kill=kills), run.line())


if __name__ == "__main__":
    sys.exit(main())
