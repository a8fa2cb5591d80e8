"""What sessions cost, in the report of a month: each at the price of its own end."""

import asyncio
import json
import os
import sys

import pytest

from tests.acceptance.conftest import PASSWORD

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
REPORT = f"charger/{ONE}/session/report"
FIRST, SECOND, TODAY = 0.5, 2.0, 9.0


def allow_price(config):
    """Let the price of the site be set."""
    config["commands"]["allow"].append("site")


async def charged(s):
    """Let a car charge and leave; return the report of its session."""
    number = s.cloud.world.chargers[ONE].next_session
    s.cloud.plug_in(ONE)
    await s.witness.value(f"charger/{ONE}/state/op_mode", "charging")
    power = f"charger/{ONE}/state/total_power"
    await s.witness.until(lambda: float(s.witness.retained.get(power, 0)) > 1, "power")
    s.cloud.unplug(ONE)

    def reports():
        told = [json.loads(payload) for name, payload, _ in s.witness.messages if name == REPORT]
        return [one for one in told if one["session_id"] == number]

    return (await s.witness.until(reports, f"the report of session {number}"))[0]


async def priced(s, per_kwh, count):
    """Set the price of the site."""
    wish = {"per_kwh": per_kwh, "currency": "NOK", "vat": 25}
    s.witness.publish(f"charger/{ONE}/set/site_price", json.dumps(wish))
    final = await s.witness.final(ONE, "site_price", count)
    assert final["state"] == "confirmed", final


async def report_of(s, month):
    """Run the command for a month; return its document."""
    words = ("sessions", "report", "--config", str(s.gateway.config), "--format", "json")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bridge",
        *words,
        *("--timezone", "UTC", "--month", month),
        env={"PATH": os.environ["PATH"], "CHARGER_BRIDGE_EASEE__PASSWORD": PASSWORD},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaints = await process.communicate()
    assert process.returncode == 0, complaints
    return json.loads(output)


async def test_a_later_price_changes_no_session_that_ended(stage):
    """Two sessions at two prices, reported while a third one is in force: they add up."""
    async with stage(
        chargers=1, equalizers=0, authorization_required=False, speed=60, change=allow_price
    ) as s:
        sessions = []
        for number, price in enumerate((FIRST, SECOND), start=1):
            await priced(s, price, number)
            sessions.append(await charged(s))
        await priced(s, TODAY, 3)
        document = await report_of(s, sessions[0]["ended_at"][:7])

    rows = {row["key"]: row for group in document["groups"] for row in group["sessions"]}
    for told, price in zip(sessions, (FIRST, SECOND), strict=True):
        row = rows[told["key"]]
        assert row["currency"] == "NOK"
        assert row["cost"] == pytest.approx(told["energy_kwh"] * price, abs=1e-4)
