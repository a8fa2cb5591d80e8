"""``make demo-cluster``: two workers, of which one takes over from the other.

Starts an embedded broker, a PostgreSQL of the system's packages and a simulated cloud, all on
loopback, and two workers. Keys: ``k`` kills the one that serves (SIGKILL), ``t`` stops it in order
(SIGTERM), ``q`` ends. The one that ended is started again, as a service manager would.
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import termios
import time
import tty
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from bridge.core.records.lease import HeldLease
from bridge.demo.broker import broker_on_usable_port
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve as serve_cloud
from tests.postgres import Server, program

NAMES = ("left", "right")
SHOWN = ("charger/+/result/+", "charger/bridge/state")
COMMAND = "charger/EH000001/set/dynamic_charger_current"
KEYS = {"k": signal.SIGKILL, "t": signal.SIGTERM}
LOOK_S = 0.05
COMMAND_EVERY_S = 2.0
START_AGAIN_S = 3.0
OWNER = "SELECT owner, epoch FROM lease WHERE until > clock_timestamp() AND owner IS NOT NULL"
HELP = "k: kill the worker that serves   t: stop it in order   q: end"


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


@contextlib.contextmanager
def keys() -> Iterator[asyncio.Queue[str]]:
    """Provide the keys that are pressed; without a terminal, the characters of standard input."""
    pressed: asyncio.Queue[str] = asyncio.Queue()
    loop, handle = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(handle) if sys.stdin.isatty() else None

    def read() -> None:
        text = os.read(handle, 64).decode(errors="ignore")
        for key in text or "q":
            pressed.put_nowait(key)
        if not text:
            loop.remove_reader(handle)

    if before is not None:
        tty.setcbreak(handle)
    loop.add_reader(handle, read)
    try:
        yield pressed
    finally:
        loop.remove_reader(handle)
        if before is not None:
            termios.tcsetattr(handle, termios.TCSADRAIN, before)


class Workers:
    """The two workers, started again when they end.

    Args:
        folder: Of their configuration.
        settings: What the configuration holds.
    """

    def __init__(self, folder: Path, settings: dict[str, object]) -> None:
        self._folder = folder
        self._settings = settings
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def keep(self, name: str) -> None:
        """Run a worker until cancelled, again and again."""
        path = self._folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(self._settings | {"cluster": {"worker": name}}))
        while True:
            with (self._folder / f"{name}.log").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "bridge", "run", "--config", str(path),
                    stdout=log, stderr=log,
                    env=os.environ | {"CHARGER_BRIDGE_EASEE__PASSWORD": "demo"},
                )  # fmt: skip
            self.processes[name] = process
            status = await process.wait()
            how = (
                f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended: {status}"
            )
            say(f"worker {name} {how}")
            await asyncio.sleep(START_AGAIN_S)
            say(f"worker {name} is started again, and stands by")

    async def end(self) -> None:
        """End both in order."""
        for process in self.processes.values():
            if process.returncode is None:
                process.terminate()
                await process.wait()


async def owners(database: Server) -> AsyncIterator[HeldLease | None]:
    """Yield the lease whenever it has another owner, and None when it has none."""
    last: tuple[str, int] | None = ("", 0)
    while True:
        await asyncio.sleep(LOOK_S)
        there = await asyncio.to_thread(database.sql, "SELECT to_regclass('lease')")
        rows = await asyncio.to_thread(database.sql, OWNER) if there[0][0] else []
        found = (rows[0][0], rows[0][1]) if rows else None
        if found != last:
            last = found
            yield HeldLease(0, found[0], found[1], 0.0) if found else None


async def demonstrate(folder: Path, database: Server, port: int) -> None:
    """Run both workers until ``q`` is pressed."""
    async with serve_cloud(Scenario(chargers=3)) as cloud:
        workers = Workers(
            folder,
            {
                "easee": {
                    "username": "demo@example.org",
                    "api_url": cloud.api_url,
                    "stream_url": cloud.stream_url,
                },
                "mqtt": {"host": "127.0.0.1", "port": port, "version": "3.1.1"},
                "store": {"url": str(database.settings.url)},
                "log": {"format": "json"},
            },
        )
        say(f"broker mqtt://127.0.0.1:{port}, database {database.settings.url}")
        say(HELP)
        tasks = [asyncio.ensure_future(workers.keep(name)) for name in NAMES]  # noqa: TID251 - cancelled below
        tasks.append(asyncio.ensure_future(commands(port)))  # noqa: TID251 - likewise
        try:
            await shown(workers, database)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await workers.end()


async def shown(workers: Workers, database: Server) -> None:
    """Say who serves, and do what the keys say."""
    serving, since_s = "", 0.0

    async def watch() -> None:
        nonlocal serving
        async for lease in owners(database):
            if lease is None:
                say("nobody has the lease")
                continue
            took = f" after {time.monotonic() - since_s:.1f} s" if since_s else ""  # noqa: TID251 - a script
            serving = str(lease.owner)
            say(f"worker {serving} serves (epoch {lease.epoch}){took}")

    watching = asyncio.ensure_future(watch())  # noqa: TID251 - cancelled below
    try:
        with keys() as pressed:
            while (key := await pressed.get()) != "q":
                process = workers.processes.get(serving)
                if key in KEYS and process is not None and process.returncode is None:
                    say(f"{KEYS[key].name} to worker {serving}")
                    since_s = time.monotonic()  # noqa: TID251 - a script
                    process.send_signal(KEYS[key])
    finally:
        watching.cancel()


async def commands(port: int) -> None:
    """Send a command now and then, and say what became of it and of ``bridge/state``."""
    loop = asyncio.get_running_loop()
    client = paho.Client(CallbackAPIVersion.VERSION2)  # amqtt speaks 3.1.1

    def on_message(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        text = bytes(message.payload).decode(errors="replace")
        if "/result/" in message.topic:
            result = json.loads(text)
            text = f"{result['state']} {result.get('reason') or ''}"
        loop.call_soon_threadsafe(say, f"{message.topic.removeprefix('charger/')}: {text}")

    def on_connect(*_: object) -> None:
        client.subscribe([(topic, 1) for topic in SHOWN])

    client.on_message = on_message
    client.on_connect = on_connect
    await asyncio.to_thread(client.connect, "127.0.0.1", port)
    client.loop_start()
    try:
        for number in itertools.count():
            await asyncio.sleep(COMMAND_EVERY_S)
            client.publish(COMMAND, str(6 + number % 10).encode(), 1)
    finally:
        client.disconnect()
        client.loop_stop()


async def main() -> int:
    """Run the demonstration; return the exit status."""
    if program("initdb") is None:
        print("PostgreSQL is not installed: apt install postgresql", file=sys.stderr)
        return 1
    database = Server()
    try:
        database.start()
        with tempfile.TemporaryDirectory(prefix="charger-bridge-demo-") as folder:
            async with broker_on_usable_port() as port:
                await demonstrate(Path(folder), database, port)
    finally:
        database.remove()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
