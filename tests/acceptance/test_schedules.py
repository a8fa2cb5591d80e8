"""Schedules: set, changed, switched and removed through the gateway, and who else decides."""

import json
from datetime import timedelta

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
CURRENT = f"charger/{ONE}/schedule/current"
BASE = f"/api/chargers/{ONE}/schedules"


def calls(stage, method, path=""):
    """Return the requests for schedules of a charger, as the cloud saw them."""
    return [r for r in stage.cloud.requests if (r.method, r.path) == (method, BASE + path)]


def clock(stage, hours):
    """Return the time of the day in UTC so many hours from now, by the cloud's clock."""
    return (stage.cloud.now() + timedelta(hours=hours)).strftime("%H:%M")


def daily(stage, first, last, **change):
    """Spell a daily schedule from and to so many hours from now."""
    period = {"start": clock(stage, first), "stop": clock(stage, last), "amps": 10}
    return json.dumps({"enabled": True, "timezone": "UTC", "periods": [period], **change})


async def current(stage, **expected):
    """Wait until the retained document has these fields; return it."""

    def found():
        document = json.loads(stage.witness.retained.get(CURRENT, b"null"))
        holds = document and all(document[key] == value for key, value in expected.items())
        return document if holds else None

    return await stage.witness.until(found, f"{CURRENT} with {expected}")


async def test_a_charger_follows_the_schedule_it_is_given(stage):
    """Withheld outside of its periods, limited inside, free when it is disabled or removed."""
    async with stage(chargers=1, authorization_required=False) as s:
        topic, state = f"charger/{ONE}/set/daily_schedule", f"charger/{ONE}/state"
        await current(s, in_force="none", daily=None)
        s.cloud.plug_in(ONE)
        await s.witness.value(f"{state}/op_mode", "charging")

        s.witness.publish(topic, daily(s, 2, 4, id="a"))
        first = await s.witness.final(ONE, "daily_schedule")
        shown = await current(s, in_force="daily", in_period=False)
        await s.witness.value(f"{state}/no_current_reason", "waiting_for_schedule")
        assert shown["daily"]["periods"] == [
            {"start": clock(s, 2), "stop": clock(s, 4), "amps": 10}
        ]
        assert shown["next_start"] < shown["next_stop"]

        s.witness.publish(topic, json.dumps({"start": clock(s, -1)}))
        await s.witness.final(ONE, "daily_schedule", 2)
        await current(s, in_force="daily", in_period=True)
        await s.witness.value(f"{state}/op_mode", "charging")
        await s.witness.value(f"{state}/no_current_reason", "limited_by_schedule")

        s.witness.publish(topic, '{"enabled":false}')
        await s.witness.final(ONE, "daily_schedule", 3)
        disabled = await current(s, in_force="none")
        assert disabled["daily"]["enabled"] is False

        s.witness.publish(topic, '{"clear":true}')
        await s.witness.final(ONE, "daily_schedule", 4)
        await current(s, in_force="none", daily=None)

        answers = [a for a in s.witness.results(ONE, "daily_schedule") if a["final"]]
        assert {answer["state"] for answer in answers} == {"confirmed"}
        assert first["id"] == "a"
        methods = [(r.method, r.path) for r in s.cloud.requests if r.path.startswith(f"{BASE}/")]
        assert methods == [
            ("POST", f"{BASE}/daily"),
            ("POST", f"{BASE}/daily"),
            ("POST", f"{BASE}/daily/disable"),
            ("DELETE", f"{BASE}/daily"),
        ]


async def test_a_schedule_that_is_sent_twice_is_set_once(stage):
    """The same id is answered again, and the cloud gets one request."""
    async with stage(chargers=1) as s:
        for count in (1, 2):
            payload = '{"id":"x","timezone":"UTC","periods":[{"start":"22:00"}]}'
            s.witness.publish(f"charger/{ONE}/set/delayed_schedule", payload)
            final = await s.witness.final(ONE, "delayed_schedule", count)

        assert (final["id"], final["state"]) == ("x", "confirmed")
        assert len(calls(s, "POST", "/delayed")) == 1
        shown = await current(s, in_force="delayed")
        assert shown["delayed"]["periods"] == [{"start": "22:00", "amps": 32}]


async def test_a_schedule_that_somebody_else_changes_is_read_again(stage):
    """The charger reports another one (62), and the topic follows; the query says the same."""
    async with stage(chargers=1) as s:
        await current(s, in_force="none")
        plan = {
            "enabled": True,
            "timezone": "Europe/Oslo",
            "periods": [
                {
                    "startDay": "friday",
                    "startTime": "22:00",
                    "stopDay": "monday",
                    "stopTime": "06:00",
                    "maximumAmps": 16,
                }
            ],
        }
        s.cloud.live_to_now()
        s.cloud.world.set_plan(ONE, "weekly", plan)
        shown = await current(s, in_force="weekly")
        assert shown["weekly"] == {
            "enabled": True,
            "timezone": "Europe/Oslo",
            "periods": [
                {"start": "22:00", "stop": "06:00", "amps": 16, "from": "friday", "to": "monday"}
            ],
        }

        s.witness.publish(f"charger/{ONE}/get/schedule", "")
        final = await s.witness.final(ONE, "schedule")
        for document in (final["value"], shown):
            del document["read_at"]
        assert final["value"] == shown


