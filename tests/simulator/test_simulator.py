import json

import pytest

from bridge.simulator.sessions import Car
from tests.simulator.lab import FIRST

pytestmark = pytest.mark.anyio


async def test_the_handles_move_the_world(connect):
    """Cars, tags, buttons, errors, outages: each handle shows in the observations."""
    async with connect() as client:
        simulator = client.simulator
        charger = simulator.world.chargers[FIRST]
        simulator.plug_in(FIRST, Car())
        assert charger.number(109) == 7
        simulator.show_tag(FIRST, "0411223344")
        assert charger.number(109) == 6
        simulator.touch(FIRST)
        assert charger.flag(102)
        simulator.fail(FIRST, 3)
        assert charger.number(46) == 16
        simulator.fail(FIRST, 0)
        simulator.unplug(FIRST)
        assert json.loads(charger.value(129))["Auth"] == "0411223344"
        simulator.set_offline(FIRST)
        assert charger.flag(250) is False
        simulator.bring_back(FIRST, sessions=2)
        assert json.loads(charger.value(129))["AuthReason"] == 4
        simulator.add_charger("EH000042")
        assert (await client.ask("GET", "/api/chargers/EH000042/config"))[0] == 200


async def test_a_pushed_observation_is_kept_as_it_is(connect):
    """True or not, it is the last word, with the stamp and type it was given."""
    async with connect() as client:
        client.simulator.push(FIRST, 109, "nonsense", data_type=4)
        _, body = await client.ask("GET", f"/state/{FIRST}/observations?ids=109")

        assert body["observations"][0]["value"] == "nonsense"
        assert body["observations"][0]["dataType"] == 4


async def test_requests_are_remembered_without_showing_their_bodies(connect):
    """Method, path, body, status and client; a repr hides the password."""
    async with connect() as client:
        await client.ask("POST", f"/api/chargers/{FIRST}/settings", json={"enabled": False})
        login, write = client.simulator.requests

        assert (login.method, login.path, login.status) == ("POST", "/api/accounts/login", 200)
        assert json.loads(write.body) == {"enabled": False}
        assert write.status == 202
        assert "aiohttp" in write.user_agent
        assert "password" not in repr(login)


async def test_prepared_answers_come_once_in_order(connect):
    """A prepared answer meets the next request under its path, then things are as before."""
    async with connect() as client:
        client.simulator.answer_next("/api/chargers/", 503, {"title": "x"}, {"Retry-After": "60"})
        path = f"/api/chargers/{FIRST}/config"

        assert (await client.ask("GET", "/api/sites"))[0] == 200
        assert await client.ask("GET", path) == (503, {"title": "x"})
        assert (await client.ask("GET", path))[0] == 200


async def test_a_prepared_answer_may_hide_what_was_done(connect):
    """With execute the charger does it and the caller is told otherwise."""
    async with connect() as client:
        client.simulator.plug_in(FIRST, Car())
        client.simulator.answer_next("/api/chargers/", 504, execute=True, delay_s=0.01)
        path = f"/api/chargers/{FIRST}/commands/pause_charging"

        assert (await client.ask("POST", path))[0] == 504
        client.wait(1)
        assert client.simulator.world.chargers[FIRST].number(48) == 0


async def test_a_rejected_command_does_nothing(connect):
    """The charger says no once."""
    async with connect() as client:
        client.simulator.plug_in(FIRST, Car())
        client.simulator.reject_next(FIRST)
        await client.ask("POST", f"/api/chargers/{FIRST}/commands/pause_charging")
        client.wait(1)

        assert client.simulator.world.chargers[FIRST].number(48) == 32


async def test_tokens_may_be_revoked_by_the_clock(connect):
    """With revoke_after_s a token dies once, and the next login lasts."""
    async with connect(revoke_after_s=60) as client:
        client.wait(61)
        assert (await client.ask("GET", "/api/sites"))[0] == 401
        await client.login()
        client.wait(61)
        assert (await client.ask("GET", "/api/sites"))[0] == 200
