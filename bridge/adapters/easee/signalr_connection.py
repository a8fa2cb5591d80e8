"""One connection to the hub, from the handshake to its end.

Four tasks share it: one reads, one pings, one subscribes, and one only watches the silence, so
that no write that blocks on a half-open socket can keep the silence from being noticed.
"""

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress

import msgspec

from bridge.adapters.easee.websocket import HubSocket
from bridge.core.easee.hub_session import KEEPALIVE_TIMEOUT_S, PING_EVERY_S, Keepalive
from bridge.core.easee.signalr import (
    HANDSHAKE,
    PING,
    RECORD_END,
    SHORT_RECORD_BYTES,
    Close,
    Completion,
    Decoder,
    HandshakeResponse,
    HubItem,
    batch_observations,
    subscribe,
)
from bridge.core.events import ChargerResponse, ObservationsReceived, StreamAnomaly
from bridge.errors import ConnectionLost
from bridge.ports import Clock

# About a hundred observations: a millisecond's work, ten on a Raspberry Pi.
SLICE_BYTES = 16_384


class Limits(msgspec.Struct, frozen=True):
    """How long things on the hub may take.

    Attributes:
        open_s: TCP, TLS and the upgrade together.
        handshake_s: From the upgrade to the hub's handshake answer; SignalR's own default is 15.
        ping_every_s: We send something at least this often.
        silence_s: A hub that sent nothing for this long is dead.
        answer_s: From a subscription to something that is more than a sign of life.
        close_s: How long the closing of a socket may take.
        burst: How many chargers are subscribed at once; each subscription is answered with the
            replay of over 100 observations.
        pause_s: Between two bursts.
        refused_again_s: A refused subscription is tried again after this time.
    """

    open_s: float = 10.0
    handshake_s: float = 15.0
    ping_every_s: float = PING_EVERY_S
    silence_s: float = KEEPALIVE_TIMEOUT_S
    answer_s: float = 30.0
    close_s: float = 1.0
    burst: int = 10
    pause_s: float = 0.2
    refused_again_s: float = 300.0


class Subscriptions(msgspec.Struct):
    """What is to be subscribed, shared with the connection of the day."""

    charger_ids: tuple[str, ...] = ()
    changed: asyncio.Event = msgspec.field(default_factory=asyncio.Event)


class Subscribed(msgspec.Struct, frozen=True):
    """The hub answered a subscription.

    Attributes:
        charger_id: The charger.
        error: None when it was taken.
    """

    charger_id: str
    error: str | None


class Delivering(msgspec.Struct, frozen=True):
    """The hub delivers: it sent a value, or accepted a subscription.

    Without a charger to subscribe there is nothing to wait for behind the handshake.
    """


HubReport = Delivering | ObservationsReceived | ChargerResponse | StreamAnomaly | Subscribed


NEVER_S = float("inf")
# How long a hub that wants no reconnect is left alone at least.
NO_RECONNECT_WAIT_S = 60.0
# Meanwhile the receiver catches up, or does something else.
BUSY_RECHECK_S = 0.001


def _nobody_asks() -> None:
    """Ignore a heartbeat (default callback)."""


def _nobody_looks(_data: bytes) -> None:
    """Ignore a frame (default callback)."""


def never_busy() -> bool:
    """Return False: the default back-pressure predicate."""
    return False


