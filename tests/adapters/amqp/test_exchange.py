"""Which way a command goes: through the exchange, over REST, or nowhere else once in doubt."""

import asyncio
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.amqp import exchange as module
from bridge.adapters.amqp.command_connection import NotPublished
from bridge.adapters.amqp.exchange import RETURNED, CommandExchange, Confirmed
from bridge.core.easee.exchange_commands import ExchangeCommand
from bridge.core.easee.rest_requests import charger_command_request, charger_list_request
from bridge.core.events import ExchangeStatusChanged
from bridge.errors import CloudUnavailable, ConnectionLost, PublishUnconfirmed
from bridge.settings import AmqpSettings, Secret
from tests.conftest import NOON, FakeClock

pytestmark = pytest.mark.anyio


async def turn():
    """Let others run once."""
    await asyncio.sleep(0)


ONE = "EH123456"
SETTINGS = AmqpSettings(Secret("amqp://u:p@localhost"), "A.Q", commands=True)


class Rest:
    """A REST client that keeps what it is asked."""

    def __init__(self):
        self.sent, self.closed = [], False

    async def send(self, request, *, within_s):
        self.sent.append((request.path, within_s))
        if within_s <= 0:
            raise CloudUnavailable("no time left")
        return Confirmed(202, b"[]")

    async def token(self, *, rejected=None):
        return f"token, not {rejected}"

    async def negotiate(self, stream_url, token):
        return f"{stream_url} {token}".encode()

    async def close(self):
        self.closed = True


class FakeConnection:
    """A connection that answers as a test says."""

    def __init__(self, outcome):
        self.outcome, self.published, self.closed = outcome, [], False

    async def publish(self, key, body, left_s):
        left = left_s()
        if left <= 0:
            raise NotPublished("late")
        self.published.append((key, json.loads(body), left))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def close(self):
        self.closed = True


def limit(clock, left_s=20.0):
    """Make the request of a command that the exchange carries."""
    until = clock.wall + timedelta(seconds=left_s)
    exchange = ExchangeCommand(ONE, 48, ((1, "16"),), 638, until)
    return charger_command_request(ONE, "set_dynamic_charger_current", b"{}", exchange=exchange)


class Bench:
    """An exchange between a REST client and a connection, or none."""

    def __init__(self, outcome=None, *, lease_s=600.0):
        self.clock, self.rest, self.events = FakeClock(NOON), Rest(), []
        self.exchange = CommandExchange(
            SETTINGS,
            self.rest,
            clock=self.clock,
            emit=self.events.append,
            lease_left_s=lambda: lease_s,
        )
        self.connection = None
        if outcome is not None:
            self.connection = FakeConnection(outcome)
            self.exchange._opened(self.connection)

    async def send(self, request, within_s=30.0):
        return await self.exchange.send(request, within_s=within_s)


async def test_a_confirmed_command_costs_no_request():
    """Key, body and the time left by both clocks; the answer has no status of HTTP."""
    bench = Bench(True)
    answer = await bench.send(limit(bench.clock))

    assert answer == Confirmed(None, b"")
    ((key, body, left_s),) = bench.connection.published
    assert (key, body["Id"], left_s) == ("EH123456.C.48.638", 48, 20.0)
    assert bench.rest.sent == []


@pytest.mark.parametrize("outcome", [None, False, NotPublished("blocked")])
async def test_what_the_exchange_has_not_goes_over_rest(outcome):
    """No connection, given back, not written: nobody has it, so REST carries it out."""
    bench = Bench(outcome)
    answer = await bench.send(limit(bench.clock))

    assert answer.status == 202
    assert bench.rest.sent == [(f"/api/chargers/{ONE}/commands/set_dynamic_charger_current", 30.0)]


async def test_what_is_in_doubt_goes_nowhere_else():
    """It was written: a second way could be a second time."""
    bench = Bench(PublishUnconfirmed("gone"))
    with pytest.raises(PublishUnconfirmed):
        await bench.send(limit(bench.clock))

    assert bench.rest.sent == []


async def test_what_the_exchange_cannot_carry_goes_over_rest():
    """A request without a command of the exchange, or without ticks and expiry."""
    bench = Bench(True)
    bare = charger_command_request(ONE, "reboot", exchange=ExchangeCommand(ONE, 1))
    await bench.send(bare)
    await bench.send(charger_list_request())

    assert [path for path, _ in bench.rest.sent] == [bare.path, "/api/chargers"]
    assert bench.connection.published == []


@given(within_s=st.floats(-1, 60), left_s=st.floats(-1, 60), lease_s=st.floats(-1, 60))
async def test_nothing_leaves_after_its_time_its_expiry_or_the_lease(within_s, left_s, lease_s):
    """The least of the three decides; what may not be published is not sent later either."""
    bench = Bench(True, lease_s=lease_s)
    least_s = min(within_s, left_s, lease_s)
    try:
        answer = await bench.send(limit(bench.clock, left_s), within_s)
    except CloudUnavailable:
        answer = None

    is_published = bool(bench.connection.published)
    assert is_published is (answer is not None and answer.status is None)
    if is_published:
        assert least_s > -1e-6
    elif least_s > 1e-6:
        pytest.fail("there was time")


async def test_an_exchange_without_a_queue_is_told_once_and_told_well_again():
    """Every command goes over REST meanwhile; the first confirm ends it."""
    bench = Bench(False)
    for outcome in (False, False, True, True):
        bench.connection.outcome = outcome
        await bench.send(limit(bench.clock))

    assert bench.events == [ExchangeStatusChanged(RETURNED), ExchangeStatusChanged("")]


async def test_the_connection_is_kept_and_its_refusal_is_told(clock, monkeypatch):
    """A loss is logged; only a refusal is a problem for the operator; the next one is used."""
    made = []

    class Dialled(FakeConnection):
        def __init__(self, login):
            super().__init__(True)
            self.login = login
            self.lost = asyncio.get_running_loop().create_future()
            made.append(self)

        async def open(self):
            if len(made) == 1:
                raise ConnectionLost("nothing listens")
            if len(made) == 2:
                raise ConnectionLost("refuses this account", refused=True)

    monkeypatch.setattr(module, "CommandConnection", Dialled)
    bench = Bench()
    bench.exchange._clock = clock
    task = asyncio.get_running_loop().create_task(bench.exchange.run())
    while len(made) < 3 or bench.exchange._connection is None:
        await turn()
    assert made[2].login.exchange == "A.C.X"
    assert [each.problem for each in bench.events] == ["refuses this account", ""]
    assert (await bench.send(limit(clock))).status is None
    made[2].lost.set_result(ConnectionLost("gone"))
    while len(made) < 4:
        await turn()
    await bench.exchange.close()
    assert bench.rest.closed
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cloud_that_names_no_exchange_is_a_refusal():
    """Nothing is dialled; commands go over REST."""
    bench = Bench()
    bench.exchange._settings = AmqpSettings(Secret("amqp://u:p@localhost"), "Q", commands=True)
    with pytest.raises(ConnectionLost) as caught:
        await bench.exchange._connect()

    assert caught.value.refused


async def test_everything_else_is_the_rest_clients():
    """Tokens and negotiations."""
    bench = Bench()

    assert await bench.exchange.token(rejected="x") == "token, not x"
    assert await bench.exchange.negotiate("hub", "t") == b"hub t"
