import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator.rest import ROUTES, Call, answer
from bridge.simulator.scenario import Scenario
from bridge.simulator.sessions import Car
from bridge.simulator.world import World
from tests.simulator.lab import FIRST, NOON

TABLE = {(route.method, route.path): route for route in ROUTES}
C = "/api/chargers/{id}"
CIRCUIT = "/api/sites/{site}/circuits/{circuit}"


def ask(world, method, path, body=b"", **match):
    """Answer one call of the table."""
    query = match.pop("query", {})
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return answer(TABLE[method, path], world, Call({"id": FIRST, **match}, query, raw))


def test_every_row_is_there_once():
    """No two rows answer the same request."""
    assert len(TABLE) == len(ROUTES)


@pytest.mark.parametrize(
    "path",
    [
        "/health",
        "/api/accounts/profile",
        "/api/accounts/products",
        "/api/chargers",
        C,
        f"{C}/details",
        f"{C}/config",
        f"{C}/site",
        f"{C}/schedules",
        f"{C}/sessions/latest",
        "/firmware/{id}/latest",
        "/api/resources/observation_properties",
        "/api/sites",
    ],
)
def test_reads_without_arguments_answer(lab, path):
    """Every plain read is a 200 that is JSON."""
    found = ask(lab().world, "GET", path)

    assert found.status == 200
    if path != "/health":
        json.dumps(found.document)


def test_the_retired_state_is_gone(lab):
    """404 since 2026-09-01."""
    assert ask(lab().world, "GET", f"{C}/state").status == 404


def test_sites_go_by_their_number(lab):
    """Another site is not ours."""
    world = lab().world

    assert ask(world, "GET", "/api/sites/{site}", site="8001").document["id"] == 8001
    assert ask(world, "GET", "/api/sites/{site}/state", site="8001").status == 200
    assert ask(world, "GET", "/api/sites/{site}", site="1").status == 404


def test_observations_need_their_ids(lab):
    """Without ids a 400, with nonsense too."""
    world, path = lab().world, "/state/{id}/observations"

    assert ask(world, "GET", path).status == 400
    assert ask(world, "GET", path, query={"ids": "1,x"}).status == 400
    found = ask(world, "GET", path, query={"ids": "109,46"})
    assert [row["id"] for row in found.document["observations"]] == [109, 46]


@pytest.mark.parametrize(
    "path",
    [
        "/api/sessions/charger/{id}/sessions/{from}/{to}",
        "/api/sessions/charger/{id}/total/{from}/{to}",
        f"{C}/usage/hourly/{{from}}/{{to}}",
        f"{C}/observations/{{observation}}/{{from}}/{{to}}",
        "/api/chargers/lifetime-energy/{id}/all",
    ],
)
def test_periods_are_read_in_every_spelling(lab, path):
    """Z, an offset whose plus became a blank, and no zone at all; nonsense is a 400."""
    world = lab().world
    for start in ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00 00:00", "2026-11-01T00:00:00"):
        match = {"from": start, "to": "2026-11-22T00:00:00Z", "observation": "109"}
        assert ask(world, "GET", path, **match).status == 200
    match = {"from": "yesterday", "to": "now", "observation": "109"}
    assert ask(world, "GET", path, **match).status == 400


def test_sessions_have_their_other_lists(lab):
    """Descending with a limit, sums per period, 404 for what is no period."""
    world, path = lab().world, "/api/sessions/charger/{id}/{period}"
    newest = ask(
        world,
        "GET",
        "/api/sessions/charger/{id}/sessions/descending",
        query={"limit": "2"},
    )

    assert len(newest.document) == 2
    assert ask(world, "GET", path, period="monthly").status == 200
    assert ask(world, "GET", path, period="weekly").status == 404
    assert ask(world, "GET", f"{C}/sessions/ongoing").status == 404


def test_a_command_is_asked_about_until_it_is_known(lab):
    """404 before anything is known, then executed with the same ticks."""
    bench = lab()
    bench.first.plug_in(Car())
    path = "/api/commands/{device}/{command}/{ticks}"
    receipt = ask(bench.world, "POST", f"{C}/commands/{{name}}", name="start_charging").document
    match = {"device": FIRST, "command": "25", "ticks": str(receipt["ticks"])}
    assert ask(bench.world, "GET", path, **match).status == 404

    bench.wait(1)
    found = ask(bench.world, "GET", path, **match).document
    assert (found["wasAccepted"], found["resultCode"], found["ticks"]) == (
        True,
        3,
        receipt["ticks"],
    )


