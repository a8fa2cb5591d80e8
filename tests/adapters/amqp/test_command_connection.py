"""A connection that publishes commands, against a broker that a test scripts, frame by frame."""

import asyncio
import contextlib
import json

import pika
import pytest
from pika import frame, spec

from bridge.adapters.amqp import command_connection
from bridge.adapters.amqp.command_connection import CommandConnection, NotPublished
from bridge.core.easee.partner_feed import FeedLogin
from bridge.errors import ConnectionLost, PublishUnconfirmed
from tests.conftest import PATIENCE_S

pytestmark = pytest.mark.anyio


async def turn():
    """Let others run once."""
    await asyncio.sleep(0)


KEY, BODY = "EH123456.C.48.638", b'{"Id":48}'


def for_ever():
    """Return more time than any test takes."""
    return 600.0


class Broker:
    """A broker that knows what a connection for commands needs.

    Attributes:
        refuses: Method by the class of the request that it is sent instead of the usual answer.
        answers: What follows each publication.
        published: Routing key, body and properties of each.
    """

    def __init__(self):
        self.refuses = {}
        self.answers = [spec.Basic.Ack(1), spec.Basic.Ack(2), spec.Basic.Ack(3)]
        self.published, self.beats, self.asked = [], 0, []
        self.arrived = asyncio.Event()
        self.writer = None
        self.port = 0

    async def serve(self, reader, writer):
        self.writer = writer
        writer.transport.set_write_buffer_limits(0)
        await reader.readexactly(8)
        self.say(spec.Connection.Start(0, 9, {}, "PLAIN", "en_US"), 0)
        received = b""
        with contextlib.suppress(OSError):
            while more := await reader.read(65536):
                received += more
                while True:
                    used, found = frame.decode_frame(received)
                    if found is None:
                        break
                    received = received[used:]
                    self.take(found)
        writer.close()

    def say(self, method, channel=1):
        self.writer.write(frame.Method(channel, method).marshal())

    def take(self, found):
        if isinstance(found, frame.Heartbeat):
            self.beats += 1
            self.arrived.set()
        elif isinstance(found, frame.Header):
            self.published[-1].append(found.properties)
        elif isinstance(found, frame.Body):
            self.published[-1].append(found.fragment)
            self.arrived.set()
            for answer in self.next_answers():
                self.say(answer)
        else:
            self.asked.append(found.method)
            self.reply(found.method)

    def next_answers(self):
        answer = self.answers.pop(0) if self.answers else ()
        return answer if isinstance(answer, tuple) else (answer,)

    def reply(self, method):
        if (refusal := self.refuses.get(type(method))) is not None:
            self.say(refusal, 0 if isinstance(refusal, spec.Connection.Close) else 1)
            return
        match method:
            case spec.Connection.StartOk():
                self.say(spec.Connection.Tune(2047, 131072, 60), 0)
            case spec.Connection.Open():
                self.say(spec.Connection.OpenOk(), 0)
            case spec.Channel.Open():
                self.say(spec.Channel.OpenOk())
            case spec.Exchange.Declare():
                self.say(spec.Exchange.DeclareOk())
            case spec.Confirm.Select():
                self.say(spec.Confirm.SelectOk())
            case spec.Basic.Publish():
                self.published.append([method.exchange, method.routing_key, method.mandatory])


@contextlib.asynccontextmanager
async def serving(broker):
    """Serve on loopback; yield a login for it."""
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield FeedLogin("127.0.0.1", port, False, "/v", "operator", "canary-feed", "A.Q", "A.C.X")


@contextlib.asynccontextmanager
async def opened(broker):
    """Open a connection to a broker."""
    async with serving(broker) as login:
        connection = CommandConnection(login)
        await connection.open()
        try:
            yield connection
        finally:
            connection.close()


async def test_a_command_is_published_with_everything_the_vendor_documents():
    """Mandatory, transient, JSON, with the time left as its expiration; then it is confirmed."""
    broker = Broker()
    async with opened(broker) as connection:
        assert await connection.publish(KEY, BODY, lambda: 12.3456)

    ((exchange, key, mandatory, properties, body),) = broker.published
    assert (exchange, key, mandatory, body) == ("A.C.X", KEY, True, BODY)
    assert (properties.delivery_mode, properties.expiration) == (1, "12346")
    assert properties.content_type == "application/json"
    (start,) = [each for each in broker.asked if isinstance(each, spec.Connection.StartOk)]
    assert start.response == b"\0operator\0canary-feed"
    (declared,) = [each for each in broker.asked if isinstance(each, spec.Exchange.Declare)]
    assert (declared.exchange, declared.passive) == ("A.C.X", True)


