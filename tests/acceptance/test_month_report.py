"""The report of a month, written beside a running gateway from what it stored."""

import asyncio
import json
import sys

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"


async def report(s, *words):
    """Run ``sessions report``; return what it printed and what it noted."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bridge", "sessions", "report", "--config", str(s.gateway.config), *words),
        env=s.gateway.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err
    return out.decode(), err.decode()


async def test_the_sessions_of_a_month_have_cost_names_and_sums(stage):
    """Tags are named by their published hash; what is printed adds up."""
    async with stage(chargers=1) as s:
        s.cloud.set_offline(ONE)
        s.cloud.bring_back(ONE, sessions=2)
        topic = f"charger/{ONE}/session/report"

        def stored():
            found = [json.loads(p) for name, p, _ in s.witness.messages if name == topic]
            return [one for one in found if one["offline"]]

        await s.witness.until(lambda: len(stored()) >= 2, "two sessions")
        told = {one["key"]: one for one in stored()}
        month = stored()[0]["ended_at"][:7]
        tag = stored()[0]["auth"]
        named = s.folder / "tags"
        named.write_text(f"# drivers\n{tag}=Kari <Nordmann>\n")
        s.gateway.environ["CHARGER_BRIDGE_PUBLISH__TAGS_FILE"] = str(named)
        out, err = await report(s, "--month", month, "--format", "json")
        document = json.loads(out)
        rows = {r["key"]: r for group in document["groups"] for r in group["sessions"]}
        assert "no costs" not in err
        assert told.keys() & rows.keys()
        assert {group["name"] for group in document["groups"]} >= {"Kari <Nordmann>"}
        for key in told.keys() & rows.keys():
            assert rows[key]["energy_kwh"] == told[key]["energy_kwh"]
            assert rows[key]["cost"] > 0
            assert rows[key]["currency"] == "EUR"
        assert document["total"]["sessions"] == len(rows)
        assert document["timezone"] == "UTC"
        page, _ = await report(s, "--month", month, "--format", "html", "--by", "charger")
        assert "Kari &lt;Nordmann&gt;" in page
        cells, err = await report(s, "--month", month, "--no-costs", "--timezone", "Europe/Oslo")
        assert cells.startswith("kind,charger_id,")
        assert "EUR" not in cells


async def test_without_a_cloud_the_report_says_that_costs_are_missing(stage):
    """It is written all the same."""
    async with stage(chargers=1) as s:
        s.gateway.environ["CHARGER_BRIDGE_EASEE__API_URL"] = "http://127.0.0.1:9"
        s.cloud.set_offline(ONE)
        s.cloud.bring_back(ONE, sessions=1)
        topic = f"charger/{ONE}/session/report"
        payload = await s.witness.until(lambda: s.witness.retained.get(topic), "a session")
        month = json.loads(payload)["ended_at"][:7]
        out, err = await report(s, "--month", month)
        assert "charger-bridge: no costs" in err
        assert "total," in out
