"""``make soak-kill N=1000``: SIGKILL at N random moments under load.

A child process runs the real machine, gateway, store and link, against a real mosquitto. Sessions
end at its chargers, and somebody outside sends ``toggle`` commands. What it commits and what it
sends to the cloud goes into a pipe at once, where a kill cannot take it back. The parent kills it
at a random moment, starts the next one on the same store, and asks the oracle: every accepted
report arrived, every command got one final answer, and no command reached the cloud twice.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import random
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bridge.adapters.clock import SystemClock
from bridge.adapters.mqtt.client import MqttClient
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.conventions.native.convention import Native
from bridge.core.composition import Core
from bridge.core.events import ChargerResponse, MqttConnected, ObservationsReceived
from bridge.core.messages import Publish
from bridge.core.records.observation import RawObservation
from bridge.core.store_status import store_opened
from bridge.core.value_format import iso_utc
from bridge.errors import CloudUnavailable
from bridge.gateway import EventLoop, EventQueue
from bridge.settings import EaseeSettings, MqttSettings, Secret, Settings
from tests.mosquitto import EXECUTABLE, Mosquitto
from tests.ports import unused_port
from tests.soak.load import NOON
from tests.soak.oracle import Oracle
from tests.soak.script import arguments, memory, progress, quiet, verdict, workshop

CHARGERS = ("EH000001", "EH000002", "EH000003")
PIPE_BYTES = 1024 * 1024
# The moment of the kill, counted from when the child's store is open.
MAX_LIFE_S = 0.25
# On a busy machine no command is carried out within that: so many rounds more, each longer.
MAX_EXTRA_ROUNDS = 40
SESSION_EVERY_S = 0.001
MAX_SESSIONS = 10_000
DRAIN_TIMEOUT_S = 60.0
# A command that may have been sent is verified, or unknown, when its time and 30 s are over.
COMMANDS_TIMEOUT_S = 100.0
COMMANDS_LIVE = timedelta(seconds=20)
SESSION_REPORT = 129
ACK = "charger/bridge/session/ack"
# A consumer says of all but every twentieth that it has it; those go out again at every start.
UNSETTLED = 20
STRING = 6
TOGGLE_ID = 25
NEVER_SENT = frozenset({"refused", "expired", "superseded", "noop"})
MAX_READ = 500


def session(number: int) -> tuple[str, dict[str, object], str]:
    """Make a session: its charger, what a consumer must find in its report, and its observation."""
    charger_id = CHARGERS[number % len(CHARGERS)]
    rng = random.Random(number)
    started_at = NOON + timedelta(minutes=number)
    ended_at = started_at + timedelta(seconds=59)
    energy_kwh = round(rng.uniform(0.1, 50), 6)
    content = {
        "charger_id": charger_id,
        "session_id": number,
        "started_at": iso_utc(started_at),
        "ended_at": iso_utc(ended_at),
        "energy_kwh": energy_kwh,
        "auth_reason": 3,
    }
    text = json.dumps(
        {
            "Id": number,
            "Start": iso_utc(started_at),
            "Stop": iso_utc(ended_at),
            "EnergyKwh": energy_kwh,
            "AuthReason": 3,
            "Auth": "04E1B2C3D4",
        }
    )
    return charger_id, content, text


# -- the child -------------------------------------------------------------------------------------


class Pipe:
    """What cannot be taken back: a line this short is written whole or not at all."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def say(self, kind: str, value: object) -> None:
        """Write one line."""
        os.write(self._handle, json.dumps([kind, value]).encode() + b"\n")


class TellingStore(SqliteStore):
    """The store, with a pipe for what it accepted.

    Attributes:
        leaving: Which command of a charger was committed as about to be sent.
    """

    def __init__(self, path: Path, pipe: Pipe, queue: EventQueue) -> None:
        super().__init__(path, max_mib=16, emit=queue.put, floor_bytes=0)
        self._pipe = pipe
        self.leaving: dict[str, str] = {}

    async def save(self, report):
        """Commit a report and tell."""
        stored, changed = await super().save(report)
        self._pipe.say("accepted", [stored.key, stored.revision])
        return stored, changed

    async def save_command(self, row):
        """Commit a command and note what is going to be sent."""
        await super().save_command(row)
        if row.state == "leaving":
            self.leaving[row.charger_id] = row.name