async def test_what_no_queue_takes_comes_back():
    """The broker confirms what it returned; the next command is another matter."""
    broker = Broker()
    returned = spec.Basic.Return(312, "NO_ROUTE", "A.C.X", KEY)
    broker.answers[0] = (returned, spec.Basic.Ack(1))
    async with opened(broker) as connection:
        assert await connection.publish(KEY, BODY, for_ever) is False
        assert await connection.publish(KEY, BODY, for_ever) is True


async def test_a_refusal_is_a_doubt():
    """Another queue may have it; the next command is another matter."""
    broker = Broker()
    broker.answers[0] = spec.Basic.Nack(1)
    async with opened(broker) as connection:
        with pytest.raises(PublishUnconfirmed):
            await connection.publish(KEY, BODY, for_ever)
        assert await connection.publish(KEY, BODY, for_ever)


@pytest.mark.parametrize("left_s", [0.0, -1.0])
async def test_without_time_nothing_is_written(left_s):
    """Its time is asked for directly before its bytes, behind the wait for the one before."""
    broker = Broker()
    async with opened(broker) as connection:
        with pytest.raises(NotPublished):
            await connection.publish(KEY, BODY, lambda: left_s)
        asked = iter([5.0, left_s])
        with pytest.raises(NotPublished):
            await connection.publish(KEY, BODY, lambda: next(asked))
        assert await connection.publish(KEY, BODY, for_ever)
    assert len(broker.published) == 1


async def test_commands_wait_for_each_other():
    """The second is written when the first is confirmed; cumulative confirms count."""
    broker = Broker()
    broker.answers = [(), spec.Basic.Ack(2, multiple=True)]
    async with opened(broker) as connection:
        first = asyncio.get_running_loop().create_task(connection.publish(KEY, BODY, for_ever))
        second = asyncio.get_running_loop().create_task(connection.publish(KEY, b"{}", for_ever))
        await broker.arrived.wait()
        assert len(broker.published) == 1
        broker.say(spec.Basic.Ack(1))
        assert await first
        assert await second


async def test_what_waits_too_long_behind_another_is_not_written():
    """It goes another way: nothing of it left."""
    broker = Broker()
    broker.answers = [()]
    async with opened(broker) as connection:
        first = asyncio.get_running_loop().create_task(connection.publish(KEY, BODY, for_ever))
        await broker.arrived.wait()
        with pytest.raises(NotPublished):
            await connection.publish(KEY, BODY, lambda: 0.001)
        broker.say(spec.Basic.Ack(1))
        assert await first


async def test_what_is_not_confirmed_in_time_is_in_doubt_and_the_connection_over(monkeypatch):
    """A broker that takes and says nothing is given up."""
    monkeypatch.setattr(command_connection, "CONFIRM_TIMEOUT_S", 0.01)
    broker = Broker()
    broker.answers = [()]
    async with opened(broker) as connection:
        with pytest.raises(PublishUnconfirmed):
            await connection.publish(KEY, BODY, for_ever)
        assert "did not confirm" in str(connection.lost.result())
        with pytest.raises(NotPublished):
            await connection.publish(KEY, BODY, for_ever)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (spec.Connection.Close(320, "canary", 0, 0), "closed the connection (code 320)"),
        (None, "ended"),
    ],
)
async def test_what_was_written_before_the_end_is_in_doubt(method, words):
    """The broker closes channel, connection or socket instead of confirming."""
    broker = Broker()
    broker.answers = [()]
    async with opened(broker) as connection:
        task = asyncio.get_running_loop().create_task(connection.publish(KEY, BODY, for_ever))
        await broker.arrived.wait()
        if method is None:
            broker.writer.transport.abort()
        else:
            broker.say(method)
        with pytest.raises(PublishUnconfirmed):
            await task
        lost = await connection.lost
    assert words in str(lost)
    assert "canary" not in str(lost)
    assert not lost.refused