def test_writes_read_their_bodies(lab):
    """Settings, access and circuits take what they know and name what they do not."""
    bench = lab()
    world = bench.world

    assert ask(world, "POST", f"{C}/settings", {"smartButtonEnabled": True}).status == 202
    assert ask(world, "POST", f"{C}/settings", b"[1]").status == 400
    assert ask(world, "POST", f"{C}/settings", b"{").status == 400
    assert ask(world, "PUT", f"{C}/access", 3).status == 202
    assert ask(world, "PUT", f"{C}/access", {"level": 3}).status == 400
    assert ask(world, "PUT", f"{C}/access", 4).status == 400
    assert ask(world, "DELETE", f"{C}/access").status == 202


def test_an_omitted_phase_becomes_zero(lab):
    """As seen in the field: all three phases in one call, or the others are off."""
    bench = lab()
    match = {"site": "8001", "circuit": "8101"}
    body = {"phase1": 10, "phase2": 12.7, "timeToLive": 5}
    assert ask(bench.world, "POST", f"{CIRCUIT}/dynamicCurrent", body, **match).status == 202
    bench.wait(1)

    found = ask(bench.world, "GET", f"{CIRCUIT}/dynamicCurrent", **match).document
    assert found == {"phase1": 10, "phase2": 12, "phase3": 0}
    for wrong in ({"phase1": "x"}, {"timeToLive": -1}):
        found = ask(bench.world, "POST", f"{CIRCUIT}/dynamicCurrent", wrong, **match)
        assert found.status == 400


def test_circuit_settings_are_read_and_written(lab):
    """An empty 200 for the write, the new value in the read, a 403 for installers' business."""
    bench = lab()
    match = {"site": "8001", "circuit": "8101"}
    body = {"maxCircuitCurrentP1": 20}
    assert ask(bench.world, "POST", f"{CIRCUIT}/settings", body, **match).status == 200
    bench.wait(1)

    found = ask(bench.world, "GET", f"{CIRCUIT}/settings", **match).document
    assert found["maxCircuitCurrentP1"] == 20
    wrong = {"maxCircuitCurrentP1": 99}
    assert ask(bench.world, "POST", f"{CIRCUIT}/settings", wrong, **match).status == 400
    assert ask(bench.world, "POST", f"{CIRCUIT}/rated_current", {}, **match).status == 403
    for path in (f"{CIRCUIT}/settings", f"{CIRCUIT}/dynamicCurrent"):
        assert ask(bench.world, "GET", path, site="8001", circuit="1").status == 404


def test_plans_live_and_die(lab):
    """404, written, read, switched, deleted, 404."""
    bench = lab()
    world, path = bench.world, f"{C}/schedules/daily"
    plan = {"enabled": True, "timezone": "UTC", "periods": []}
    assert ask(world, "GET", path).status == 404
    assert ask(world, "POST", f"{path}/enable").status == 404
    assert ask(world, "POST", f"{path}/disable").status == 200
    assert ask(world, "POST", path, {"periods": 3}).status == 400
    assert ask(world, "POST", path, plan).status == 202
    bench.wait(1)
    assert ask(world, "GET", path).document == plan
    assert ask(world, "GET", f"{C}/schedules").document["enabled"] == "daily"

    ask(world, "POST", f"{path}/disable")
    bench.wait(1)
    assert ask(world, "GET", path).document["enabled"] is False
    assert ask(world, "DELETE", path).status == 202
    bench.wait(1)
    assert ask(world, "DELETE", path).status == 404


@given(
    st.sampled_from(ROUTES),
    st.one_of(st.binary(max_size=40), st.just(b'{"amps":' + b"[" * 5000)),
    st.text(max_size=12),
)
def test_no_request_makes_the_simulator_fail(route, body, text):
    """Whatever comes, there is an answer."""
    world = World(Scenario(chargers=1, traffic=False), NOON)
    names = ("id", "site", "circuit", "device", "command", "ticks", "name", "period", "from", "to")
    match = dict.fromkeys((*names, "observation"), text)
    call = Call({**match, "id": FIRST}, {"ids": text, "limit": text}, body)

    assert 200 <= answer(route, world, call).status < 500