@dataclass(frozen=True, slots=True)
class Answer:
    """What the cloud says to a command."""

    body: bytes
    status: int = 202


class Cloud:
    """Takes commands, tells the pipe, and lets the charger answer; knows nothing else."""

    def __init__(self, store: TellingStore, pipe: Pipe, queue: EventQueue) -> None:
        self._store, self._pipe, self._inbox = store, pipe, queue
        self._ticks = time.time_ns() // 100

    async def send(self, request, *, within_s):
        """Carry a command out, and tell of it first: there is no way back."""
        if not request.command or request.method != "POST":
            raise CloudUnavailable("there is no more of a cloud here")
        charger_id = request.scope
        self._pipe.say("sent", self._store.leaving[charger_id])
        self._ticks += 1
        ticket = {"device": charger_id, "commandId": TOGGLE_ID, "ticks": self._ticks}
        response = ChargerResponse(charger_id, TOGGLE_ID, self._ticks, True, 0)
        await asyncio.sleep(random.random() * 0.01)
        asyncio.get_running_loop().call_later(random.random() * 0.01, self._inbox.put, response)
        return Answer(json.dumps(ticket).encode())


async def serve(path: Path, port: int, pipe: Pipe, first: int, count: int) -> None:
    """Run the bridge and feed it with sessions until it is killed."""
    queue = EventQueue()
    store = TellingStore(path, pipe, queue)
    settings = Settings(
        EaseeSettings("x@example.com", Secret("p"), CHARGERS),
        MqttSettings(host="127.0.0.1", port=port, client_id="bridge", keepalive_s=5),
    )
    opened = await store.open()
    core = Core(settings, version="soak", salt=await store.tag_hash_key())

    def emit(event: object) -> None:
        if isinstance(event, MqttConnected):
            pipe.say("connected", None)
        queue.put(event)

    mqtt_client = MqttClient(
        settings.mqtt,
        will=Publish(core.topics.bridge_state, b"offline"),
        subscriptions=core.topics.subscriptions,
        clock=SystemClock(),
        emit=emit,
    )
    cloud = Cloud(store, pipe, queue)
    gateway = EventLoop(
        core,
        queue,
        conventions=(Native(core.topics, settings.publish),),
        link=mqtt_client,
        cloud=cloud,
        source=None,
        store=store,
        clock=SystemClock(),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.run(asyncio.Event(), opened=store_opened(opened)))
        await asyncio.sleep(0)  # its start comes before the first session
        pipe.say("ready", len(opened.owed))
        for number in range(first, first + count):
            charger_id, content, text = session(number)
            pipe.say("issued", [f"{charger_id}-{number}", content])
            at = str(content["ended_at"])
            raw = RawObservation(charger_id, SESSION_REPORT, STRING, text, at)
            queue.put(ObservationsReceived((raw,), "stream"))
            await asyncio.sleep(SESSION_EVERY_S)
        await asyncio.Event().wait()


# -- outside ---------------------------------------------------------------------------------------