async def test_the_former_plans_use_the_same_calls(stage):
    """Their payloads and names stay; nothing is asked of their former paths."""
    async with stage(chargers=1) as s:
        basic = {
            "chargeStartTime": "2026-11-22T22:00:00Z",
            "chargeStopTime": "2026-11-23T06:00:00Z",
            "repeat": True,
            "isEnabled": True,
        }
        days = [{"dayOfWeek": 0, "ranges": [{"startTime": "22:00Z", "stopTime": "06:00Z"}]}]
        s.witness.publish(f"charger/{ONE}/set/basic_charge_plan", json.dumps(basic))
        await s.witness.final(ONE, "basic_charge_plan")
        await current(s, in_force="daily")
        s.witness.publish(f"charger/{ONE}/set/weekly_charge_plan", json.dumps({"days": days}))
        await s.witness.final(ONE, "weekly_charge_plan")
        await current(s, in_force="weekly")
        s.witness.publish(f"charger/{ONE}/set/basic_charge_plan", "off")
        last = await s.witness.final(ONE, "basic_charge_plan", 2)
        shown = await current(s, daily=None)

        assert last["state"] == "confirmed"
        assert shown["weekly"]["timezone"] == "UTC"
        assert not [r for r in s.cloud.requests if "charge_plan" in r.path]


async def test_a_local_ocpp_server_decides(stage):
    """Its charger's schedules are refused with that reason until it is disconnected."""
    async with stage(chargers=1, direct_ocpp=(1,)) as s:
        topic = f"charger/{ONE}/set/delayed_schedule"
        payload = '{"timezone":"UTC","periods":[{"start":"22:00"}]}'
        await current(s, in_force="ocpp.direct")
        s.witness.publish(topic, payload)
        refused = await s.witness.final(ONE, "delayed_schedule")
        s.cloud.world.ocpp_in_force.clear()
        s.witness.publish(topic, payload)
        taken = await s.witness.final(ONE, "delayed_schedule", 2)
        await current(s, in_force="delayed")

        assert (refused["state"], refused["reason"]) == ("refused", "controlled_by_ocpp")
        assert taken["state"] == "confirmed"
        assert len(calls(s, "POST", "/delayed")) == 1


async def test_a_conflict_in_between_is_said_the_same_way(stage):
    """The cloud's 409, where the gateway did not know of the OCPP server."""
    async with stage(chargers=1) as s:
        await current(s, in_force="none")
        s.cloud.answer_next(f"{BASE}/daily", 409)
        s.witness.publish(f"charger/{ONE}/set/daily_schedule", daily(s, 1, 2))
        final = await s.witness.final(ONE, "daily_schedule")

        assert (final["state"], final["reason"]) == ("failed", "controlled_by_ocpp")


async def test_single_values_make_a_schedule(stage):
    """As Home Assistant sends them: a start, then a stop, then the switch."""
    async with stage(chargers=1) as s:
        topic = f"charger/{ONE}/set/daily_schedule"
        zone = '"timezone": "Europe/Oslo"'
        for payload in (
            f'{{"start": "23:00", {zone}}}',
            f'{{"stop": "05:30", {zone}}}',
            f'{{"amps": 12, {zone}}}',
        ):
            s.witness.publish(topic, payload)
        await s.witness.final(ONE, "daily_schedule", 3)
        made = {
            "enabled": False,
            "timezone": "Europe/Oslo",
            "periods": [{"start": "23:00", "stop": "05:30", "amps": 12}],
        }
        await current(s, in_force="none", daily=made)
        s.witness.publish(topic, '{"enabled": true}')
        await s.witness.final(ONE, "daily_schedule", 4)
        await current(s, in_force="daily")


async def test_what_makes_no_schedule_never_reaches_the_cloud(stage):
    """Each with one line that says what is allowed."""
    async with stage(chargers=1) as s:
        wrong = (
            daily(s, 1, 2, timezone="Oslo"),
            daily(s, 1, 2, periods=[]),
            daily(s, 1, 1),
            '{"amps":33}',
            '{"start":"25:00"}',
        )
        for count, payload in enumerate(wrong, 1):
            s.witness.publish(f"charger/{ONE}/set/daily_schedule", payload)
            final = await s.witness.final(ONE, "daily_schedule", count)
            assert final["state"] == "refused"
            assert final["reason"] in ("invalid_value", "over_limit")
            assert "\n" not in final["detail"]

        assert calls(s, "POST", "/daily") == []
