"""One connection after the other, with the hub's pace."""

import asyncio
import contextlib

import pytest

from bridge.adapters.amqp import kept_connection
from bridge.adapters.amqp.kept_connection import HEARTBEAT_TIMEOUT_S, keep_connected
from bridge.errors import ConnectionLost

pytestmark = pytest.mark.anyio


async def turn():
    """Let others run once."""
    await asyncio.sleep(0)


class Scripted:
    """A connection that fails to open, or opens and ends."""

    def __init__(self, error=None):
        self.error, self.closed = error, False
        self.lost = asyncio.get_running_loop().create_future()

    async def open(self):
        if self.error is not None:
            raise self.error
        self.lost.set_result(ConnectionLost("it ended"))

    def close(self):
        self.closed = True


async def kept(clock, connections):
    """Keep these connections, until there are no more; return what happened."""
    happened, promised = [], []
    left = list(connections)

    async def connect():
        if not left:
            raise asyncio.CancelledError
        return left.pop(0)

    with contextlib.suppress(asyncio.CancelledError):
        await keep_connected(
            connect,
            opened=lambda one: happened.append(("opened", one)),
            lost=lambda error, failures, _wait_s: happened.append((str(error), failures)),
            clock=clock,
            promise=promised.append,
        )
    return happened, promised


async def test_each_end_is_told_and_waits_grow(clock):
    """What could not be opened is a failure; one that lived at all begins anew; all are closed."""
    well = Scripted()
    bad = [Scripted(ConnectionLost("refused")) for _ in range(3)]
    happened, promised = await kept(clock, [*bad, well])

    assert [each for each in happened if each[0] == "refused"] == [
        ("refused", 1),
        ("refused", 2),
        ("refused", 3),
    ]
    assert ("opened", well) in happened
    assert happened[-1][0] == "it ended"
    assert all(each.closed for each in (*bad, well))
    assert clock.slept_s[0] < clock.slept_s[2]
    assert min(promised) == HEARTBEAT_TIMEOUT_S


async def test_an_error_that_nobody_documented_ends_one_connection(clock):
    """It is named by its type alone, and the next connection is made."""
    happened, _ = await kept(clock, [Scripted(ValueError("canary")), Scripted()])

    assert happened[0] == ("unexpected ValueError", 1)
    assert happened[1][0] == "opened"


async def test_a_quiet_connection_says_that_its_task_lives(clock, monkeypatch):
    """It promises again long before the promise is over."""
    monkeypatch.setattr(kept_connection, "HEARTBEAT_TIMEOUT_S", 0.0)
    promised = []

    class Quiet(Scripted):
        async def open(self):
            """Stay open."""

    quiet = Quiet()
    task = asyncio.get_running_loop().create_task(
        keep_connected(
            lambda: asyncio.sleep(0, quiet),
            opened=lambda _: None,
            lost=lambda *_: None,
            clock=clock,
            promise=promised.append,
        )
    )
    while len(promised) < 5:
        await turn()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert quiet.closed
