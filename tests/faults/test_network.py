"""The gateway process behind lines that fail: it comes back, tells the truth, repeats nothing."""

import asyncio
import json
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.faults.conftest import ONE
from tests.mosquitto import until
from tests.proxy import Fault

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

KEEPALIVE_S = 2
ON_THE_WAY_S = 5.0


def brisk(config):
    """Notice a dead broker soon, and let commands live a few seconds."""
    config["mqtt"]["keepalive_s"] = KEEPALIVE_S
    config["commands"]["ttl_s"] = 5


def soon():
    """Spell the moment half a minute from now."""
    at = datetime.now(UTC) + timedelta(seconds=30)  # noqa: TID251 - no clock reaches a process
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def losses(street):
    """Return the log lines about a lost connection to the broker, one for each."""
    return events(street, "mqtt.disconnected")


def events(street, name):
    """Return the log lines of one event."""
    return [line for line in street.gateway.lines if line["event"] == name]


@pytest.mark.fault("F11")
async def test_a_broker_line_that_fails_in_every_way_is_made_anew(street):
    """Half closed, corrupted, reset: what the charger reports afterwards arrives each time."""
    async with street() as s:
        await s.shows("1.5")
        s.mqtt.half_close()
        await s.shows("2.5")
        s.mqtt.fault = Fault("corrupt", 1, "up")
        s.cloud.push(ONE, 120, "3.5")
        await until(lambda: len(losses(s)) >= 2)
        s.mqtt.fault = None
        await s.witness.value(f"charger/{ONE}/state/total_power", "3.5")
        s.mqtt.reset()
        await s.shows("4.5")
        await s.witness.value("charger/bridge/state", "online")

        assert set(s.mqtt.fired) >= {"half_close", "corrupt", "reset"}


@pytest.mark.fault("F31")
async def test_a_hub_line_that_fails_is_made_anew(street):
    """A corrupted frame and a reset cost a connection each, and no newer value."""
    async with street() as s:
        s.hub.fault = Fault("corrupt", 1, "down")
        s.cloud.push(ONE, 120, "1.5")
        await until(lambda: s.hub.fired["corrupt"])
        s.hub.fault = None
        s.hub.reset()
        await s.witness.until(
            lambda: s.cloud.connections and s.hub.accepted > 2, "another hub connection"
        )
        await s.shows("2.5")

        assert set(s.hub.fired) >= {"corrupt", "reset"}


@pytest.mark.fault("F27")
async def test_a_lost_answer_of_the_cloud_is_never_asked_for_twice(street):
    """Toggle, and the line falls silent behind the request: one request, one final answer."""
    async with street(change=brisk) as s:
        s.cloud.plug_in(ONE)
        await s.witness.value(f"charger/{ONE}/state/op_mode", "awaiting_authorization")
        s.rest.fault = Fault("blackhole", direction="down")
        s.witness.publish(f"charger/{ONE}/set/toggle", '{"value": "PRESS", "id": "t1"}')
        await until(lambda: s.sent("toggle_charging"))
        final = await s.witness.final(ONE, "toggle")
        s.rest.fault = None
        s.witness.publish(f"charger/{ONE}/set/toggle", '{"value": "PRESS", "id": "t1"}')
        again = await s.witness.final(ONE, "toggle", 2)

        assert final["state"] in ("confirmed", "unknown")
        assert again["state"] == final["state"]
        assert len(s.sent("toggle_charging")) == 1
        assert s.rest.fired["blackhole"]


@pytest.mark.fault("F27")
async def test_an_answer_that_is_cut_short_is_found_out_at_the_charger(street):
    """The cloud did it and nobody heard so: the charger's own word confirms it, once."""
    async with street() as s:
        s.rest.fault = Fault("truncate", 40, "down")
        s.witness.publish(f"charger/{ONE}/set/dynamic_charger_current", "11")
        final = await s.witness.final(ONE, "dynamic_charger_current")
        s.rest.fault = None
        await s.witness.value(f"charger/{ONE}/state/dynamic_charger_current", "11")

        assert final["state"] == "confirmed"
        assert len([r for r in s.cloud.requests if r.method == "POST" and ONE in r.path]) == 1
        assert s.rest.fired["truncate"]


