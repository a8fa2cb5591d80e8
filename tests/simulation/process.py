"""One life of the gateway's process: the program's own parts on simulated adapters.

The machine, the gateway's loop and outbox, the REST client with its account and budget, and the
hub's connection are the real ones. Simulated are the clock, the way to the broker, the store's
disk, the HTTP transport and the hub's socket.
"""

import asyncio
import random
from pathlib import Path

from bridge.adapters.easee.rest_client import EaseeCloud
from bridge.adapters.easee.signalr_connection import Limits
from bridge.conventions.native.convention import Native
from bridge.core.composition import Core
from bridge.core.effects import SaveChargerList
from bridge.core.events import Started, StoreFailed, StoreOpened
from bridge.core.store_status import store_opened
from bridge.errors import StoreError
from bridge.gateway import EventLoop, EventQueue
from bridge.recorder.recording import UNPACKED_BYTES
from bridge.settings import CommandSettings, EaseeSettings, MqttSettings, Secret, Settings
from tests.simulation.broker import Broker
from tests.simulation.cloud import API_URL, STREAM_URL, Transport, Vendor
from tests.simulation.disk import Disk, SimulatedStore
from tests.simulation.engine import SimulatedClock, SimulatedLoop, Timeline
from tests.simulation.hub import PING_SELDOM_S, SimulatedStream
from tests.simulation.link import SimulatedLink
from tests.simulation.options import Options
from tests.simulation.witness import Witness

ALLOW = ("control", "access", "current", "device", "installer", "maintenance")
VERSION = "simulated"
SALT = b"salt"
RECORDED_BYTES = 8 * 1024 * 1024
# Of a hub that pings every few minutes.
SELDOM = Limits(ping_every_s=PING_SELDOM_S, silence_s=2.5 * PING_SELDOM_S)


def settings_of(options: Options, chargers: list[str]) -> Settings:
    """Return the configuration of a run."""
    return Settings(
        EaseeSettings(
            "x@example.com",
            Secret("p"),
            () if options.listed else tuple(chargers),
            api_url=API_URL,
            stream_url=STREAM_URL,
            source="poll" if options.poll else "stream",
            poll_interval_s=options.poll_interval_s,
        ),
        MqttSettings(),
        commands=CommandSettings(allow=ALLOW),
    )


class Process:
    """The gateway from its start to its end, however that comes.

    Attributes:
        number: Counted from 1.
        store: Its store.
    """

    def __init__(
        self,
        number: int,
        options: Options,
        *,
        timeline: Timeline,
        clock: SimulatedClock,
        rng: random.Random,
        broker: Broker,
        vendor: Vendor,
        disk: Disk,
        record_from_s: float,
    ) -> None:
        self.number = number
        self._options = options
        self._timeline = timeline
        self._clock = clock
        self._rng = rng
        self._broker = broker
        self._vendor = vendor
        self._disk = disk
        self._settings = settings_of(options, list(vendor.world.chargers))
        self._stop: asyncio.Event | None = None
        self.inbox = EventQueue()
        self.store = SimulatedStore(disk, clock, self.inbox.put)
        self.machine = Core(self._settings, version=VERSION, salt=SALT)
        self.recorder = Witness(
            self.machine,
            max_bytes=RECORDED_BYTES,
            read_s=lambda: timeline.now_s,
            # In every other life all events are packed at once.
            unpacked_bytes=UNPACKED_BYTES * (options.seed % 2),
            from_s=record_from_s,
        )
        self.gateway: EventLoop | None = None

    def run(self) -> None:
        """Live. Raises whatever ends it before its time."""
        loop = SimulatedLoop(self._timeline)
        try:
            loop.run(self._main())
        finally:
            self.store.dead = True

    def stop(self) -> None:
        """Ask it to end, as a service manager does."""
        if self._stop is not None:
            self._stop.set()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        opened: StoreOpened | StoreFailed
        try:
            opened = store_opened(await self.store.open())
        except StoreError as error:
            opened = StoreFailed(str(error), error.hint)
        cloud = EaseeCloud(
            self._settings.easee,
            token_path=Path("/nowhere/tokens.json"),
            clock=self._clock,
            emit=self.inbox.put,
            transport=Transport(self._vendor),
        )
        cloud._tokens._tokens = self._disk  # type: ignore[assignment]
        stream = None
        if self._settings.easee.source == "stream":
            stream = SimulatedStream(
                self._settings.easee,
                cloud=cloud,
                clock=self._clock,
                emit=self.inbox.put,
                limits=None if "pings" in self._options.chatter else SELDOM,
            )
            stream.vendor = self._vendor
        link = SimulatedLink(
            self._broker,
            self._clock,
            self.inbox.put,
            lambda: self._rng.uniform(0.01, 0.1),
            loopback="heartbeat" in self._options.chatter or None,
        )
        self.gateway = EventLoop(
            self.machine,
            self.inbox,
            conventions=(Native(self.machine.topics, self._settings.publish),),
            link=link,
            cloud=cloud,
            source=stream,
            store=self.store,
            clock=self._clock,
            remember=self._remember,
            save_state=self._disk.components.__setitem__,
            beat=_beat if "beats" in self._options.chatter else None,
            recorder=self.recorder,
        )
        try:
            await self.gateway.run(self._stop, opened=opened, started=self._started())
        finally:
            await cloud.close()
            await self.store.close()

    def _started(self) -> Started:
        return Started(
            self._disk.charger_list, left=self._disk.left, state=dict(self._disk.components)
        )

    def _remember(self, kept: SaveChargerList) -> None:
        self._disk.charger_list, self._disk.left = kept.charger_ids, kept.left


def _beat(_mono_s: float) -> None:
    """Take a sign of life."""
