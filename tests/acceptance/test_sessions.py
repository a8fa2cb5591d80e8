"""Session reports and queries as consumers see them, between a real broker and a cloud."""

import json
import signal

import pytest

from tests.acceptance.conftest import running

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
REPORT = f"charger/{ONE}/session/report"
ACK = "charger/bridge/session/ack"
REPLAY = "charger/bridge/session/replay"
GAP = "charger/bridge/alert/session_gap"


def reports(witness, after=0):
    """Return the reports so far, oldest first."""
    return [json.loads(p) for topic, p, _ in witness.messages[after:] if topic == REPORT]


def offline(witness, after=0):
    """Return those of the sessions that ran offline; the seed of the cloud has others."""
    return [report for report in reports(witness, after) if report["offline"]]


async def offline_reports(witness, count, after=0):
    """Wait for so many of them; return them."""
    await witness.until(lambda: len(offline(witness, after)) >= count, f"{count} reports")
    return offline(witness, after)


@pytest.mark.fault("F30")
async def test_sessions_that_ran_while_nobody_listened_are_looked_up(stage):
    """The stream repeats only the newest of a burst; the cloud's list brings the others."""
    async with stage(chargers=1) as s:
        s.cloud.set_offline(ONE)
        s.cloud.bring_back(ONE, sessions=2)
        first = await offline_reports(s.witness, 2)
        await s.gateway.end(signal.SIGKILL)
        s.cloud.set_offline(ONE)
        s.cloud.bring_back(ONE, sessions=4)
        before = len(s.witness.messages)
        async with running(s.config, s.folder):
            wanted = max(one["session_id"] for one in first) + 4

            def complete():
                found = {one["session_id"] for one in reports(s.witness, before)}
                return set(range(wanted - 3, wanted + 1)) <= found

            await s.witness.until(complete, "the sessions of the outage")
            found = {one["session_id"]: one for one in reports(s.witness, before)}

        sources = [found[number]["source"] for number in range(wanted - 3, wanted + 1)]
        assert sources == ["backfill"] * 3 + ["stream"]
        assert found[wanted]["offline"] is True
        assert found[wanted - 1]["auth_reason"] is None
        assert not s.witness.retained.get(GAP)


async def test_a_consumer_acknowledges_and_may_ask_again(stage):
    """The ledger forgets no report; a replay brings it with the same key and revision."""
    async with stage(chargers=1) as s:
        s.cloud.set_offline(ONE)
        s.cloud.bring_back(ONE, sessions=1)
        (first,) = await offline_reports(s.witness, 1)
        s.witness.publish(ACK, json.dumps({"key": first["key"], "revision": first["revision"]}))
        before = len(s.witness.messages)
        s.witness.publish(REPLAY, json.dumps({"since": first["ended_at"], "charger": ONE}))
        (again,) = await offline_reports(s.witness, 1, before)

        assert again == first


async def test_what_is_not_settled_goes_out_again_when_the_broker_was_killed(stage):
    """A PUBACK is no promise; an acknowledgement is."""
    async with stage(chargers=1) as s:
        s.cloud.set_offline(ONE)
        s.cloud.bring_back(ONE, sessions=2)
        one, other = await offline_reports(s.witness, 2)
        s.witness.publish(ACK, one["key"])
        s.witness.publish(f"charger/{ONE}/get/sessions", "{}")
        await s.witness.final(ONE, "sessions")
        before = len(s.witness.messages)
        s.broker.kill()
        s.broker.start()
        await offline_reports(s.witness, 1, before)

        assert [again["key"] for again in offline(s.witness, before)] == [other["key"]]
        assert "session.redelivered" in [line["event"] for line in s.gateway.lines]


async def test_queries_are_answered_from_cloud_and_ledger(stage):
    """Each query has one final answer with its data in value."""
    async with stage(chargers=1) as s:
        s.cloud.set_offline(ONE)
        s.cloud.bring_back(ONE, sessions=1)
        (report,) = await offline_reports(s.witness, 1)
        asked = {
            "observations": "",
            "history": '{"name":"charger_op_mode","id":"h"}',
            "sessions": "{}",
            "schedule": "PRESS",
            "horoscope": "{}",
        }
        for query, payload in asked.items():
            s.witness.publish(f"charger/{ONE}/get/{query}", payload)
        answers = {query: await s.witness.final(ONE, query) for query in asked}

        values = {query: answer.get("value") for query, answer in answers.items()}
        assert [one["state"] for one in answers.values()] == ["confirmed"] * 4 + ["refused"]
        assert answers["history"]["id"] == "h"
        assert values["observations"]["charger_op_mode"]["id"] == 109
        assert {"value", "label", "measured_at"} == set(values["history"][0])
        assert report["key"] in [one["key"] for one in values["sessions"] if one["revision"]]
        current = await s.witness.until(
            lambda: s.witness.retained.get(f"charger/{ONE}/schedule/current"), "the schedules"
        )
        assert set(values["schedule"]) == set(json.loads(current))
        assert values["schedule"]["in_force"] == "none"
