"""The gateway as people run it: a process between a real broker and a cloud."""

import asyncio
import contextlib
import json
import os
import re
import signal
import stat
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.easee.observation_registry import REGISTRY
from tests.acceptance.conftest import PASSWORD, TIMEOUT_S, running
from tests.mosquitto import until

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
TWO = "EH000002"
STATE = f"charger/{ONE}/state"
MINUTE = timedelta(minutes=1)
TAG = "04AABBCCDD7180"


def now() -> datetime:
    """Read the wall clock: the processes under test do."""
    return datetime.now(UTC)  # noqa: TID251 - no clock can be passed into another process


def update(number: int, value: object) -> str:
    """Write a hub frame by hand: the simulated charger would not say this of itself."""
    fields = {
        "mid": ONE,
        "dataType": REGISTRY[number].kind.value,
        "id": number,
        "timestamp": f"{now():%Y-%m-%dT%H:%M:%S}Z",
        "value": str(value),
    }
    return json.dumps({"type": 1, "target": "ProductUpdate", "arguments": [fields]}) + "\x1e"


async def test_a_fresh_start_tells_what_is(stage):
    """Bridge, cloud, chargers, observations and derived state are there, retained and true."""
    async with stage(chargers=2) as s:
        w = s.witness
        await w.value("charger/bridge/state", "online")
        await w.value(f"{STATE}/op_mode", "disconnected")
        await w.value(f"{STATE}/led_color", "white")
        info = json.loads(w.retained["charger/bridge/info"])
        document = json.loads(w.retained[f"charger/{ONE}/observation/charger_op_mode"])

        assert info["chargers"] == [ONE, TWO]
        assert set(document) == {
            "id",
            "name",
            "value",
            "label",
            "unit",
            "measured_at",
            "received_at",
            "source",
        }
        assert (document["id"], document["value"], document["label"]) == (109, 1, "disconnected")
        assert document["source"] == "stream"
        json.loads(w.retained["charger/bridge/health"])


@pytest.mark.parametrize(("op_mode", "reason"), [(7, 0), (7, 55), (2, 55)])
async def test_both_spellings_of_pending_authorization_mean_the_same(stage, op_mode, reason):
    """Op mode 7, or 2 with reason 55, is awaiting_authorization; LED 25 flashes white."""
    async with stage(chargers=1, step_interval_s=0) as s:
        for number, value in ((46, 25), (96, reason), (109, op_mode)):
            s.cloud.send_raw(update(number, value))

        await s.witness.value(f"{STATE}/op_mode", "awaiting_authorization")
        await s.witness.value(f"{STATE}/awaiting_authorization", "true")
        await s.witness.value(f"{STATE}/led", "awaiting_authorization")
        await s.witness.value(f"{STATE}/led_color", "white")
        await s.witness.value(f"{STATE}/led_pattern", "flashing")


@pytest.mark.fault("F32")
async def test_the_newest_by_the_chargers_clock_wins(stage):
    """A value that arrives late and is older changes nothing; a newer one does."""
    async with stage(chargers=1) as s:
        at = now().replace(microsecond=0)
        s.cloud.push(ONE, 120, "7.2", at=at)
        await s.witness.value(f"{STATE}/total_power", "7.2")
        s.cloud.push(ONE, 120, "1.1", at=at - MINUTE)
        s.cloud.push(ONE, 121, "0.5", at=at)
        await s.witness.value(f"{STATE}/session_energy", "0.5")
        assert s.witness.retained[f"{STATE}/total_power"] == b"7.2"

        s.cloud.push(ONE, 120, "6.052999973297119", at=at + timedelta(seconds=1))
        await s.witness.value(f"{STATE}/total_power", "6.053")


async def test_a_value_that_cannot_be_read_replaces_nothing(stage):
    """Noise is counted and named in an alert that goes away when the value is readable again."""
    async with stage(chargers=1) as s:
        s.cloud.push(ONE, 120, "3.5")
        await s.witness.value(f"{STATE}/total_power", "3.5")
        s.cloud.push(ONE, 120, "NaN")
        alert = "charger/bridge/alert/undecodable"
        await s.witness.until(lambda: s.witness.retained.get(alert), "the alert")
        assert s.witness.retained[f"{STATE}/total_power"] == b"3.5"

        s.cloud.push(ONE, 120, "3.6")
        await s.witness.value(f"{STATE}/total_power", "3.6")
        await s.witness.value(alert, b"")


