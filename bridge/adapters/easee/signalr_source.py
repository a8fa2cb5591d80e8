"""The push source of observations: the vendor's SignalR hub over a WebSocket.

The protocol and every decision about time live in :mod:`bridge.core.easee.signalr` and
:mod:`bridge.core.easee.hub_session`, the WebSocket in :mod:`bridge.adapters.easee.websocket`; this
file connects again and again. Rules:

1. Each attempt negotiates anew, with the token the cloud adapter holds then. A hub that does not
   take it costs one renewal, and no other before it delivered: whether a token is good is REST's to
   say, and a hub that is wrong must not keep REST from working.
2. Nothing the hub sends ends the process, and only a close, a refused handshake or silence ends a
   connection.
3. There is one retry, ours.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from websockets.exceptions import InvalidStatus, WebSocketException

from bridge import __version__
from bridge.adapters.easee.signalr_connection import (
    Delivering,
    HubConnection,
    HubReport,
    Limits,
    Subscribed,
    Subscriptions,
    never_busy,
)
from bridge.adapters.easee.unreached import in_words
from bridge.adapters.easee.vendor_notes import VendorNotes
from bridge.adapters.easee.websocket import HubSocket, open_socket
from bridge.adapters.loss_reason import LossReason
from bridge.core.easee.error_responses import retry_after_s
from bridge.core.easee.hub_session import count_failure, read_negotiation, retry_in_s, socket_url
from bridge.core.events import (
    ChargerResponse,
    Event,
    ObservationsReceived,
    StreamAnomaly,
    StreamClosed,
    StreamOpened,
    StreamSubscription,
)
from bridge.core.records.source_receipt import SourceReceipt
from bridge.errors import BridgeError, CloudRejected, ConnectionLost
from bridge.ports import Clock, Cloud, Emit, Heartbeat, no_heartbeat
from bridge.settings import EaseeSettings

log = structlog.get_logger()

# A new token, a negotiation and an upgrade with all their deadlines, and then as long again.
HEARTBEAT_TIMEOUT_S = 300.0
# Said to a negotiation or to an upgrade, these may mean the token.
REFUSED_CODES = frozenset({401, 403})
# 403 and 429 at the upgrade are how a ban begins; without a Retry-After we stay away this long.
RATE_LIMITED_CODES = frozenset({403, 429})
RATE_LIMITED_WAIT_S = 60.0


class HubStream:
    """Implements :class:`bridge.ports.ObservationSource`: one hub connection after the other."""

    replays: Final = True

    def __init__(
        self,
        settings: EaseeSettings,
        *,
        cloud: Cloud,
        clock: Clock,
        emit: Emit,
        limits: Limits | None = None,
        heartbeat: Heartbeat = no_heartbeat,
        crowded: Callable[[], bool] = never_busy,
    ) -> None:
        """Connect nothing yet.

        Args:
            settings: Where the hub is.
            cloud: Negotiates and holds the token.
            clock: Times back-off, pings and silence.
            emit: Takes what arrives.
            limits: Other limits than the usual ones, for tests.
            heartbeat: Told when it will be heard of again.
            crowded: Whether so much of what was emitted waits that no more should be read.
        """
        self._crowded = crowded
        self._settings = settings
        self._cloud = cloud
        self._clock = clock
        self._emit = emit
        self._notes = VendorNotes(clock, emit)
        self._limits = limits or Limits()
        self._promise = heartbeat
        self._subscriptions = Subscriptions()
        self._refused: dict[str, str] = {}
        self._rejected_token: str | None = None
        self._is_renewed = False
        self._loss = LossReason()

    def subscribe(self, charger_ids: tuple[str, ...]) -> None:
        """Subscribe exactly these chargers, now and after every reconnect.

        The hub does not really unsubscribe (pyeasee gave up on it), so a charger that vanished is
        only left out of the next connection; the core ignores what it does not know.
        """
        self._subscriptions.charger_ids = charger_ids
        self._subscriptions.changed.set()

    def acknowledge(self, receipt: SourceReceipt) -> None:
        """Do nothing: the hub has no acknowledgements and repeats current values itself."""

    async def run(self) -> None:
        """Keep a connection open until cancelled, and emit what arrives."""
        failures = 0
        while True:
            self._promise(HEARTBEAT_TIMEOUT_S)
            connection = HubConnection(
                self._limits,
                self._clock,
                self._subscriptions,
                self._take,
                alive=self._still_here,
                crowded=self._crowded,
                look=self._notes.frame,
            )
            lost = await self._contained(connection)
            failures = count_failure(connection.lived_s, failures)
            wait_s = retry_in_s(failures, self._clock.jitter(), lost.retry_after_s)
            self._lost(lost, failures, wait_s)
            self._promise(wait_s + HEARTBEAT_TIMEOUT_S)
            await self._clock.sleep(wait_s)

    def _still_here(self) -> None:
        self._promise(HEARTBEAT_TIMEOUT_S)

    async def _contained(self, connection: HubConnection) -> BridgeError:
        """Attempt in a task of its own: what ends there must not end us.

        With Python 3.11.2, which Debian 12 has, closing a socket whose peer reads no more leaves a
        cancellation behind without a cause. Unnoticed it would end the stream for good.
        """
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        try:
            ended = await loop.create_task(self._attempt(connection), name="stream-attempt")
        except asyncio.CancelledError:
            if this is not None and this.cancelling():
                raise
            return ConnectionLost("the connection could not be closed in order")
        if this is not None and this.cancelling():
            # Its connection broke in the same moment: for a TaskGroup errors come before a
            # cancellation, and we would go on for ever.
            raise asyncio.CancelledError
        return ended

    async def _attempt(self, connection: HubConnection) -> BridgeError:
        """Make one connection, serve it until it ends, and return the error that ended it."""
        try:
            token = await self._token()
            body = await self._negotiated(token)
            url = socket_url(self._settings.stream_url, read_negotiation(body).connection_token)
            socket = await self._upgrade(url, token)
            try:
                await connection.serve(socket)
            finally:
                await socket.close()
        except BridgeError as error:
            return error
        except Exception as error:
            log.warning("stream.failed", error=type(error).__name__)
            log.debug("stream.failed_at", exc_info=True)
            return ConnectionLost(f"unexpected {type(error).__name__}")
        return ConnectionLost("the connection ended")

    async def _token(self) -> str:
        """Return the token at hand, or another one if the hub did not take that."""
        token = await self._cloud.token(rejected=self._rejected_token)
        self._rejected_token = None
        return token

    async def _negotiated(self, token: str) -> bytes:
        try:
            return await self._cloud.negotiate(self._settings.stream_url, token)
        except CloudRejected as error:
            self._was_unwelcome(error.status, token)
            reason = f"the hub refuses the negotiation: {error} (HTTP {error.status})"
            raise ConnectionLost(reason, refused=True) from error

    def _was_unwelcome(self, status: int | None, token: str) -> None:
        """Record that the hub refused a token; the first time another one is requested."""
        if status in REFUSED_CODES and not self._is_renewed:
            self._is_renewed = True
            self._rejected_token = token

    async def _upgrade(self, url: str, token: str) -> HubSocket:
        """Open the WebSocket.

        Raises:
            ConnectionLost: It could not be opened. The URL is not named: it holds the connection
                token.
        """
        agent = f"charger-bridge/{__version__}"
        headers = {"Authorization": f"Bearer {token}", "User-Agent": agent}
        try:
            return await open_socket(
                url, headers, open_s=self._limits.open_s, close_s=self._limits.close_s
            )
        except InvalidStatus as exc:
            raise self._refusal(exc, token) from exc
        except TimeoutError as exc:
            raise ConnectionLost("the hub did not answer the upgrade in time") from exc
        except OSError as exc:
            raise ConnectionLost(f"the hub cannot be reached: {in_words(exc)}") from exc
        except (WebSocketException, ValueError) as exc:
            raise ConnectionLost(f"the upgrade failed: {type(exc).__name__}") from exc

    def _refusal(self, exc: InvalidStatus, token: str) -> ConnectionLost:
        status = exc.response.status_code
        now = self._clock.now()
        # A hub that names two times means the first as much as the second.
        asked = next(iter(exc.response.headers.get_all("Retry-After")), None)
        asked_s = retry_after_s(asked, now.wall if now.trusted else None)
        self._was_unwelcome(status, token)
        if status in RATE_LIMITED_CODES and asked_s is None:
            asked_s = RATE_LIMITED_WAIT_S
        reason = f"the hub refused the upgrade: HTTP {status}"
        return ConnectionLost(reason, retry_after_s=asked_s, refused=True)

    # -- what a connection tells --------------------------------------------------------------

    def _take(self, item: HubReport) -> None:
        match item:
            case Delivering():
                self._loss.clear()
                self._is_renewed = False
                log.info("stream.connected", chargers=len(self._subscriptions.charger_ids))
                self._tell(StreamOpened())
            case Subscribed(charger_id, None):
                self._refused.pop(charger_id, None)
                log.debug("stream.subscribed", charger_id=charger_id)
                self._tell(StreamSubscription(charger_id, None))
            case Subscribed(charger_id, str(error)):
                if self._refused.get(charger_id) != error:
                    self._refused[charger_id] = error
                    log.warning("stream.subscription_refused", charger_id=charger_id, reason=error)
                # Logged once, told each time: of another connection nothing is known before.
                self._tell(StreamSubscription(charger_id, error))
            case ObservationsReceived(observations):
                self._tell(item)
                self._notes.observed(observations)
            case ChargerResponse() | StreamAnomaly():
                self._tell(item)

    def _lost(self, lost: BridgeError, failures: int, wait_s: float) -> None:
        """Emit the loss of the connection once, and again when the reason changes."""
        reason = str(lost)
        if not self._loss.is_new(reason):
            log.debug("stream.still_lost", failures=failures, retry_in_s=round(wait_s, 1))
            return
        log.warning("stream.lost", reason=reason, retry_in_s=round(wait_s, 1))
        self._tell(StreamClosed(reason, refused=lost.refused))

    def _tell(self, event: Event) -> None:
        try:
            self._emit(event)
        except Exception as error:  # noqa: BLE001 - a border: no consumer ends the stream
            log.warning("stream.event_dropped", error=type(error).__name__)
