"""``make soak-kill N=1000``: SIGKILL at N random moments under load.

A child process runs the real machine, gateway and store. Its broker and its cloud are in the same
process, but everything they see goes into a pipe at once, where a kill cannot take it back. The
parent kills it at a random moment, starts the next one on the same store, and asks the oracle.
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
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from bridge.adapters.clock import SystemClock
from bridge.adapters.store.sqlite import SqliteStore
from bridge.core.events import MqttAcked, MqttConnected, MqttMessage, Observed, RawObservation
from bridge.core.machine import Machine
from bridge.core.messages import Publish, Receipt
from bridge.core.storage import store_opened
from bridge.core.values import iso_utc
from bridge.errors import CloudUnavailable
from bridge.gateway import Gateway, Inbox
from bridge.settings import EaseeSettings, Secret, Settings
from tests.soak.load import NOON
from tests.soak.oracle import Oracle
from tests.soak.script import arguments, quiet, verdict

CHARGERS = ("EH000001", "EH000002", "EH000003")
PIPE_BYTES = 1024 * 1024
# The moment of the kill, counted from when the child is at work.
LONGEST_LIFE_S = 0.2
DRAINED_WITHIN_S = 30.0
SESSION_REPORT = 129
ACK = "charger/bridge/session/ack"
# A consumer says of all but every twentieth that it has it; those go out again at every start.
UNSETTLED = 20
STRING = 6


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


class Outside:
    """Broker, cloud and consumer in one; what they see goes into the pipe."""

    def __init__(self, inbox: Inbox, pipe: int) -> None:
        self._inbox = inbox
        self._pipe = pipe

    def say(self, kind: str, value: object) -> None:
        """Write one line; a line this short is written whole or not at all."""
        os.write(self._pipe, json.dumps([kind, value]).encode() + b"\n")

    async def run(self) -> None:
        self._inbox.put(MqttConnected(session_present=True, protocol="5", receive_maximum=20))
        await asyncio.Event().wait()

    def watch(self, charger_ids):
        pass

    def publish(self, message: Publish) -> None:
        soon = asyncio.get_running_loop().call_soon
        soon(self._inbox.put, MqttAcked(message, 0))
        if message.topic.endswith("/session/report"):
            self.say("arrived", message.payload.decode())
            document = json.loads(message.payload)
            if document["session_id"] % UNSETTLED:
                ack = MqttMessage(ACK, document["key"].encode(), Receipt(1, 1, 1))
                soon(self._inbox.put, ack)

    def acknowledge(self, receipt):
        pass

    async def close(self, farewell):
        pass

    async def send(self, request, *, within_s):
        raise CloudUnavailable("there is no cloud here")


class TellingStore(SqliteStore):
    """The store, with a pipe for what it accepted."""

    outside: Outside

    async def save(self, report):
        stored, changed = await super().save(report)
        self.outside.say("accepted", [stored.key, stored.revision])
        return stored, changed


async def serve(path: Path, pipe: int, first: int, last: int) -> None:
    """Run the bridge and feed it with sessions until it is killed, or until all is delivered."""
    inbox = Inbox()
    outside = Outside(inbox, pipe)
    store = TellingStore(path, max_mib=16, emit=inbox.put, floor_bytes=0)
    store.outside = outside
    settings = Settings(EaseeSettings("x@example.com", Secret("p"), CHARGERS))
    opened = await store.open()
    machine = Machine(settings, version="0", salt=await store.salt())
    gateway = Gateway(
        machine, inbox, link=outside, cloud=outside, stream=None, store=store, clock=SystemClock()
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.run(stop, opened=store_opened(opened)))
        outside.say("ready", len(opened.owed))
        for number in range(first, last):
            charger_id, content, text = session(number)
            outside.say("issued", [f"{charger_id}-{number}", content])
            at = str(content["ended_at"])
            raw = RawObservation(charger_id, SESSION_REPORT, STRING, text, at)
            inbox.put(Observed((raw,), "stream"))
            await asyncio.sleep(0.0005)
        await asyncio.Event().wait()


def child(path: Path, pipe: int, first: int, last: int) -> None:
    """Be the process that is killed."""
    quiet()
    try:
        asyncio.run(serve(path, pipe, first, last))
    finally:
        os._exit(1)


# -- the parent ------------------------------------------------------------------------------------


class Listener:
    """Reads what a child says and tells the oracle."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.is_ready = False
        self.last_issued = 0
        self._rest = b""

    def take(self, data: bytes) -> None:
        """Take what was read from the pipe."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            kind, value = json.loads(line)
            match kind:
                case "ready":
                    self.is_ready = True
                case "issued":
                    self.oracle.issue(value[0], **value[1])
                    self.last_issued = max(self.last_issued, value[1]["session_id"])
                case "accepted":
                    self.oracle.accept(*value)
                case "arrived":
                    self.oracle.deliver(value.encode())


def one_life(
    path: Path, listener: Listener, first: int, count: int, *, until_s: float | None
) -> None:
    """Run a child; kill it after ``until_s`` at work, or when everything accepted has arrived."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    listener.is_ready = False
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        child(path, writing, first, first + count)
    os.close(writing)
    os.set_blocking(reading, False)
    give_up_s = time.perf_counter() + DRAINED_WITHIN_S
    end_s: float | None = None
    while True:
        now_s = time.perf_counter()
        if end_s is None and listener.is_ready and until_s is not None:
            end_s = now_s + until_s
        is_over = now_s >= (end_s or give_up_s)
        if until_s is None and listener.last_issued >= first + count - 1:
            is_over = is_over or not listener.oracle.missing
        if is_over:
            break
        select.select([reading], [], [], 0.001)
        with contextlib.suppress(BlockingIOError):
            listener.take(os.read(reading, PIPE_BYTES))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.set_blocking(reading, True)
    while data := os.read(reading, PIPE_BYTES):
        listener.take(data)
    os.close(reading)


def torment(kills: int, seed: int, folder: Path) -> tuple[list[str], str]:
    """Kill that often; return what was wrong, and a summary."""
    rng = random.Random(seed)
    started_s = time.perf_counter()
    path = folder / "bridge.db"
    oracle = Oracle()
    listener = Listener(oracle)
    for _ in range(kills):
        until_s = rng.uniform(0, LONGEST_LIFE_S)
        one_life(path, listener, listener.last_issued + 1, 10_000, until_s=until_s)
        oracle.faults["kill"] += 1
    calm_s = time.perf_counter()
    one_life(path, listener, listener.last_issued + 1, 1, until_s=None)
    oracle.live(time.perf_counter() - calm_s)
    return oracle.problems(kill=kills), oracle.summary(time.perf_counter() - started_s)


def main() -> int:
    """Run from the command line: ``python -m tests.soak.kill N [SEED]``."""
    kills, seed = arguments()
    with tempfile.TemporaryDirectory() as folder:
        problems, summary = torment(kills, seed, Path(folder))
    return verdict(problems, summary)


if __name__ == "__main__":
    sys.exit(main())