@pytest.mark.fault("F31")
async def test_hostile_frames_and_ids_change_nothing(stage):
    """Broken frames, unknown targets and foreign serials are survived without a reconnect."""
    async with stage(chargers=1) as s:
        before = s.cloud.connections
        for frame in (
            "{\x1e",
            '{"type":1,"target":"SubscribeToMyProduct","arguments":[]}\x1e',
            '{"type":1,"target":"ProductUpdate","arguments":[null]}\x1e',
            '{"type":1,"target":"ProductUpdate","arguments":[{"mid":"../x","id":109}]}\x1e',
            '{"type":99}\x1e[[[[\x1enull\x1e"\x1e',
            '{"type":1,"target":"ProductUpdate","arguments":[' + "[" * 5000 + "\x1e",
        ):
            s.cloud.send_raw(frame)
        for foreign in ("EH999999", "+/#", "bridge", "../../etc"):
            s.cloud.push(foreign, 109, 3)
        s.cloud.push(ONE, 40, 77)

        await s.witness.value(f"{STATE}/led_strip_brightness", "77")
        assert s.cloud.connections == before == 1
        assert not [t for t in s.witness.retained if "999999" in t or ".." in t]


@pytest.mark.parametrize(
    "topic",
    ["charger/EH999999/set/start", "charger/eh000001/set/start", f"charger/{ONE}/set/explode"],
)
async def test_a_command_nobody_can_carry_out_is_refused(stage, topic):
    """An unknown charger or command gets one final answer and causes no request."""
    async with stage(chargers=1) as s:
        count = len(s.cloud.requests)
        s.witness.publish(topic, "PRESS")
        _, charger_id, _, command = topic.split("/")
        answer = await s.witness.final(charger_id, command)

        assert answer["state"] == "refused"
        assert answer["reason"] in ("unknown_charger", "unknown_command")
        # Reads of the gateway's own, of schedules and sites, follow its start; a command writes.
        named = {charger_id, command} - {ONE}
        caused = [
            (r.method, r.path)
            for r in s.cloud.requests[count:]
            if r.method != "GET" or any(name in r.path for name in named)
        ]
        assert caused == []


async def test_retained_and_empty_payloads_are_no_commands(stage):
    """A retained command fires nothing, neither live nor at the start; nor does an empty one."""
    async with stage(chargers=1) as s:
        s.cloud.plug_in(ONE)
        s.witness.publish(f"charger/{ONE}/set/start", "PRESS", retain=True)
        s.witness.publish(f"charger/{ONE}/set/stop", "")
        retained = await s.witness.final(ONE, "start")
        empty = await s.witness.final(ONE, "stop")
        assert (retained["state"], retained["reason"]) == ("refused", "retained")
        assert (empty["state"], empty["reason"]) == ("refused", "empty_payload")
        assert not [r for r in s.cloud.requests if "/commands/" in r.path]

        # What was found is emptied; the next one is there before the gateway is.
        await s.witness.value(f"charger/{ONE}/set/start", "")
        await s.gateway.end()
        s.witness.publish(f"charger/{ONE}/set/start", "PRESS", retain=True)
        s.config["mqtt"]["client_id"] = "another-bridge"
        async with running(s.config, s.folder):
            again = await s.witness.final(ONE, "start", count=2)
            assert again["reason"] == "retained"
            assert not [r for r in s.cloud.requests if "/commands/" in r.path]