@pytest.mark.fault("F14")
async def test_a_half_open_broker_is_left_within_two_keepalives(street):
    """A black hole is noticed, the will tells the others, and the newest value arrives after it."""
    async with street(change=brisk) as s:
        began_s = time.perf_counter()
        s.mqtt.fault = Fault("blackhole")
        await until(lambda: losses(s))
        took_s = time.perf_counter() - began_s
        s.cloud.push(ONE, 120, "1.5")
        s.cloud.push(ONE, 120, "2.5")
        await s.witness.value("charger/bridge/state", "offline")
        s.mqtt.fault = None
        s.mqtt.reset()
        await s.witness.value("charger/bridge/state", "online")
        await s.witness.value(f"charger/{ONE}/state/total_power", "2.5")

        # One more for a machine that has other things to do.
        assert took_s <= 2 * KEEPALIVE_S + 2
        assert s.mqtt.fired["blackhole"]


@pytest.mark.fault("F15")
async def test_a_slow_broker_gets_the_newest_values_and_not_all_of_them(street):
    """At 5 KB a second, hundreds of changes become a few messages, and the last one is true."""
    async with street() as s:
        topic = f"charger/{ONE}/state/total_power"
        before = len(s.witness.messages)
        s.mqtt.fault = slow = Fault("throttle", 5000, "up")
        for number in range(400):
            s.cloud.push(ONE, 120, f"{number / 8 + 1:.3f}")
            if number % 20 == 0:
                await asyncio.sleep(0.02)  # not in one frame, which would be one change
        await until(lambda: s.mqtt.fired[slow.kind] > 5)
        s.mqtt.fault = None
        await s.witness.value(topic, "50.875", ON_THE_WAY_S * 2)
        told = [payload for name, payload, _ in s.witness.messages[before:] if name == topic]

        assert len(told) < 200
        assert not losses(s)


@pytest.mark.fault("F34")
async def test_a_network_that_is_down_at_boot_is_waited_for(street):
    """Nothing can be reached for a while: the process stays, and is online soon after."""
    async with street(fault=Fault("refuse"), online=False) as s:
        await until(lambda: all(proxy.fired["refuse"] for proxy in (s.mqtt, s.rest)))
        assert s.gateway.process.returncode is None
        s.mqtt.fault = s.rest.fault = s.hub.fault = None
        await s.witness.value("charger/bridge/state", "online", 10.0)
        await s.witness.value(f"charger/{ONE}/availability", "online")


@pytest.mark.fault("F38")
async def test_nothing_runs_late_after_the_process_stood_still(street):
    """Commands that waited in its socket while it was stopped are expired, each answered once."""
    commands = ("start", "stop", "toggle", "pause", "dynamic_charger_current")
    async with street(change=brisk, program="tests.faults.hasty") as s:
        s.cloud.plug_in(ONE)
        await s.witness.value(f"charger/{ONE}/state/op_mode", "awaiting_authorization")
        s.gateway.process.send_signal(signal.SIGSTOP)
        for command in commands:
            s.witness.publish(f"charger/{ONE}/set/{command}", "10" if "_" in command else "PRESS")
        await asyncio.sleep(6.0)  # longer than a command may live
        s.gateway.process.send_signal(signal.SIGCONT)
        finals = [await s.witness.final(ONE, command) for command in commands]
        await asyncio.sleep(4.0)  # what is read later than this cannot have waited meanwhile
        dated = {"value": "PRESS", "expires_at": soon()}
        s.witness.publish(f"charger/{ONE}/set/start", json.dumps(dated))
        fresh = await s.witness.final(ONE, "start", 2)

        assert {final["state"] for final in finals} == {"expired"}
        assert len(s.sent("start_charging")) == 1
        assert not s.sent("toggle_charging")
        assert not s.sent("stop_charging")
        assert fresh["state"] == "confirmed"
        assert len(events(s, "process.suspended")) == 1
