"""Simulated cloud, a real RabbitMQ, the gateway as a process, a real mosquitto.

`make test` installs RabbitMQ where the distribution has it; without it these tests are skipped.
"""

import asyncio
import functools
import json
import signal
from datetime import timedelta
from urllib.parse import quote

import pytest

from tests import canaries
from tests.acceptance.conftest import TIMEOUT_S
from tests.acceptance.test_reports import held_in, of_others, said_by
from tests.canaries import FEED_PASSWORD, OTHERS
from tests.mosquitto import until
from tests.rabbitmq import QUEUE, SERVER, rabbitmq

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.acceptance,
    pytest.mark.usefixtures("patient_broker"),
    pytest.mark.skipif(not SERVER.exists(), reason="make test installs rabbitmq-server"),
]

ONE, TWO = "EH000001", "EH000002"
POWER = 120


@pytest.fixture
def feed(tmp_path_factory):
    """Run a RabbitMQ of the test's own."""
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


@pytest.fixture
def fed(stage, feed):
    """Make a stage whose gateway reads the partner feed, at an address that the cloud tells."""

    def change(config):
        config["easee"]["source"] = "amqp"

    return functools.partial(stage, change=change, amqp=feed.url)


# A server that starts again, and the longest wait between two of the gateway's attempts.
BACK_S = 120.0


async def document(witness, serial, name, value, timeout_s=TIMEOUT_S):
    """Wait for a value, and return its document."""
    topic = f"charger/{serial}/observation/{name}"

    def found():
        held = witness.retained.get(topic)
        read = json.loads(held) if held else None
        return read if read and read["value"] == value else None

    return await witness.until(found, f"{topic} = {value}", timeout_s)


async def acknowledged(cloud, feed):
    """Let the chargers fall silent, and wait until the gateway acknowledged all they said."""
    last, cloud.feed = cloud.feed, None
    async with asyncio.timeout(TIMEOUT_S):
        await last.confirmed()
        while await asyncio.to_thread(lambda: feed.waiting() or feed.unacknowledged()):
            pass


async def test_the_queue_brings_what_the_hub_brings(fed, feed):
    """Values, a command confirmed by its response, and a session, without one hub connection."""
    async with fed(chargers=2) as s:
        s.cloud.plug_in(ONE)
        s.witness.publish(f"charger/{ONE}/set/start", "PRESS")
        assert (await s.witness.final(ONE, "start"))["state"] == "confirmed"
        await s.witness.value(f"charger/{ONE}/state/op_mode", "charging")
        s.cloud.unplug(ONE)
        report = await s.witness.until(
            lambda: s.witness.retained.get(f"charger/{ONE}/session/last"), "the report"
        )
        assert json.loads(report)["charger_id"] == ONE
        assert s.cloud.connections == 0
        await acknowledged(s.cloud, feed)
        await s.gateway.end()
        # What was not acknowledged is in the queue again.
        assert await asyncio.to_thread(feed.waiting) == 0


async def test_an_older_redelivery_never_replaces_a_newer_value(fed, feed):
    """After a kill, what the queue repeats is older than what the broker retains."""
    async with fed(chargers=1) as s:
        s.cloud.push(ONE, POWER, 7.5)
        newest = await document(s.witness, ONE, "total_power", 7.5)
        await s.gateway.end(signal.SIGKILL)
        before = len(s.witness.messages)
        s.cloud.push(ONE, POWER, 1.5, at=s.cloud.now() - timedelta(minutes=5))
        await s.gateway.start()
        await s.witness.value("charger/bridge/cloud", "connected")
        s.cloud.push(ONE, POWER, 8.5)
        await document(s.witness, ONE, "total_power", 8.5)

        topic = f"charger/{ONE}/observation/total_power"
        later = [
            json.loads(payload)
            for found, payload, _ in s.witness.messages[before:]
            if found == topic
        ]
        assert [each["value"] for each in later if each["value"] == 1.5] == []
        assert min(each["measured_at"] for each in later) >= newest["measured_at"]


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_nothing_is_lost_when_the_queues_broker_goes(fed, feed, how):
    """A broker that is killed or stands still: every value measured meanwhile arrives after it."""
    async with fed(chargers=1) as s:
        s.cloud.push(ONE, POWER, 1.0)
        await document(s.witness, ONE, "total_power", 1.0)
        if how == "kill":
            await asyncio.to_thread(feed.kill)
        else:
            feed.signal(signal.SIGSTOP)
        s.cloud.push(ONE, POWER, 2.0)
        await s.witness.until(
            lambda: s.witness.retained.get("charger/bridge/cloud") != b"connected", "the loss"
        )
        if how == "kill":
            await asyncio.to_thread(feed.start)
        else:
            feed.signal(signal.SIGCONT)
        await document(s.witness, ONE, "total_power", 2.0, BACK_S)
        await s.witness.value("charger/bridge/cloud", "connected")


async def test_a_wrong_queue_is_an_alert_in_words(stage, feed):
    """The queue that the file names does not exist: said without the address's password."""
    environ = {"CHARGER_BRIDGE_AMQP__URL": feed.url}

    def change(config):
        config["easee"]["source"] = "amqp"
        config["amqp"] = {"queue": f"{QUEUE}.wrong"}

    async with stage(chargers=1, change=change, environ=environ, online=False) as s:
        alert = json.loads(
            await s.witness.until(
                lambda: s.witness.retained.get("charger/bridge/alert/stream_refused"), "the alert"
            )
        )
        assert f"refuses the queue {QUEUE}.wrong" in alert["message"]
        assert "guest:guest" not in bytes(s.gateway.log).decode()


async def test_a_refused_login_shows_neither_user_nor_password_in_a_report(stage, feed, tmp_path):
    """Not in an alert, a log line, a record or the bundle, as it is or as a URL spells it."""
    user, host = "canaryuser", f"127.0.0.1:{feed.port}"
    url = f"amqp://{user}:{quote(FEED_PASSWORD, safe='')}@{host}/%2F"

    def change(config):
        config["easee"]["source"] = "amqp"
        config["amqp"] = {"queue": OTHERS["a queue"], "commands": True}

    environ = {"CHARGER_BRIDGE_AMQP__URL": url}
    async with stage(chargers=1, change=change, environ=environ, online=False) as s:
        refused = "charger/bridge/alert/stream_refused"
        await s.witness.until(lambda: s.witness.retained.get(refused), "the alert")
        s.gateway.process.send_signal(signal.SIGUSR1)
        await until(lambda: b"record.written" in bytes(s.gateway.log))
        said = await said_by(s, "doctor", "--output", str(tmp_path / "bundle.zip"))
        explained = await said_by(s, "explain", refused)
        told = (said, explained, bytes(s.gateway.log), s.witness.retained[refused])
        assert [canaries.found_in(each) for each in told] == [[]] * len(told)
        assert user.encode() not in b"".join(told)
    assert {
        name: found
        for name, held in held_in(tmp_path / "bundle.zip").items()
        if (found := of_others(held))
    } == {}