async def test_start_is_accepted_then_confirmed_by_the_charger(stage):
    """The answers come in order, on both topics, with the caller's correlation data untouched."""
    async with stage(chargers=1) as s:
        reply = "charger/reply/flow"
        correlation = b"\x00\xff\x01binary"
        s.cloud.plug_in(ONE)
        await s.witness.value(f"{STATE}/op_mode", "awaiting_authorization")
        s.witness.publish(
            f"charger/{ONE}/set/start",
            '{"value": "PRESS", "id": "flow-1"}',
            ResponseTopic=reply,
            CorrelationData=correlation,
        )
        final = await s.witness.final(ONE, "start")
        states = [answer["state"] for answer in s.witness.results(ONE, "start")]
        await s.witness.value(f"{STATE}/op_mode", "charging", 30)

        assert states == ["accepted", "confirmed"]
        assert final["id"] == "flow-1"
        assert final["http_status"] == 202
        assert re.fullmatch(r"\d{18,19}", final["ticks"])
        assert s.witness.properties[reply].CorrelationData == correlation
        replies = [json.loads(p)["state"] for t, p, _ in s.witness.messages if t == reply]
        assert replies == states


async def test_what_the_cloud_and_the_charger_refuse_is_told_apart(stage):
    """No car: failed with the vendor's word. A charger that says no: rejected."""
    async with stage(chargers=1) as s:
        s.witness.publish(f"charger/{ONE}/set/pause", "PRESS")
        failed = await s.witness.final(ONE, "pause")
        s.cloud.plug_in(ONE)
        s.cloud.reject_next(ONE)
        s.witness.publish(f"charger/{ONE}/set/start", "PRESS")
        rejected = await s.witness.final(ONE, "start")

        assert (failed["state"], failed["reason"]) == ("failed", "charger_disconnected")
        assert failed["http_status"] == 400
        assert rejected["state"] == "rejected"


async def test_access_modes_exclude_each_other_and_both_readbacks_follow(stage):
    """Turning the local mode on turns the cloud mode off, and the answer says so."""
    async with stage(chargers=1) as s:
        await s.witness.value(f"{STATE}/access_mode", "cloud_authorization")
        s.witness.publish(f"charger/{ONE}/set/local_pre_authorize_enabled", "true")
        final = await s.witness.final(ONE, "local_pre_authorize_enabled")
        await s.witness.value(f"{STATE}/access_mode", "local_authorization")

        assert final["state"] == "confirmed"
        assert "authorization_required" in final["detail"]
        await s.witness.value(f"{STATE}/authorization_required", "false")
        await s.witness.value(f"{STATE}/local_pre_authorize_enabled", "true")


@pytest.mark.fault("F11")
async def test_everything_retained_is_back_after_the_broker_lost_its_memory(stage):
    """A broker that is killed and starts empty is told everything again."""
    async with stage(chargers=1) as s:
        document = f"charger/{ONE}/observation/charger_op_mode"
        await s.witness.until(lambda: document in s.witness.retained, "the first value")
        kept = {t: p for t, p in s.witness.retained.items() if p and t not in s.witness.passing}
        await s.witness.stop()
        s.broker.kill()
        (s.folder / f"mosquitto-{s.broker.port}.db").unlink(missing_ok=True)
        s.broker.start()
        fresh = type(s.witness)(s.broker.port)
        await fresh.start()
        await fresh.until(lambda: kept.keys() <= fresh.retained.keys(), "all topics again", 30)
        await fresh.value("charger/bridge/state", "online")

        assert (
            json.loads(fresh.retained[document])["measured_at"]
            == json.loads(kept[document])["measured_at"]
        )
        await fresh.stop()
        await s.witness.start()


@pytest.mark.fault("F29")
async def test_the_hub_may_come_and_go_and_tokens_may_be_revoked(stage):
    """A dropped hub and revoked tokens are healed without a restart, with few logins."""
    async with stage(chargers=1) as s:
        start = len(s.witness.messages)
        s.cloud.revoke_tokens()
        s.cloud.drop_connections()
        down = await s.witness.seen("charger/bridge/cloud", "disconnected", after=start)
        away = await s.witness.seen(f"charger/{ONE}/availability", "offline", after=start)
        await s.witness.seen("charger/bridge/cloud", "connected", after=down)
        await s.witness.seen(f"charger/{ONE}/availability", "online", after=away)
        logins = [r for r in s.cloud.requests if r.path == "/api/accounts/login"]

        assert len(logins) <= 3