@dataclass
class Commands:
    """What was asked for, and what became of it.

    Attributes:
        asked: Names, oldest first.
        sent: How often which reached the cloud.
        finals: Each command's final answers, those that differ.
        waiting: The command of each charger that has no final answer yet.
        repeats: How many final answers came again.
    """

    asked: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    finals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    repeats: int = 0

    def ask(self, charger_id: str) -> bytes:
        """Make the next command of a charger."""
        name = f"kill-{len(self.asked):06}"
        self.asked.append(name)
        self.waiting[charger_id] = name
        at = datetime.now(UTC) + COMMANDS_LIVE  # noqa: TID251 - a flow reads its own clock
        document = {"value": "PRESS", "id": name, "expires_at": f"{at:%FT%TZ}"}
        return json.dumps(document).encode()

    def answer(self, charger_id: str, document: dict[str, Any]) -> None:
        """Take an answer."""
        if not document["final"]:
            return
        finals = self.finals.setdefault(document["id"], [])
        if document in finals:
            self.repeats += 1
        else:
            finals.append(document)
        if self.waiting.get(charger_id) == document["id"]:
            del self.waiting[charger_id]

    @property
    def is_any_confirmed(self) -> bool:
        """Whether a command was carried out at all."""
        finals = (final for finals in self.finals.values() for final in finals)
        return any(final["state"] == "confirmed" for final in finals)

    def problems(self) -> list[str]:
        """Check everything."""
        found = [f"{name} reached the cloud {n} times" for name, n in self.sent.items() if n > 1]
        for name in self.asked:
            states = [final["state"] for final in self.finals.get(name, ())]
            if len(states) != 1:
                found.append(f"{name} has final answers {states}")
            elif states[0] in NEVER_SENT and self.sent[name]:
                found.append(f"{name} is {states[0]} and reached the cloud")
            elif states[0] == "confirmed" and not self.sent[name]:
                found.append(f"{name} is confirmed and never reached the cloud")
        if not self.is_any_confirmed:
            found.append("no command was carried out: the run says nothing of commands")
        return found

    def summary(self) -> str:
        """Say in one line what became of them."""
        states = Counter(final["state"] for finals in self.finals.values() for final in finals)
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return (
            f"{len(self.asked)} commands, {sum(self.sent.values())} of them sent: {told};"
            f" {self.repeats} final answers repeated"
        )


class Consumer:
    """Who takes the reports and gives the commands: a client in this thread, driven by hand."""

    def __init__(self, port: int, oracle: Oracle, rng: random.Random) -> None:
        self.oracle = oracle
        self.commands = Commands()
        self._rng = rng
        self._ready = False
        # What a bridge said before it published has to be heard before what it published.
        self.before_message: Callable[[], object] = lambda: None
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(
            [("charger/+/session/report", 1), ("charger/+/result/toggle", 1)]
        )
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        while not self._ready:
            self.turn(0.01)

    @property
    def handle(self) -> int:
        """The socket's, for a child that must not keep it."""
        return int(self._client.socket().fileno())

    def turn(self, longest_s: float, *others: int) -> None:
        """Wait for something to read, at the broker or at others, and take what the broker has."""
        client = self._client
        select.select([client.socket(), *others], [], [], longest_s)
        for _ in range(MAX_READ):
            if not select.select([client.socket()], [], [], 0)[0]:
                break
            client.loop_read()
        while client.want_write():
            client.loop_write()
        client.loop_misc()

    def ask(self) -> None:
        """Send a command to a charger that has none, now and then."""
        charger_id = self._rng.choice(CHARGERS)
        if charger_id not in self.commands.waiting:
            payload = self.commands.ask(charger_id)
            self._client.publish(f"charger/{charger_id}/set/toggle", payload, qos=1)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()

    def _on_subscribe(self, *_):
        self._ready = True

    def _on_message(self, client, _data, message):
        self.before_message()
        if message.topic.endswith("/toggle"):
            self.commands.answer(message.topic.split("/")[1], json.loads(message.payload))
            return
        self.oracle.deliver(bytes(message.payload))
        document = json.loads(message.payload)
        if document["session_id"] % UNSETTLED:
            client.publish(ACK, document["key"].encode(), qos=1)


