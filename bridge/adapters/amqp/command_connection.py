"""One connection to the feed's broker that publishes commands, each with a confirm.

It is none of pika's, which writes in a later turn of the loop: here the time of a command is
checked directly before its bytes are written, and the kernel is held to it. The codec is pika's.
Rules:

1. One command at a time: the next one is written when the broker confirmed the one before.
2. What was not written raises :class:`NotPublished`. What was written and is not confirmed in time,
   or refused by the broker, raises :class:`~bridge.errors.PublishUnconfirmed`: a queue may have it.
3. A command that no queue takes comes back (``mandatory``): nobody has it. Nor where the broker
   closes the channel because it may not be published.
4. A broker that is silent for two heartbeats is gone. What it did not confirm in time is not waited
   for: the connection is closed, and what the kernel did not send goes with it.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pika
from pika import frame, spec
from pika.exceptions import AMQPError

from bridge.adapters import in_flight
from bridge.adapters.amqp.connection import (
    CLIENT_PROPERTIES,
    DIAL_TIMEOUT_S,
    HEARTBEAT_S,
    OPEN_TIMEOUT_S,
    in_words,
)
from bridge.core.easee.partner_feed import FeedLogin
from bridge.errors import BridgeError, ConnectionLost, PublishUnconfirmed

CONFIRM_TIMEOUT_S: Final = 5.0
BEAT_EVERY_S: Final = float(HEARTBEAT_S)
SILENT_AFTER_S: Final = 2 * BEAT_EVERY_S
READ_BYTES: Final = 65_536
# The broker may send frames of this size; what it sends here is far smaller.
FRAME_MAX: Final = 131_072
CHANNEL: Final = 1
ACCESS_REFUSED, NOT_FOUND, NOT_ALLOWED = 403, 404, 530


class NotPublished(BridgeError):
    """A command was not written: there is no time, no connection, or no room in it."""


class CommandConnection:
    """One connection, used once.

    Attributes:
        lost: Resolved with the reason when it is over.
    """

    def __init__(self, login: FeedLogin) -> None:
        """Connect nothing yet.

        Args:
            login: Where the exchange is.
        """
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[ConnectionLost] = self._loop.create_future()
        self._login = login
        self._one_at_a_time = asyncio.Lock()
        self._published = 0
        self._confirm: asyncio.Future[None] | None = None
        self._was_returned = False
        self._is_blocked = False
        self._beat: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Dial and have the broker confirm what is published.

        Raises:
            ConnectionLost: It did not work; the text has no credentials.
        """
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                frames = await self._dialled()
        except TimeoutError as error:
            self.close()
            where = f"{self._login.host}:{self._login.port}"
            raise ConnectionLost(f"no connection to {where} in time") from error
        except (OSError, AMQPError, ConnectionLost) as error:
            self._lose(error)
            raise self.lost.result() from error
        self._reading = self._loop.create_task(self._read(frames))

    async def publish(self, routing_key: str, body: bytes, left_s: Callable[[], float]) -> bool:
        """Publish a command.

        Args:
            routing_key: Of the command.
            body: Of the command.
            left_s: Tells the seconds in which it may be written, asked directly before.

        Returns:
            Whether a queue has it; False: it came back.

        Raises:
            NotPublished: It was not written.
            PublishUnconfirmed: It was, and the broker did not confirm it.
        """
        try:
            async with asyncio.timeout(max(0.0, left_s())):
                await self._one_at_a_time.acquire()
        except TimeoutError:
            raise NotPublished("the command before it is not confirmed yet") from None
        try:
            return await self._publish(routing_key, body, left_s)
        finally:
            self._one_at_a_time.release()

    def close(self) -> None:
        """Close it; what was not sent is discarded. Idempotent, never raises."""
        if self._beat is not None:
            self._beat.cancel()
        if self._reading is not None and self._reading is not asyncio.current_task(self._loop):
            self._reading.cancel()
        if self._writer is not None:
            self._writer.transport.abort()
        if not self.lost.done():
            self.lost.set_result(ConnectionLost("closed"))
        self._settle(PublishUnconfirmed("the connection ended before it was confirmed"))

    # -- publishing -------------------------------------------------------------------------------

    async def _publish(self, routing_key: str, body: bytes, left_s: Callable[[], float]) -> bool:
        writer = self._writer
        if writer is None or self.lost.done():
            raise NotPublished("there is no connection to the exchange")
        if self._is_blocked or writer.transport.get_write_buffer_size():
            raise NotPublished("the broker takes nothing at present")
        sock = writer.get_extra_info("socket")
        remaining_s = left_s()
        if remaining_s <= 0:
            raise NotPublished("its time was over when it could have left")
        message = _message(self._login.exchange, routing_key, body, round(remaining_s * 1000))
        confirm = self._confirm = self._loop.create_future()
        self._was_returned = False
        self._published += 1
        with in_flight.sent_within(sock, left_s):
            writer.write(message)
            try:
                async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                    await asyncio.shield(confirm)
            except TimeoutError:
                self._lose(ConnectionLost("the exchange did not confirm a command in time"))
                raise PublishUnconfirmed("the exchange did not confirm it in time") from None
        return not self._was_returned

    def _acked(self, number: int, *, multiple: bool, refused: bool) -> None:
        confirm = self._confirm
        is_ours = number == self._published or (multiple and number >= self._published)
        if confirm is None or confirm.done() or not (is_ours or (multiple and not number)):
            return
        if refused:
            self._settle(PublishUnconfirmed("the broker refused to keep it"))
        else:
            confirm.set_result(None)

    def _settle(self, error: BridgeError) -> None:
        """End the wait for a confirm, where it has not ended."""
        if self._confirm is not None and not self._confirm.done():
            self._confirm.set_exception(error)
            self._confirm.exception()  # it may not be waited for any more

    # -- the connection ---------------------------------------------------------------------------

    async def _dialled(self) -> AsyncIterator[Any]:
        """Make the connection and its channel; return the frames that follow."""
        login = self._login
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            self._reader, self._writer = await asyncio.open_connection(
                login.host,
                login.port,
                ssl=ssl.create_default_context() if login.tls else None,
                server_hostname=login.host if login.tls else None,
            )
        in_flight.mortal(self._writer.get_extra_info("socket"))
        frames = self._frames()
        self._writer.write(frame.ProtocolHeader().marshal())
        await self._expect(frames, spec.Connection.Start)
        response = f"\0{login.username}\0{login.password}"
        self._send(spec.Connection.StartOk(CLIENT_PROPERTIES, "PLAIN", response, "en_US"), 0)
        tune = await self._expect(frames, spec.Connection.Tune)
        size = min(FRAME_MAX, tune.frame_max or FRAME_MAX)
        self._send(spec.Connection.TuneOk(tune.channel_max, size, HEARTBEAT_S), 0)
        self._send(spec.Connection.Open(login.virtual_host), 0)
        await self._expect(frames, spec.Connection.OpenOk)
        self._beat_later()
        self._send(spec.Channel.Open())
        await self._expect(frames, spec.Channel.OpenOk)
        # An exchange that does not exist is a problem of the connection, not of a command.
        self._send(spec.Exchange.Declare(exchange=login.exchange, passive=True))
        await self._expect(frames, spec.Exchange.DeclareOk)
        self._send(spec.Confirm.Select())
        await self._expect(frames, spec.Confirm.SelectOk)
        return frames

    async def _frames(self) -> AsyncIterator[Any]:
        """Yield what the broker sends.

        Raises:
            ConnectionLost: It is silent, or ended the connection.
            AMQPError: It sends what is no AMQP.
        """
        received = b""
        while True:
            used, found = frame.decode_frame(received)
            if found is not None:
                received = received[used:]
                yield found
                continue
            if len(received) > FRAME_MAX:
                raise ConnectionLost("the broker sends frames that are too large")
            try:
                async with asyncio.timeout(SILENT_AFTER_S):
                    more = await self._reader.read(READ_BYTES)
            except TimeoutError:
                raise ConnectionLost(
                    f"the exchange at {self._login.host}:{self._login.port} is silent"
                ) from None
            if not more:
                raise EOFError
            received += more

    async def _expect(self, frames: AsyncIterator[Any], kind: type) -> Any:
        """Return the next method, which is of a kind."""
        async for each in frames:
            method = getattr(each, "method", None)
            if isinstance(method, kind):
                return method
            self._handle(each)
        raise EOFError

    async def _read(self, frames: AsyncIterator[Any]) -> None:
        """Handle what the broker sends until the connection is over; never raises."""
        try:
            async for each in frames:
                self._handle(each)
        except Exception as error:  # noqa: BLE001 - what arrives ends this connection, nothing else
            self._lose(error)

    def _handle(self, received: Any) -> None:
        """Handle one frame.

        Raises:
            ConnectionLost: The broker closes the connection or its channel.
        """
        match getattr(received, "method", None):
            case spec.Basic.Ack() as method:
                self._acked(method.delivery_tag, multiple=method.multiple, refused=False)
            case spec.Basic.Nack() as method:
                self._acked(method.delivery_tag, multiple=method.multiple, refused=True)
            case spec.Basic.Return():
                self._was_returned = True
            case spec.Connection.Blocked():
                self._is_blocked = True
            case spec.Connection.Unblocked():
                self._is_blocked = False
            case spec.Channel.Close() as method if self._was_refused(method):
                self._settle(NotPublished("the exchange refuses it"))
                raise self._closed(method.reply_code)
            case spec.Connection.Close() | spec.Channel.Close() as method:
                raise self._closed(method.reply_code)

    def _was_refused(self, method: Any) -> bool:
        """Return whether a channel was closed because nothing may be published: no queue has it."""
        publish = (spec.Basic.INDEX, spec.Basic.Publish.INDEX & 0xFFFF)
        is_publish = (method.class_id, method.method_id) == publish
        return is_publish and method.reply_code in (ACCESS_REFUSED, NOT_FOUND)

    def _closed(self, code: int) -> ConnectionLost:
        """Return why the broker closed; its own text is not repeated."""
        where = f"{self._login.host}:{self._login.port}"
        words = {
            ACCESS_REFUSED: f"the exchange at {where} refuses this account",
            NOT_FOUND: f"there is no exchange {self._login.exchange} at {where}",
            NOT_ALLOWED: f"the exchange at {where} refuses the virtual host",
        }
        said = words.get(code, f"the broker at {where} closed the connection (code {code})")
        return ConnectionLost(said, refused=code in words)

    def _send(self, method: Any, channel: int = CHANNEL) -> None:
        if self._writer is not None:
            self._writer.write(frame.Method(channel, method).marshal())

    def _beat_later(self) -> None:
        self._beat = self._loop.call_later(BEAT_EVERY_S, self._say_beat)

    def _say_beat(self) -> None:
        if self._writer is not None and not self._writer.transport.is_closing():
            self._writer.write(frame.Heartbeat().marshal())
            self._beat_later()

    def _lose(self, error: BaseException) -> None:
        if not self.lost.done():
            self.lost.set_result(in_words(error, self._login))
        self.close()


def _message(exchange: str, routing_key: str, body: bytes, within_ms: int) -> bytes:
    """Return the frames of a command; the broker drops it after its time."""
    method = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    properties = pika.BasicProperties(
        content_type="application/json", delivery_mode=1, expiration=str(max(1, within_ms))
    )
    parts = (
        frame.Method(CHANNEL, method),
        frame.Header(CHANNEL, len(body), properties),
        frame.Body(CHANNEL, body),
    )
    return b"".join(each.marshal() for each in parts)
