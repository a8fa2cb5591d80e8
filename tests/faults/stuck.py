"""A gateway in which something stands still: ``python -m tests.faults.stuck WHAT FOLDER``.

It runs as the installed program does, with a watchdog that waits for parts of a second instead of
a minute. WHAT names what gets stuck after the start: ``loop``, ``store``, ``task``, or ``nothing``.
"""

import asyncio
import functools
import sys
import time
from pathlib import Path

from bridge import app, gateway, logs
from bridge.adapters.mqtt.client import MqttClient
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.adapters.store.sqlite.worker import Priority
from bridge.core.composition import Core
from bridge.core.effects import MaintainStore
from bridge.core.events import Tick
from bridge.monitoring.watchdog import LivenessRegistry, Watchdog
from bridge.settings import (
    EaseeSettings,
    LogSettings,
    MqttSettings,
    Secret,
    Settings,
    StoreSettings,
)

NOBODY = "http://127.0.0.1:9"
FOR_EVER_S = 3600.0
SHORT_S = 0.5


class ShortSigns(LivenessRegistry):
    """Nobody may be silent for longer than half a second."""

    def expect(self, name: str, within_s: float) -> None:
        super().expect(name, min(within_s, SHORT_S))


class HangingLoop(Watchdog):
    """A watchdog whose loop hangs for good after its first beat, however long the start took."""

    def beat(self) -> None:
        if not self._beats:
            asyncio.get_running_loop().call_later(SHORT_S, time.sleep, FOR_EVER_S)
        super().beat()


class CuriousCore(Core):
    """A core that asks the store how full it is at every tick."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        routed = self.handle
        asks = {Tick: [MaintainStore()]}
        self.handle = lambda event, now: [*routed(event, now), *asks.get(type(event), ())]


def hang_in_the_store() -> None:
    """Have the worker's thread hang in the next question it is asked."""

    async def usage(self):
        return await self._ask(lambda _: time.sleep(FOR_EVER_S), Priority.UPKEEP)

    SqliteStore.usage = usage
    app.Core = CuriousCore


def hang_in_a_task() -> None:
    """Have the link wait for something that never comes."""

    async def run(self):
        self._promise(SHORT_S)
        await asyncio.sleep(FOR_EVER_S)

    MqttClient.run = run


async def alive(self) -> None:
    """Be a link that has nobody to talk to, and says so every now and then."""
    while not self._closing:
        self._promise(SHORT_S)
        await asyncio.sleep(SHORT_S / 10)


async def run(folder: Path) -> int:
    """Run the gateway."""
    settings = Settings(
        EaseeSettings("x@example.com", Secret("p"), (), NOBODY, NOBODY, "poll"),
        mqtt=MqttSettings(host="127.0.0.1", port=9),
        store=StoreSettings(path=str(folder / "bridge.db")),
    )
    return await app.run(settings)


def main(what: str, folder: str) -> int:
    """Make it impatient, and let it run into what was asked for."""
    logs.configure(LogSettings())
    gateway.BEAT_EVERY_S = SHORT_S / 10
    watchdog = HangingLoop if what == "loop" else Watchdog
    app.Watchdog = functools.partial(watchdog, every_s=SHORT_S / 5, looks=10)
    app.LivenessRegistry = ShortSigns
    MqttClient.run = alive
    if what == "store":
        hang_in_the_store()
    elif what == "task":
        hang_in_a_task()
    return asyncio.run(run(Path(folder)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