@dataclass
class Listener:
    """Reads what a child says and tells the oracle."""

    oracle: Oracle
    commands: Commands
    is_ready: bool = False
    last_issued: int = 0
    connections: int = 0
    _rest: bytes = b""

    def take(self, data: bytes) -> None:
        """Take what was read from the pipe."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            kind, value = json.loads(line)
            match kind:
                case "ready":
                    self.is_ready = True
                case "connected":
                    self.connections += 1
                case "issued":
                    self.oracle.issue(value[0], **value[1])
                    self.last_issued = max(self.last_issued, value[1]["session_id"])
                case "accepted":
                    self.oracle.accept(*value)
                case "sent":
                    self.commands.sent[value.rpartition(":")[2]] += 1


class Life:
    """One child, from its start to its kill."""

    def __init__(
        self, path: Path, port: int, listener: Listener, consumer: Consumer, *, sessions: int
    ) -> None:
        self.listener, self.consumer = listener, consumer
        listener.is_ready = False
        self._reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._first = listener.last_issued + 1
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._reading)
            os.close(consumer.handle)
            _be_the_child(path, port, Pipe(writing), self._first, sessions)
        os.close(writing)
        os.set_blocking(self._reading, False)
        consumer.before_message = self._take

    def watch(self, until: Callable[[], object], within_s: float, *, asks: float = 0.0) -> bool:
        """Take what comes until a condition holds; say whether it did.

        Args:
            until: The condition.
            within_s: How long at most.
            asks: How likely a command is at each look.
        """
        end_s = time.perf_counter() + within_s
        while not until():
            left_s = end_s - time.perf_counter()
            if left_s <= 0:
                return False
            # Before the first connection the broker keeps nothing for us.
            if self.listener.connections and random.random() < asks:
                self.consumer.ask()
            self.consumer.turn(min(0.005, left_s), self._reading)
            self._take()
        return True

    def end(self) -> None:
        """Kill it and take its last words."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self.consumer.before_message = lambda: None
        os.set_blocking(self._reading, True)
        while data := os.read(self._reading, PIPE_BYTES):
            self.listener.take(data)
        os.close(self._reading)
        self.listener._rest = b""  # a line it died in

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.listener.take(os.read(self._reading, PIPE_BYTES))


def _be_the_child(path: Path, port: int, pipe: Pipe, first: int, count: int) -> None:
    """Never return."""
    quiet()
    random.seed()
    try:
        asyncio.run(serve(path, port, pipe, first, count))
    finally:
        os._exit(1)


def torment(kills: int, seed: int, folder: Path) -> tuple[list[str], str]:
    """Kill that often; return what was wrong, and a summary."""
    rng = random.Random(seed)
    random.seed(seed)
    started_s = time.perf_counter()
    path = folder / "bridge.db"
    port = unused_port()
    broker = Mosquitto(folder, port)
    broker.start()
    try:
        oracle = Oracle()
        consumer = Consumer(port, oracle, rng)
        listener = Listener(oracle, consumer.commands)
        for number in range(kills + MAX_EXTRA_ROUNDS):
            if number >= kills and consumer.commands.is_any_confirmed:
                break
            longest_s = MAX_LIFE_S * max(1, number - kills + 2)
            life = Life(path, port, listener, consumer, sessions=MAX_SESSIONS)
            if life.watch(lambda: listener.is_ready, DRAIN_TIMEOUT_S):
                life.watch(lambda: False, rng.uniform(0, longest_s), asks=0.05)
            life.end()
            oracle.faults["kill"] += 1
            progress(number + 1, max(kills, number + 1))
        _calm(path, port, listener, consumer)
        problems = [*oracle.problems(kill=kills), *consumer.commands.problems()]
        seconds = time.perf_counter() - started_s
        connected = f"{listener.connections} lives reached the broker"
        told = f"{oracle.summary(seconds)}; {consumer.commands.summary()}; {connected}"
        consumer.close()
    finally:
        broker.kill()
    return problems, f"{told}; seed {seed}"


def _calm(path: Path, port: int, listener: Listener, consumer: Consumer) -> None:
    """Let one live: something fresh passes, the rest follows, and every command ends."""
    oracle = listener.oracle
    began_s = time.perf_counter()
    fresh = listener.last_issued + 1
    life = Life(path, port, listener, consumer, sessions=1)
    key = f"{CHARGERS[fresh % len(CHARGERS)]}-{fresh}"
    if life.watch(lambda: (key, 1) in oracle.arrived, DRAIN_TIMEOUT_S):
        oracle.live(time.perf_counter() - began_s)
    life.watch(lambda: not consumer.commands.waiting, COMMANDS_TIMEOUT_S)
    life.watch(lambda: not oracle.missing, DRAIN_TIMEOUT_S)
    life.end()


def main() -> int:
    """Run from the command line: ``python -m tests.soak.kill N [SEED]``."""
    if not EXECUTABLE:
        sys.stdout.write("mosquitto is not installed\n")
        return 1
    kills, seed = arguments()
    with workshop(memory()) as folder:
        problems, summary = torment(kills, seed, folder)
    return verdict(problems, summary)


if __name__ == "__main__":
    sys.exit(main())
