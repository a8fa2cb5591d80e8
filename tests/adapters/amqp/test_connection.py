"""Why a connection to the partner feed ended, and that it cannot hurt anything else."""

import socket
import ssl
from types import SimpleNamespace

import pytest
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorPhaseErrorBase,
    AMQPConnectorSocketConnectError,
)
from pika.exceptions import (
    AMQPHeartbeatTimeout,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from bridge.adapters.amqp import connection as connection_module
from bridge.adapters.amqp.connection import (
    CONSUMER,
    HEARTBEAT_S,
    SILENT_LOOKS,
    FeedConnection,
    in_words,
)
from bridge.core.easee.partner_feed import FeedLogin
from bridge.errors import ConnectionLost

pytestmark = pytest.mark.anyio

LOGIN = FeedLogin("feed.example", 5671, True, "/", "operator", "canary-feed", "Q", "X")


@pytest.mark.parametrize(
    ("error", "words", "refused"),
    [
        (ProbableAuthenticationError("x"), "refuses user name or password", True),
        (ProbableAccessDeniedError("x"), "refuses the virtual host", True),
        (ChannelClosedByBroker(404, "canary"), "refuses the queue Q", True),
        (ssl.SSLCertVerificationError("x"), "certificate of feed.example:5671", False),
        (ssl.SSLError("x"), "no TLS with feed.example:5671", False),
        (socket.gaierror(-2, "x"), "the name feed.example cannot be resolved", False),
        (ConnectionRefusedError(111, "x"), "nothing listens at feed.example:5671", False),
        (AMQPConnectorPhaseErrorBase("x"), "no connection to feed.example:5671 in time", False),
        (AMQPHeartbeatTimeout("x"), "feed.example:5671 is silent", False),
        (ConnectionClosedByBroker(320, "canary"), "the connection to feed.example:5671", False),
        (ConnectionLost("ours"), "ours", False),
        (
            AMQPConnectionWorkflowFailed(
                [AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "x"))]
            ),
            "nothing listens at feed.example:5671",
            False,
        ),
    ],
)
def test_each_end_isin_words(error, words, refused):
    """What pika wraps is unwrapped; nothing the other side said is repeated."""
    lost = in_words(error, LOGIN)

    assert words in str(lost)
    assert lost.refused is refused
    assert "canary" not in str(lost)


class FakeChannel:
    """A channel that keeps what is asked of it."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.is_open = is_open
        self.asked: list[tuple[object, ...]] = []

    def basic_ack(self, delivery, *, multiple):
        self.asked.append(("ack", delivery, multiple))

    def basic_cancel(self, tag, *, callback):
        self.asked.append(("cancel", tag))


def opened(channel):
    """Make a connection whose channel is this one."""
    it = FeedConnection(LOGIN, lambda *_: None)
    it._channel = channel
    return it


async def test_acknowledgements_are_cumulative_and_only_for_an_open_channel():
    """A delivery and all before it; after the end of the connection nothing is sent."""
    channel, closed = FakeChannel(), FakeChannel(is_open=False)
    opened(channel).acknowledge(7)
    opened(closed).acknowledge(7)
    FeedConnection(LOGIN, lambda *_: None).acknowledge(7)

    assert channel.asked == [("ack", 7, True)]
    assert closed.asked == []


async def test_closing_never_raises_and_cancels_the_consumer_first():
    """Pika changes the dictionary it iterates over, unless the consumer is cancelled before."""

    def explode():
        raise RuntimeError("dictionary changed size during iteration")

    channel = FakeChannel()
    it = opened(channel)
    it._connection = SimpleNamespace(is_closing=False, is_closed=False, close=explode)
    it.close()
    it.close()

    assert channel.asked == [("cancel", CONSUMER)]


async def test_a_connection_is_lost_once():
    """Of several reports of one loss the first reason counts."""
    it = FeedConnection(LOGIN, lambda *_: None)
    it._lose(ConnectionRefusedError(111, "x"))
    it._lose(AMQPHeartbeatTimeout("x"))

    assert "nothing listens" in str(it.lost.result())


async def test_a_broker_that_says_nothing_is_gone_after_two_heartbeats(monkeypatch):
    """Whatever it sends counts; a look that comes late counts once."""
    monkeypatch.setattr(connection_module, "LOOK_EVERY_S", 3600.0)
    it = FeedConnection(LOGIN, lambda *_: None)
    it._connection = SimpleNamespace(
        bytes_received=1, is_closing=False, is_closed=False, close=lambda: None
    )
    it._is_ready()
    it._is_ready()
    for received in (1, 1, 1, 2, 2, 2, 2):
        it._connection.bytes_received = received
        it._listen()
        assert not it.lost.done()
    it._listen()

    assert "is silent" in str(it.lost.result())
    it._listen()
    assert it._look.cancelled()
    assert SILENT_LOOKS * HEARTBEAT_S / 2 + HEARTBEAT_S / 2 < 6