class HubConnection:
    """One hub connection, from the handshake to its end."""

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        subscriptions: Subscriptions,
        take: Callable[[HubReport], None],
        *,
        alive: Callable[[], None] = _nobody_asks,
        crowded: Callable[[], bool] = never_busy,
        look: Callable[[bytes], None] = _nobody_looks,
    ) -> None:
        self._crowded = crowded
        self._look = look
        self._limits = limits
        self._clock = clock
        self._subscriptions = subscriptions
        self._take = take
        self._alive = alive
        self._decoder = Decoder()
        self._keepalive = Keepalive(
            self._mono_s(), ping_every_s=limits.ping_every_s, silence_s=limits.silence_s
        )
        self._opened = asyncio.Event()
        self._delivering_since_s: float | None = None
        self._answer_due_s = NEVER_S
        self._subscribed: set[str] = set()
        self._calls: dict[str, str] = {}
        self._call_ids = map(str, itertools.count())

    @property
    def lived_s(self) -> float | None:
        """Seconds since the hub began to deliver, or None when it never did."""
        since_s = self._delivering_since_s
        return None if since_s is None else self._mono_s() - since_s

    async def serve(self, socket: HubSocket) -> None:
        """Serve the socket until it ends, which always raises.

        Raises:
            ConnectionLost: Why it ended.
        """
        socket.on_bytes = self._heard
        self._heard()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(socket), name="stream.read")
                tasks.create_task(self._watch_silence(), name="stream.silence")
                tasks.create_task(self._ping(socket), name="stream.ping")
                tasks.create_task(self._subscribe(socket), name="stream.subscribe")
        except ExceptionGroup as ended:
            # The first one is the reason, the others follow from it.
            raise ended.exceptions[0] from ended

    # -- tasks --------------------------------------------------------------------------------

    async def _read(self, socket: HubSocket) -> None:
        await self._send(socket, HANDSHAKE)
        while True:
            data = await socket.recv()
            self._heard()
            self._look(data)
            is_dense = data.count(RECORD_END) * SHORT_RECORD_BYTES > len(data)
            slice_bytes = SLICE_BYTES // 8 if is_dense else SLICE_BYTES
            for start in range(0, len(data), slice_bytes):
                for message in batch_observations(
                    self._decoder.feed(data[start : start + slice_bytes])
                ):
                    self._handle(message)
                if len(data) > slice_bytes:
                    await asyncio.sleep(0)  # others have their turn
                while self._crowded():
                    # What was read is handled before more is; TCP holds the hub back.
                    await self._clock.sleep(BUSY_RECHECK_S)

    async def _watch_silence(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.handshake_s):
                await self._opened.wait()
        if not self._opened.is_set():
            raise ConnectionLost("the hub did not answer the handshake in time")
        while (left_s := self._keepalive.dead_at_s - self._mono_s()) > 0:
            if self._answer_due_s <= self._mono_s():
                raise ConnectionLost("the hub accepts the handshake and then sends nothing")
            await self._clock.sleep(left_s)
        raise ConnectionLost(f"nothing received from the hub for {self._limits.silence_s:g} s")

    async def _ping(self, socket: HubSocket) -> None:
        await self._opened.wait()
        while True:
            self._alive()
            left_s = self._keepalive.ping_at_s - self._mono_s()
            if left_s > 0:
                await self._clock.sleep(left_s)
            else:
                await self._send(socket, PING)

    async def _subscribe(self, socket: HubSocket) -> None:
        """Subscribe what is watched, what joins later, and again what was refused."""
        await self._opened.wait()
        while True:
            self._subscriptions.changed.clear()
            missing = [
                id_ for id_ in self._subscriptions.charger_ids if id_ not in self._subscribed
            ]
            for count, charger_id in enumerate(missing, start=1):
                call_id = next(self._call_ids)
                self._calls[call_id] = charger_id
                self._subscribed.add(charger_id)
                await self._send(socket, subscribe(charger_id, call_id))
                self._answer_due_s = min(self._answer_due_s, self._mono_s() + self._limits.answer_s)
                if count % self._limits.burst == 0:
                    await self._clock.sleep(self._limits.pause_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.refused_again_s):
                    await self._subscriptions.changed.wait()

    # -- parts --------------------------------------------------------------------------------

    def _handle(self, message: HubItem) -> None:
        match message:
            case ObservationsReceived() | ChargerResponse():
                self._deliver()
                self._take(message)
            case StreamAnomaly():
                self._take(message)
            case HandshakeResponse(None):
                if not self._subscriptions.charger_ids:
                    self._deliver()
                self._opened.set()
            case HandshakeResponse(error):
                raise ConnectionLost(f"the hub refused the handshake: {error}", refused=True)
            case Completion(call_id, error):
                self._completed(call_id, error)
            case Close(error, allow_reconnect):
                said = f"the hub closes: {error or 'no reason given'}"
                if allow_reconnect:
                    raise ConnectionLost(said)
                said = f"{said}, and wants no reconnect"
                raise ConnectionLost(said, retry_after_s=NO_RECONNECT_WAIT_S, refused=True)

    def _completed(self, call_id: str, error: str | None) -> None:
        charger_id = self._calls.pop(call_id, None)
        if charger_id is None:
            return
        if error is None:
            self._deliver()
        else:
            self._answer_due_s = NEVER_S
            self._subscribed.discard(charger_id)
        self._take(Subscribed(charger_id, error))

    def _deliver(self) -> None:
        self._answer_due_s = NEVER_S
        if self._delivering_since_s is None:
            self._delivering_since_s = self._mono_s()
            self._take(Delivering())

    async def _send(self, socket: HubSocket, record: str) -> None:
        await socket.send(record)
        self._keepalive.sent(self._mono_s())

    def _heard(self) -> None:
        self._keepalive.heard(self._mono_s())

    def _mono_s(self) -> float:
        return self._clock.now().mono_s