async def test_a_charger_that_is_offline_is_said_to_be(stage):
    """Observation 250 takes a charger offline at once; its values stay with their old time."""
    async with stage(chargers=2) as s:
        s.cloud.set_offline(ONE)
        await s.witness.value(f"charger/{ONE}/availability", "offline")
        assert s.witness.retained[f"charger/{TWO}/availability"] == b"online"
        s.cloud.bring_back(ONE, sessions=3)
        await s.witness.value(f"charger/{ONE}/availability", "online")
        topic = f"charger/{ONE}/session/report"

        def offline_reports():
            reports = [json.loads(p) for t, p, _ in s.witness.messages if t == topic]
            return [r for r in reports if r["offline"]]

        await s.witness.until(lambda: len(offline_reports()) == 3, "three offline sessions")
        reports = offline_reports()
        assert {r["auth_reason_name"] for r in reports} == {
            "offline_whitelist",
            "offline_allow_all",
        }
        assert len({r["key"] for r in reports}) == 3


async def test_a_new_charger_is_noticed_without_a_restart(stage):
    """Without configured serials, what the account lists is served."""
    async with stage(chargers=1) as s:
        s.cloud.add_charger("EH777777")

        await s.witness.value("charger/EH777777/availability", "online", 90)


async def test_a_report_survives_a_broker_that_is_away_and_a_kill(stage):
    """A session that ends while the broker is gone is published after kill -9 and restart."""
    async with stage(chargers=1) as s:
        await s.witness.stop()
        s.broker.stop()
        ended_at = now().replace(microsecond=0)
        s.cloud.push(
            ONE,
            129,
            json.dumps(
                {
                    "Auth": TAG,
                    "AuthReason": 3,
                    "EnergyKwh": 4.25,
                    "Id": 4711,
                    "MeterValueStart": 100.5,
                    "MeterValueStop": 104.75,
                    "Start": f"{ended_at - 60 * MINUTE:%Y-%m-%dT%H:%M:%S}.000Z",
                    "Stop": f"{ended_at:%Y-%m-%dT%H:%M:%S}.000Z",
                }
            ),
        )
        await asyncio.sleep(1)  # the kill has to come after the commit, which nobody announces
        await s.gateway.end(signal.SIGKILL)
        s.cloud.drop_connections()
        s.broker.start()
        await s.witness.start()
        async with running(s.config, s.folder):
            topic = f"charger/{ONE}/session/report"

            def report():
                found = [json.loads(p) for t, p, _ in s.witness.messages if t == topic]
                return [r for r in found if r["session_id"] == 4711]

            (found, *_) = await s.witness.until(report, "the report")
        assert found["key"]
        assert found["energy_kwh"] == 4.25
        assert found["offline"] is True
        assert found["auth_reason_name"] == "offline_whitelist"
        assert found["auth"].startswith("sha256:")


async def test_no_secret_and_no_tag_is_anywhere(stage):
    """Password, tokens and RFID tags are in no topic, log line or file others can read."""
    async with stage(chargers=1) as s:
        for number in (69, 108, 128):
            s.cloud.push(ONE, number, TAG)
        s.cloud.push(
            ONE,
            223,
            json.dumps(
                {
                    "Auth": TAG,
                    "AuthReason": 1,
                    "Id": 9,
                    "MeterValue": 1.5,
                    "Start": "2026-11-22T10:00:00.000Z",
                }
            ),
        )
        s.cloud.push(ONE, 120, TAG)
        s.cloud.plug_in(ONE)
        s.cloud.show_tag(ONE, TAG)
        s.witness.publish(f"charger/{ONE}/set/start", "PRESS")
        await s.witness.final(ONE, "start")
        s.cloud.unplug(ONE)
        await s.witness.until(
            lambda: [t for t, _, _ in s.witness.messages if t.endswith("session/report")], "report"
        )
        await s.gateway.end()
        tokens = json.loads((s.folder / "store" / "tokens.json").read_text())
        secrets = [PASSWORD, TAG, *(v for k, v in tokens.items() if "token" in k.lower())]
        said = "\n".join(f"{t} {p!r}" for t, p, _ in s.witness.messages) + s.gateway.log.decode()
        readable = [
            path
            for path in (s.folder / "store").rglob("*")
            if path.is_file() and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
        ]

        assert len(secrets) >= 4
        assert not [secret for secret in secrets if secret in said]
        assert readable == []
        personal = {f"/{REGISTRY[i].name}" for i in (20, 25, 36, 69, 81, 108, 128, 140, 241)}
        assert not [
            t for t, p, r in s.witness.messages if r and p and f"/{t.split('/')[-1]}" in personal
        ]


