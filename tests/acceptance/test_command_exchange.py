"""Commands through the partner feed's exchange: a real RabbitMQ, the simulated cloud behind it.

`make test` installs RabbitMQ where the distribution has it; without it these tests are skipped.
"""

import asyncio
import functools
import json
import signal
from collections import Counter
from datetime import timedelta

import pytest

from tests.acceptance.conftest import TIMEOUT_S
from tests.rabbitmq import EXCHANGE, QUEUE, SERVER, rabbitmq

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.acceptance,
    pytest.mark.usefixtures("patient_broker"),
    pytest.mark.skipif(not SERVER.exists(), reason="make test installs rabbitmq-server"),
]

ONE, TWO, THREE = "EH000001", "EH000002", "EH000003"
COMMANDS = "Operator_7.C.Q"
LIMIT, OVERRIDE = "dynamic_charger_current", "override_schedule"
# Between two commands of a row of them.
STEP_S = 0.1


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Run a RabbitMQ for these tests."""
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as one:
        yield one


@pytest.fixture
def broker(server):
    """Have it as the vendor has it: nothing waits from the test before."""

    def empty(channel):
        for queue in (QUEUE, COMMANDS, "full"):
            channel.queue_delete(queue)

    on(server, empty)
    server.declare()
    return server


@pytest.fixture
def ordering(stage, broker):
    """Make a stage whose commands go through the exchange, at an address that the cloud tells."""

    def change(config):
        config["easee"]["source"] = "amqp"
        config["amqp"] = {"commands": True}

    return functools.partial(stage, change=change, amqp=broker.url)


async def turn():
    """Let others run for a moment."""
    await asyncio.sleep(0.01)


# A server that starts again, and the longest wait between two of the gateway's attempts.
BACK_S = 120.0


async def logged(gateway, event, count=1, timeout_s=TIMEOUT_S):
    """Wait until the gateway logged an event so many times."""
    try:
        async with asyncio.timeout(timeout_s):
            while bytes(gateway.log).count(b'"event": "%s"' % event.encode()) < count:
                await turn()
    except TimeoutError:
        pytest.fail(f"no {event} in the log: {bytes(gateway.log)[-4000:].decode()}")


def over_rest(cloud, name):
    """Return how many requests for a command came over REST."""
    return sum(each.path.endswith(f"/commands/{name}") for each in cloud.requests)


def finals(witness, charger_id, command):
    """Return the final results by the id of the command."""
    found = {}
    for each in witness.results(charger_id, command):
        if each["final"]:
            found.setdefault(each["id"], []).append(each)
    return found


def on(broker, work):
    """Do something with a channel of another program."""
    connection = broker.connect()
    try:
        return work(connection.channel())
    finally:
        connection.close()


async def test_what_the_exchange_carries_goes_through_it_and_the_rest_over_rest(ordering, broker):
    """One result each, by way: published, over REST, given back, refused, and another's command."""
    async with ordering(chargers=2) as s:
        await logged(s.gateway, "exchange.connected")
        s.cloud.plug_in(ONE)
        await s.witness.value(f"charger/{ONE}/state/cable_locked", "true")
        s.witness.publish(f"charger/{ONE}/set/{LIMIT}", '{"value": 10, "id": "first"}')
        result = await s.witness.final(ONE, LIMIT)
        assert (result["state"], result["id"], result["http_status"]) == (
            "confirmed",
            "first",
            None,
        )
        ((charger_id, number, ticks),) = s.cloud.world.commands
        assert (charger_id, number, str(ticks)) == (ONE, 48, result["ticks"])
        await s.witness.value(f"charger/{ONE}/state/dynamic_charger_current", "10")
        assert over_rest(s.cloud, "set_dynamic_charger_current") == 0

        # No command of the exchange is known to do the same.
        s.witness.publish(f"charger/{ONE}/set/pause", "PRESS")
        assert (await s.witness.final(ONE, "pause"))["http_status"] == 202
        assert over_rest(s.cloud, "pause_charging") == 1

        s.cloud.reject_next(ONE)
        s.witness.publish(f"charger/{ONE}/set/{OVERRIDE}", "PRESS")
        assert (await s.witness.final(ONE, OVERRIDE))["state"] == "rejected"

        # Another program of the operator: its response is nobody's here.
        order = json.dumps({"Id": 48, "ExpiresAt": None, "Arguments": [{"Id": 1, "Value": "9"}]})
        await asyncio.to_thread(
            on, broker, lambda channel: channel.basic_publish(EXCHANGE, f"{ONE}.C.48.77", order)
        )
        foreign = await s.witness.until(
            lambda: s.witness.retained.get(f"charger/{ONE}/event/foreign_command"), "the event"
        )
        assert json.loads(foreign)["ticks"] == "77"

        # A second queue that refuses: the broker says so, although the first one has the command.
        full = {"x-max-length": 0, "x-overflow": "reject-publish"}

        def refuse(channel):
            channel.queue_declare("full", durable=True, arguments=full)
            channel.queue_bind("full", EXCHANGE, "#")

        await asyncio.to_thread(on, broker, refuse)
        s.witness.publish(f"charger/{TWO}/set/{OVERRIDE}", "PRESS")
        assert (await s.witness.final(TWO, OVERRIDE))["state"] == "confirmed"
        assert Counter(key[:2] for key in s.cloud.world.commands)[TWO, 63] == 1
        assert over_rest(s.cloud, OVERRIDE) == 0

        def unbind(channel):
            channel.queue_delete("full")
            channel.queue_unbind(COMMANDS, EXCHANGE, "*.C.#")

        await asyncio.to_thread(on, broker, unbind)
        s.witness.publish(f"charger/{TWO}/set/{OVERRIDE}", "PRESS")
        assert (await s.witness.final(TWO, OVERRIDE, 2))["http_status"] == 202
        assert over_rest(s.cloud, OVERRIDE) == 1
        alert = json.loads(s.witness.retained["charger/bridge/alert/exchange_refused"])
        assert "commands go over REST" in alert["message"]
        for charger_id, command in ((ONE, LIMIT), (ONE, OVERRIDE), (TWO, OVERRIDE)):
            assert {len(each) for each in finals(s.witness, charger_id, command).values()} <= {1, 2}


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_each_command_has_one_result_while_the_broker_goes(ordering, broker, how):
    """Commands without a pause while the server is away: none twice, none without its result."""
    async with ordering(chargers=3) as s:
        await logged(s.gateway, "exchange.connected")
        sent = []

        async def order(count):
            for _ in range(count):
                name, charger_id = f"c{len(sent)}", (ONE, TWO, THREE)[len(sent) % 3]
                s.witness.publish(f"charger/{charger_id}/set/{OVERRIDE}", f'{{"id": "{name}"}}')
                sent.append(name)
                await asyncio.sleep(STEP_S)

        await order(10)
        going = asyncio.get_running_loop().create_task(order(30))
        if how == "kill":
            await asyncio.to_thread(broker.kill)
            assert broker.process.poll() == -signal.SIGKILL
        else:
            broker.signal(signal.SIGSTOP)
        await logged(s.gateway, "exchange.lost")
        await going
        if how == "kill":
            await asyncio.to_thread(broker.start)
        else:
            broker.signal(signal.SIGCONT)
        await logged(s.gateway, "exchange.connected", 2, BACK_S)
        await order(10)

        def ended():
            found = {}
            for charger_id in (ONE, TWO, THREE):
                found |= finals(s.witness, charger_id, OVERRIDE)
            return found if found.keys() >= set(sent) else None

        results = await s.witness.until(ended, "all results", BACK_S)
        assert {len(each) for each in results.values()} == {1}
        states = Counter(each["state"] for (each,) in results.values())
        assert states.keys() <= {"confirmed", "unconfirmed", "unknown"}
        assert states["confirmed"] >= 40
        by_http = Counter(each["http_status"] for (each,) in results.values())
        assert by_http[202] >= 1, "none went over REST while the broker was away"
        assert by_http[None] >= 15, "few went through the exchange"
        # The cloud has one record for each time it was given a command.
        assert len(s.cloud.world.commands) <= len(sent)