@pytest.mark.parametrize(
    ("code", "words"), [(404, "no exchange A.C.X"), (403, "refuses this account")]
)
async def test_what_may_not_be_published_was_not(code, words):
    """The broker closes the channel because of it: no queue has it, and the connection is over."""
    broker = Broker()
    broker.answers = [spec.Channel.Close(code, "canary", 60, 40)]
    async with opened(broker) as connection:
        with pytest.raises(NotPublished):
            await connection.publish(KEY, BODY, for_ever)
        lost = await connection.lost
    assert words in str(lost)
    assert lost.refused


async def test_a_broker_that_takes_nothing_at_present_is_given_nothing():
    """It says so before memory or disk run out, and when it goes on."""
    broker = Broker()
    async with opened(broker) as connection:
        broker.say(spec.Connection.Blocked("low on memory"), 0)
        async with asyncio.timeout(PATIENCE_S):
            while not connection._is_blocked:
                await turn()
        with pytest.raises(NotPublished):
            await connection.publish(KEY, BODY, for_ever)
        broker.say(spec.Connection.Unblocked(), 0)
        async with asyncio.timeout(PATIENCE_S):
            while connection._is_blocked:
                await turn()
        assert await connection.publish(KEY, BODY, for_ever)


@pytest.mark.parametrize(
    ("request_of", "refusal", "words"),
    [
        (spec.Connection.StartOk, spec.Connection.Close(403, "x", 0, 0), "refuses this account"),
        (spec.Connection.Open, spec.Connection.Close(530, "x", 0, 0), "refuses the virtual host"),
        (spec.Exchange.Declare, spec.Channel.Close(404, "x", 0, 0), "no exchange A.C.X"),
    ],
)
async def test_why_it_cannot_be_opened_is_in_words(request_of, refusal, words):
    """Without the broker's own text and without credentials."""
    broker = Broker()
    broker.refuses[request_of] = refusal
    async with serving(broker) as login:
        with pytest.raises(ConnectionLost, match=words) as caught:
            await CommandConnection(login).open()
    assert caught.value.refused
    assert "canary" not in str(caught.value)


async def test_nothing_there_and_nothing_of_amqp_are_in_words(monkeypatch):
    """A port without a server; a server that speaks something else, or nothing at all."""
    login = FeedLogin("127.0.0.1", 1, False, "/", "u", "canary-feed", "A.Q", "A.C.X")
    with pytest.raises(ConnectionLost, match=r"nothing listens at 127.0.0.1:1"):
        await CommandConnection(login).open()

    async def talk(said):
        writers = []  # a writer that is collected closes its connection

        async def answer(_reader, writer):
            writers.append(writer)
            writer.write(said)

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            found = FeedLogin("127.0.0.1", port, False, "/", "u", "canary-feed", "A.Q", "A.C.X")
            with pytest.raises(ConnectionLost) as caught:
                await CommandConnection(found).open()
            for writer in writers:
                writer.close()
            return str(caught.value)

    assert "too large" in await talk(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(200_000))
    monkeypatch.setattr(command_connection, "OPEN_TIMEOUT_S", 0.01)
    assert "in time" in await talk(b"")


async def test_a_silent_broker_is_gone_and_heartbeats_are_sent(monkeypatch):
    """Nothing for two heartbeats ends the connection; ours are sent meanwhile."""
    monkeypatch.setattr(command_connection, "BEAT_EVERY_S", 0.01)
    monkeypatch.setattr(command_connection, "SILENT_AFTER_S", 0.1)
    broker = Broker()
    async with opened(broker) as connection:
        lost = await asyncio.wait_for(connection.lost, PATIENCE_S)
    assert "is silent" in str(lost)
    (tune,) = [each for each in broker.asked if isinstance(each, spec.Connection.TuneOk)]
    assert (tune.channel_max, tune.frame_max) == (2047, 131072)
    assert broker.beats >= 1
    assert tune.heartbeat * 3 <= 6


async def test_closing_twice_and_before_opening_is_no_error():
    """Idempotent; who waits for a confirm is told."""
    login = FeedLogin("127.0.0.1", 1, False, "/", "u", "p", "A.Q", "A.C.X")
    connection = CommandConnection(login)
    connection.close()
    connection.close()
    assert str(connection.lost.result()) == "closed"
    with pytest.raises(NotPublished):
        await connection.publish(KEY, json.dumps({}).encode(), for_ever)
    assert pika.BasicProperties().expiration is None
