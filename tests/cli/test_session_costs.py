"""Costs are read with one login; what cannot be read costs nothing else."""

from dataclasses import replace
from datetime import timedelta

import pytest

from bridge.cli.session_costs import read_costs
from bridge.settings import EaseeSettings, Secret, Settings
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from bridge.simulator.sessions import Session
from tests.core.sessions.rows import REPORT

pytestmark = pytest.mark.anyio


def settings_of(cloud, password="x"):
    """The configuration of an account at a simulated cloud."""
    return Settings(EaseeSettings("someone@example.com", Secret(password), api_url=cloud.api_url))


async def test_costs_of_each_charger_are_read_with_one_login():
    """A charger that the cloud does not know is named."""
    async with serve(Scenario(chargers=1, traffic=False)) as cloud:
        started_at = cloud.world.now.replace(microsecond=0) - timedelta(hours=3)
        session = Session(7, started_at, 10.0, "", 0, started_at + timedelta(hours=1), 4.0)
        cloud.world.chargers["EH000001"].sessions.append(session)
        known = replace(REPORT, charger_id="EH000001", session_id=7, started_at=started_at)
        strange = replace(known, charger_id="EH999999")
        costs = await read_costs(settings_of(cloud), [known, known, strange])
        assert [(one.session_id, one.currency) for one in costs.by_charger["EH000001"]] == [
            (7, "EUR")
        ]
        assert costs.read_at is not None
        assert [one.split(":")[0] for one in costs.problems] == ["no costs of EH999999"]
        logins = [one for one in cloud.requests if one.path == "/api/accounts/login"]
        assert len(logins) == 1


async def test_without_an_account_there_are_no_costs():
    """One sentence says why; without sessions nothing is asked."""
    scenario = Scenario(chargers=1, traffic=False, username="other", password="y")
    async with serve(scenario) as cloud:
        assert (await read_costs(settings_of(cloud), [])).problems == []
        costs = await read_costs(settings_of(cloud), [REPORT])
        assert len(costs.problems) == 1
        assert costs.by_charger == {}
        assert costs.read_at is None
