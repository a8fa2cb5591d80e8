"""The gateway's connection to the simulated hub: a socket without a network."""

import asyncio
from collections.abc import Callable

from bridge.adapters.easee.signalr_source import HubStream
from bridge.errors import ConnectionLost
from bridge.simulator.hub import Connection
from tests.simulation.cloud import Vendor

PING_EVERY_S = 15.0
PING_SELDOM_S = 300.0


class _Line:
    """The TCP connection below a hub connection, as the hub sees it."""

    def __init__(self, socket: "HubSocket") -> None:
        self._socket = socket

    def abort(self) -> None:
        self._socket.end()


class HubSocket:
    """One WebSocket between the gateway and the hub."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self.life = vendor.life
        self.is_open = True
        self.silent = False
        self.on_bytes: Callable[[], None] | None = None
        self._hub = vendor.simulator.hub
        self._connection = Connection(None, _Line(self))  # type: ignore[arg-type]
        self._arrived: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._arrives_s = 0.0
        self.lag_s = 0.0
        self.mangle: str | None = None
        vendor.sockets.append(self)
        self._ping_every_s = PING_EVERY_S if vendor.pings else PING_SELDOM_S
        vendor.timeline.later(self._ping_every_s, self._ping)

    # -- the gateway's side ----------------------------------------------------------------------

    async def send(self, text: str) -> None:
        if not self.is_open:
            raise ConnectionLost("the connection broke")
        self._vendor.timeline.later(0.03, lambda: self._taken(text))

    async def recv(self) -> bytes:
        while not self._arrived:
            if not self.is_open:
                raise ConnectionLost("the connection broke")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._arrived.pop(0)

    async def close(self) -> None:
        self.end()

    @property
    def is_listening(self) -> bool:
        """The gateway subscribed, and would hear an answer."""
        return self.is_open and not self.silent and bool(self._connection.subscribed)

    # -- the hub's side --------------------------------------------------------------------------

    def end(self) -> None:
        """Break the connection."""
        self.is_open = False
        self._hub.connections.discard(self._connection)
        if self in self._vendor.sockets:
            self._vendor.sockets.remove(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _taken(self, text: str) -> None:
        if not self.is_open or self.silent:
            return
        *records, self._connection.partial = (self._connection.partial + text).split("\x1e")
        for record in records:
            if not self._hub._take(self._connection, record):
                self.flush()
                self._vendor.timeline.later(0.1, self.end)
                return
        self.flush()

    def _ping(self) -> None:
        if self.is_open:
            if self._connection.greeted:
                self.say('{"type":6}\x1e')
            self._vendor.timeline.later(self._ping_every_s, self._ping)

    def flush(self) -> None:
        """Send what the hub has queued for this connection."""
        queue = self._connection.waiting
        records = []
        while not queue.empty():
            records.append(queue.get_nowait())
        records = [each for one in records if one for each in self._vendor.rewrite_record(one)]
        if not records:
            return
        mangle, self.mangle = self.mangle, None
        if mangle == "hub_repeats":
            records += records[-5:]
        elif mangle == "hub_reorders" and not any(
            '"type":3' in r or r == "{}\x1e" for r in records
        ):
            self._vendor.rng.shuffle(records)
        for start in range(0, len(records), 20):
            self.say("".join(records[start : start + 20]))

    def say(self, text: str) -> None:
        """Send a text; it arrives in order, perhaps cut in two."""
        if self.silent:
            return
        raw = text.encode()
        rng = self._vendor.rng
        pieces = [raw]
        if len(raw) > 1 and rng.random() < self._vendor.frames_cut:
            cut = rng.randrange(1, len(raw))
            pieces = [raw[:cut], raw[cut:]]
            self._vendor.note("frames_cut", None)
        now_s = self._vendor.timeline.now_s
        for piece in pieces:
            self._arrives_s = max(self._arrives_s, now_s + self.lag_s + rng.uniform(0.005, 0.05))
            self._vendor.timeline.later(self._arrives_s - now_s, lambda p=piece: self._come(p))

    def _come(self, piece: bytes) -> None:
        if self.is_open and not self.silent:
            self._arrived.append(piece)
            if self.on_bytes is not None:
                self.on_bytes()
            self._wake()


class SimulatedStream(HubStream):
    """The program's own hub stream, with a socket that is none."""

    vendor: Vendor

    async def _upgrade(self, url: str, token: str) -> HubSocket:  # type: ignore[override]
        vendor = self.vendor
        await self._clock.sleep(0.05)
        if vendor.timeline.now_s < vendor.down_until_s:
            raise ConnectionLost("the hub cannot be reached: connection refused")
        if vendor.timeline.now_s < vendor.banned_until_s or vendor.upgrade_refused > 0:
            vendor.upgrade_refused = max(0, vendor.upgrade_refused - 1)
            raise ConnectionLost("the hub refused the upgrade: HTTP 503")
        if not vendor.simulator.accounts.knows(token, vendor.timeline.wall):
            self._rejected_token = token
            raise ConnectionLost("the hub refused the upgrade: HTTP 401")
        connection_id = url.rsplit("id=", 1)[1]
        if not vendor.simulator.hub.admits(connection_id):
            raise ConnectionLost("the hub refused the upgrade: HTTP 404")
        return HubSocket(vendor)