async def test_a_response_finds_its_command_after_the_gateway_was_killed(ordering, broker):
    """Killed as soon as it published: the response waits in the queue, and its ticks decide."""
    async with ordering(chargers=1, command_latency_s=1.0, rate_limits=False) as s:
        await logged(s.gateway, "exchange.connected")
        for number in (1, 2, 3):
            until = (s.cloud.now() + timedelta(seconds=60)).isoformat()
            order = {"id": f"k{number}", "expires_at": until}
            s.witness.publish(f"charger/{ONE}/set/{OVERRIDE}", json.dumps(order))
            await logged(s.gateway, "exchange.published", number)
            await s.gateway.end(signal.SIGKILL)
            await s.gateway.start()
            result = await s.witness.until(
                lambda name=f"k{number}": finals(s.witness, ONE, OVERRIDE).get(name), "its result"
            )
            assert result[0]["state"] == "confirmed"
            await logged(s.gateway, "exchange.connected", number + 1)
        assert [key[1] for key in s.cloud.world.commands] == [63, 63, 63]
        # One that the broker had and the journal did not is published again as it was.
        for results in finals(s.witness, ONE, OVERRIDE).values():
            assert all(each == results[0] for each in results)
        assert over_rest(s.cloud, OVERRIDE) == 0


async def test_an_exchange_that_refuses_is_an_alert_and_costs_no_command(ordering, broker):
    """The account may read the queue and not publish: said, and everything goes over REST."""

    def remove(channel):
        channel.exchange_delete(EXCHANGE)

    async with ordering(chargers=1) as s:
        await logged(s.gateway, "exchange.connected")
        await asyncio.to_thread(on, broker, remove)
        s.witness.publish(f"charger/{ONE}/set/{OVERRIDE}", "PRESS")
        assert (await s.witness.final(ONE, OVERRIDE))["http_status"] == 202
        alert = await s.witness.until(
            lambda: s.witness.retained.get("charger/bridge/alert/exchange_refused"), "the alert"
        )
        assert f"there is no exchange {EXCHANGE}" in json.loads(alert)["message"]
        s.witness.publish(f"charger/{ONE}/set/{OVERRIDE}", "PRESS")
        assert (await s.witness.final(ONE, OVERRIDE, 2))["http_status"] == 202
