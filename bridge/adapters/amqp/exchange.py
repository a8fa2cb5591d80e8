"""Sends commands through the exchange of the partner feed, and everything else over REST.

Rules:

1. A request that names a command of the exchange (:mod:`bridge.core.easee.exchange_commands`) is
   published there while there is a connection, and sent over REST while there is none. What was
   written and is not confirmed is in doubt, and goes nowhere else.
2. What the exchange gave back, and what was certainly not written, goes over REST in the time that
   is left.
3. No command leaves after its time, or after the lease of its partition.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from bridge.adapters.amqp.command_connection import CommandConnection, NotPublished
from bridge.adapters.amqp.kept_connection import keep_connected
from bridge.adapters.amqp.login import feed_login
from bridge.adapters.loss_reason import LossReason
from bridge.core.easee.exchange_commands import ExchangeCommand
from bridge.core.easee.partner_feed import command_body, command_key
from bridge.core.easee.rest_requests import CloudRequest
from bridge.core.events import ExchangeStatusChanged
from bridge.errors import BridgeError, ConnectionLost
from bridge.ports import Clock, Cloud, CloudAnswer, Emit, Heartbeat, no_heartbeat
from bridge.settings import AmqpSettings

log = structlog.get_logger()

RETURNED: Final = "the exchange has no queue for commands"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The exchange confirmed a command.

    Attributes:
        status: None: there is no HTTP status.
        body: Empty.
    """

    status: int | None = None
    body: bytes = b""


class CommandExchange:
    """Implements :class:`bridge.ports.Cloud` in front of the REST client."""

    def __init__(
        self,
        settings: AmqpSettings,
        cloud: Cloud,
        *,
        clock: Clock,
        emit: Emit,
        lease_left_s: Callable[[], float],
        heartbeat: Heartbeat = no_heartbeat,
    ) -> None:
        """Connect nothing yet.

        Args:
            settings: Where the exchange is, or that the cloud is asked.
            cloud: REST.
            clock: Time.
            emit: Takes ``ExchangeStatusChanged``.
            lease_left_s: Tells for how long commands may leave.
            heartbeat: Told when :meth:`run` will be heard of again.
        """
        self._settings = settings
        self._cloud = cloud
        self._clock = clock
        self._emit = emit
        self._lease_left_s = lease_left_s
        self._promise = heartbeat
        self._connection: CommandConnection | None = None
        self._loss = LossReason()
        self._problem = ""

    async def run(self) -> None:
        """Keep a connection open until cancelled."""
        await keep_connected(
            self._connect,
            opened=self._opened,
            lost=self._lost,
            clock=self._clock,
            promise=self._promise,
        )

    async def send(self, request: CloudRequest, *, within_s: float) -> CloudAnswer:
        """Send one request; see :class:`bridge.ports.Cloud`.

        Raises:
            PublishUnconfirmed: It was published, and the broker did not confirm it.
            CloudError: As the REST client raises it.
        """
        until_s = self._clock.now().mono_s + within_s
        command = request.exchange
        if command is not None and await self._is_published(command, until_s):
            return Confirmed()
        return await self._cloud.send(request, within_s=until_s - self._clock.now().mono_s)

    async def token(self, *, rejected: str | None = None) -> str:
        """Return a valid access token for the hub; see :class:`bridge.ports.Cloud`."""
        return await self._cloud.token(rejected=rejected)

    async def negotiate(self, stream_url: str, token: str) -> bytes:
        """Request a connection from the hub; see :class:`bridge.ports.Cloud`."""
        return await self._cloud.negotiate(stream_url, token)

    async def close(self) -> None:
        """Close connections."""
        if self._connection is not None:
            self._connection.close()
        await self._cloud.close()

    # -- publishing -------------------------------------------------------------------------------

    async def _is_published(self, command: ExchangeCommand, until_s: float) -> bool:
        """Publish a command if there is a connection; return whether a queue has it."""
        connection = self._connection
        if connection is None or command.expires_at is None:
            return False
        now_s = self._clock.now().mono_s
        leaves_until_s = min(until_s, now_s + self._lease_left_s())
        left_s = functools.partial(self._left_s, command, leaves_until_s)
        facts = {"charger_id": command.charger_id, "command_id": command.command_id}
        try:
            has_it = await connection.publish(command_key(command), command_body(command), left_s)
        except NotPublished as error:
            log.debug("exchange.not_published", reason=str(error), **facts)
            return False
        log.debug("exchange.published", has_it=has_it, **facts)
        self._tell("" if has_it else RETURNED)
        return has_it

    def _left_s(self, command: ExchangeCommand, until_s: float) -> float:
        """Return the seconds in which a command may leave, by both clocks."""
        now = self._clock.now()
        left_s = until_s - now.mono_s
        if command.expires_at is not None:
            left_s = min(left_s, (command.expires_at - now.wall).total_seconds())
        return left_s

    # -- the connection ---------------------------------------------------------------------------

    async def _connect(self) -> CommandConnection:
        login = await feed_login(self._settings, self._cloud)
        if not login.exchange:
            raise ConnectionLost("the cloud names no exchange for commands", refused=True)
        return CommandConnection(login)

    def _opened(self, connection: CommandConnection) -> None:
        self._connection = connection
        self._loss.clear()
        log.info("exchange.connected")
        self._tell("")

    def _lost(self, error: BridgeError, failures: int, wait_s: float) -> None:
        """Log the loss of the connection once, and again when the reason changes."""
        self._connection = None
        reason = str(error)
        if not self._loss.is_new(reason):
            log.debug("exchange.still_lost", failures=failures, retry_in_s=round(wait_s, 1))
            return
        log.warning("exchange.lost", reason=reason, retry_in_s=round(wait_s, 1))
        if error.refused:
            self._tell(reason)

    def _tell(self, problem: str) -> None:
        """Emit why commands go over REST although the exchange could carry them, on a change."""
        if problem != self._problem:
            self._problem = problem
            self._emit(ExchangeStatusChanged(problem))
