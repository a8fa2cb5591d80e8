import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator.rest import ROUTES, Call, answer
from bridge.simulator.scenario import Scenario
from bridge.simulator.sessions import Car
from bridge.simulator.world import World
from tests.simulator.lab import FIRST, NOON, responses

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


def test_errors_are_read_like_a_history(lab):
    """The errors of a period, by their numbers; outside of it none."""
    world = lab().world
    world.chargers[FIRST].fail(7)
    day = {"from": "2026-11-22T00:00:00Z", "to": "2026-11-23T00:00:00Z"}
    before = {"from": "2026-01-22T00:00:00Z", "to": "2026-01-23T00:00:00Z"}
    path = f"{C}/errors/{{from}}/{{to}}"

    assert ask(world, "GET", path, **day).document["measurements"][-1]["value"] == 7
    assert ask(world, "GET", path, **before).document == {"measurements": []}


def test_the_list_of_circuits_cannot_be_read(lab):
    """405: there is no such read."""
    assert ask(lab().world, "GET", "/api/sites/{site}/circuits", site="8001").status == 405


E = "/api/equalizers/{id}"
SURPLUS = "/cloud-loadbalancing/equalizer/{id}/config/surplus-energy"
METER = "QP000001"


def test_an_equalizer_is_a_product_of_the_site(lab):
    """Listed with the site, read like a charger, and no charger."""
    world = lab(equalizers=1).world
    (site,) = ask(world, "GET", "/api/accounts/products").document
    assert [one["id"] for one in site["equalizers"]] == [METER]
    assert METER not in [one["id"] for one in ask(world, "GET", "/api/chargers").document]
    for path in (E, f"{E}/config", f"{E}/state", SURPLUS, "/firmware/{id}/latest"):
        assert ask(world, "GET", path, id=METER).status == 200
        assert ask(world, "GET", path, id="QP999999").status == 404
    query = {"ids": "40,41,26"}
    found = ask(world, "GET", "/state/{id}/observations", id=METER, query=query)
    assert [one["id"] for one in found.document["observations"]] == [40, 41, 26]


def test_its_state_is_forbidden_to_some_accounts(lab):
    """Its observations are not."""
    world = lab(equalizers=1, equalizer_state_forbidden=True).world
    assert ask(world, "GET", f"{E}/state", id=METER).status == 403
    query = {"ids": "40"}
    assert ask(world, "GET", "/state/{id}/observations", id=METER, query=query).status == 200


def test_an_equalizer_is_configured(lab):
    """What it may give out takes effect after a moment; the surplus mode is read back."""
    bench = lab(equalizers=1)
    path = f"{E}/commands/configure_max_allocated_current"
    assert ask(bench.world, "POST", path, {"maxCurrent": "x"}, id=METER).status == 400
    assert ask(bench.world, "POST", path, {"maxCurrent": 12}, id=METER).status == 202
    (answer,) = responses(bench.wait(1.0))
    assert (answer.charger_id, answer.accepted) == (METER, True)
    assert bench.world.equalizers[METER].max_allocated_a == 12
    wanted = {
        "mode": "chargingWithImport",
        "chargingWithImport": {"eligible": True, "maximumImportAddedCurrent": 6},
    }
    assert ask(bench.world, "POST", SURPLUS, {"mode": "sun"}, id=METER).status == 400
    assert ask(bench.world, "POST", SURPLUS, {"mode": "chargingWithImport"}, id=METER).status == 400
    assert ask(bench.world, "POST", SURPLUS, wanted, id=METER).status == 200
    assert ask(bench.world, "GET", SURPLUS, id=METER).document == wanted


def test_an_ocpp_server_of_its_own_takes_the_schedules_away(lab):
    """Details are written, then put into effect; until they are taken back, schedules are 409."""
    world = lab().world
    details, connect = (
        "/local-ocpp/v1/connection-details/{id}", "/local-ocpp/v1/connections/chargers/{id}"
    )  # fmt: skip
    wish = {
        "connectivityMode": "DualProtocol",
        "websocketConnectionArgs": {"url": "ws://192.0.2.1/ocpp"},
        "chargePointId": "garage",
        "basicAuthPassword": "0123456789abcdef",
    }
    plan = {"enabled": True, "timezone": "UTC", "startTime": "22:00:00", "maximumAmps": 16}
    assert ask(world, "GET", details).status == 404
    assert ask(world, "POST", details, wish | {"basicAuthPassword": "short"}).status == 400
    written = ask(world, "POST", details, wish)
    assert (written.status, written.document) == (201, {"version": 1})
    assert ask(world, "GET", details).document["basicAuth"]["username"] == "garage"
    assert ask(world, "POST", f"{C}/schedules/delayed", plan).status == 202
    assert ask(world, "POST", connect, {"version": 2}).status == 404
    assert ask(world, "POST", connect, {"version": 1}).status == 200
    assert ask(world, "GET", f"{C}/schedules").document["enabled"] == "ocpp.direct"
    assert ask(world, "POST", f"{C}/schedules/delayed", plan).status == 409
    off = ask(world, "POST", details, wish | {"connectivityMode": "OcppOff"}).document
    assert ask(world, "POST", connect, off).status == 200
    assert ask(world, "POST", f"{C}/schedules/delayed", plan).status == 202


def test_a_scenario_begins_with_an_ocpp_server(lab):
    """Of the chargers it names and of no other; taken back, schedules work again."""
    world = lab(chargers=2, direct_ocpp=(1,)).world
    plan = {"enabled": True, "timezone": "UTC", "startTime": "22:00:00", "maximumAmps": 16}
    post = ("POST", f"{C}/schedules/delayed", plan)
    connect = "/local-ocpp/v1/connections/chargers/{id}"

    assert ask(world, "GET", f"{C}/schedules").document["enabled"] == "ocpp.direct"
    assert ask(world, *post).status == 409
    assert ask(world, *post, id="EH000002").status == 202
    details = "/local-ocpp/v1/connection-details/{id}"
    off = ask(world, "POST", details, {"connectivityMode": "OcppOff"}).document
    assert ask(world, "POST", connect, off).status == 200
    assert ask(world, *post).status == 202


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
