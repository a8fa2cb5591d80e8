from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee import rest_requests
from bridge.core.easee.rest_requests import Endpoint
from bridge.errors import CommandRefused
from tests.conftest import NOON

BUILDERS = [
    lambda text: rest_requests.charger_path(text, "commands", "reboot"),
    lambda text: rest_requests.observations_request(text, (109,)).path,
    lambda text: rest_requests.site_request(text).path,
    lambda text: rest_requests.command_state_request(text, 48, 638_000_000_000_000_001).path,
    lambda text: rest_requests.sessions_request(text, NOON, NOON).path,
    lambda text: rest_requests.history_request(text, 44, NOON, NOON).path,
    lambda text: rest_requests.plan_request(text, "schedules").path,
]


def test_each_request_has_its_path_and_budget():
    """Paths are the vendor's, observations without ``/api``, and each names its budget."""
    assert rest_requests.charger_list_request().path == "/api/chargers"
    assert rest_requests.charger_list_request().endpoint is Endpoint.CHARGER_LIST
    assert rest_requests.observations_request("EH123456", (109, 120)).path == (
        "/state/EH123456/observations?ids=109,120"
    )
    assert rest_requests.site_request("EH123456").path == "/api/chargers/EH123456/site"
    assert rest_requests.site_request("EH123456").scope == "EH123456"
    assert rest_requests.command_state_request("EH123456", 48, 638_000_000_000_000_001).path == (
        "/api/commands/EH123456/48/638000000000000001"
    )


def test_reads_of_a_period_spell_it_so_that_no_path_breaks():
    """UTC with Z and whole seconds: a plus sign would arrive as a blank."""
    since = NOON.astimezone(timezone(timedelta(hours=1))) + timedelta(microseconds=5)
    sessions = rest_requests.sessions_request("EH123456", since, NOON + timedelta(hours=2))
    history = rest_requests.history_request("EH123456", 44, NOON, NOON + timedelta(hours=2))
    period = "2026-11-22T12:00:00Z/2026-11-22T14:00:00Z"

    assert sessions.path == f"/api/sessions/charger/EH123456/sessions/{period}"
    assert (sessions.endpoint, sessions.scope) == (Endpoint.SESSIONS, "EH123456")
    assert history.path == f"/api/chargers/EH123456/observations/44/{period}"
    plan = rest_requests.plan_request("EH123456", "schedules")
    assert (plan.method, plan.path) == ("GET", "/api/chargers/EH123456/schedules")
    assert not any(one.command for one in (sessions, history, plan))


def test_writes_are_commands_with_their_own_budgets():
    """What changes something names its budget and scope, and keeps the reserved share."""
    reboot = rest_requests.charger_command_request("EH123456", "reboot", idempotent=False)
    settings = rest_requests.charger_settings_request("EH123456", b"{}")
    plan = rest_requests.charger_resource_request("DELETE", "EH123456", "basic_charge_plan")
    circuit = rest_requests.circuit_request(7, 9, "dynamicCurrent", b"{}")

    assert [(one.method, one.path, one.endpoint, one.scope) for one in (reboot, settings)] == [
        (
            "POST",
            "/api/chargers/EH123456/commands/reboot",
            Endpoint.CHARGER_COMMAND,
            "EH123456",
        ),
        ("POST", "/api/chargers/EH123456/settings", Endpoint.CHARGER_SETTINGS, "EH123456"),
    ]
    assert (plan.method, plan.path) == ("DELETE", "/api/chargers/EH123456/basic_charge_plan")
    assert circuit.path == "/api/sites/7/circuits/9/dynamicCurrent"
    assert (circuit.endpoint, circuit.scope) == (Endpoint.CIRCUIT_SETTINGS, "7/9")
    assert all(one.command for one in (reboot, settings, plan, circuit))
    assert not reboot.idempotent


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(
    "hostile",
    [
        "",
        "../accounts/profile",
        "EH12345/",
        "EH123456\n",
        "eh123456",
        "EH1234\u0665\u0666",
        "E" * 17,
        "EH%2F12",
    ],
)
def test_no_hostile_id_reaches_a_path(build, hostile):
    """What is not spelled like a serial is refused before a path is built."""
    with pytest.raises(CommandRefused) as refused:
        build(hostile)

    assert refused.value.reason == "unknown_charger"


@given(st.text(max_size=20))
def test_a_path_holds_only_serials(text):
    """Any text is either refused or harmless: capitals and digits."""
    try:
        path = rest_requests.charger_path(text)
    except CommandRefused:
        return

    assert path == f"/api/chargers/{text}"
    assert text.isascii()
    assert text.isalnum()


def test_the_lists_of_the_account_alone_may_be_large():
    """They grow with it; any other answer is about one device."""
    lists = rest_requests.charger_list_request(), rest_requests.products_request()
    other = (
        rest_requests.site_request("EH123456"),
        rest_requests.observations_request("EH123456", ()),
    )

    assert {rest_requests.largest_answer(one) for one in lists} == {64 << 20}
    assert {rest_requests.largest_answer(one) for one in other} == {1 << 20}