@pytest.mark.fault("F37")
async def test_a_clean_stop_says_so(stage):
    """SIGTERM publishes offline and ends with status 0; kill -9 leaves it to the will."""
    async with stage(chargers=1) as s:
        assert await s.gateway.end() == os.EX_OK
        await s.witness.value("charger/bridge/state", "offline")
        await s.witness.value(f"charger/{ONE}/availability", "offline")
        async with running(s.config, s.folder) as second:
            await s.witness.value("charger/bridge/state", "online")
            await s.witness.value(f"charger/{ONE}/availability", "online")
            await second.end(signal.SIGKILL)
            await s.witness.value("charger/bridge/state", "offline")


async def test_what_a_killed_gateway_left_is_not_taken_for_true(stage):
    """After kill -9, a restart without the cloud says offline of chargers it does not know."""
    async with stage(chargers=1) as s:
        await s.gateway.end(signal.SIGKILL)
        s.config["easee"]["api_url"] = "http://127.0.0.1:9"
        s.config["easee"]["stream_url"] = "http://127.0.0.1:9/hubs/chargers"
        assert s.witness.retained[f"charger/{ONE}/availability"] == b"online"
        async with running(s.config, s.folder):
            await s.witness.value(f"charger/{ONE}/availability", "offline")
            await s.witness.until(
                lambda: s.witness.retained.get("charger/bridge/alert/cloud_unreachable"), "it"
            )


@contextlib.asynccontextmanager
async def reading(broker, path):
    """Let a process of its own read from a broker and write the topics to a file."""
    with path.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.acceptance.reader", str(broker.port), stdout=file
        )
    try:
        await until(lambda: path.read_bytes().startswith(b"\n"))
        yield
        assert process.returncode is None, "the reader ended early"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_a_consumer_misses_nothing_of_a_start(stage, mosquitto, tmp_path):
    """Eight chargers say everything at once; mosquitto as shipped drops none of it for a reader."""
    serials = [f"EH00000{number}" for number in range(1, 9)]
    heard = tmp_path / "topics"

    def values():
        topics = {line for line in heard.read_text().splitlines() if "/state/" in line}
        found = Counter(topic.split("/")[1] for topic in topics)
        counts = {found[serial] for serial in serials}
        return len(counts) == 1 and min(counts) > 100

    # Not online for the witness: with a cloud in its process, it may be too slow itself.
    async with reading(mosquitto, heard), stage(chargers=8, online=False):
        await until(values, TIMEOUT_S)
    assert "dropped for client reader" not in mosquitto.log


async def test_polling_serves_where_there_is_no_stream(stage):
    """With source poll, values come over REST and the cloud is said to be degraded."""

    def poll(config):
        config["easee"] |= {"source": "poll", "poll_interval_s": 10}

    async with stage(chargers=1, change=poll, online=False) as s:
        await s.witness.value("charger/bridge/cloud", "degraded")
        await s.witness.value(f"charger/{ONE}/availability", "online")
        # Values have a connection of their own: they may come behind the availability.
        topic = f"charger/{ONE}/observation/charger_op_mode"
        payload = await s.witness.until(lambda: s.witness.retained.get(topic), "the value")

        assert json.loads(payload)["source"] == "poll"
        assert s.cloud.connections == 0


@pytest.mark.fault("F29")
async def test_wrong_credentials_are_told_and_not_tried_again_soon(stage):
    """One login, an alert that says what to do, bridge/cloud auth_failed, and patience."""
    async with stage(chargers=1, online=False, username="x@example.com", password="other") as s:
        await s.witness.value("charger/bridge/cloud", "auth_failed")
        await asyncio.sleep(3)  # impatience would show within this time
        logins = [r for r in s.cloud.requests if r.path == "/api/accounts/login"]

        assert len(logins) == 1
        assert "password" in s.witness.retained["charger/bridge/alert/auth_failed"].decode()
