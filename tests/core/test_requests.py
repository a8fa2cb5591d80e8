import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core import requests
from bridge.core.requests import Endpoint
from bridge.errors import CommandRefused

BUILDERS = [
    lambda text: requests.charger_path(text, "commands", "reboot"),
    lambda text: requests.observations_request(text, (109,)).path,
    lambda text: requests.site_request(text).path,
    lambda text: requests.command_state_request(text, 48, 638_000_000_000_000_001).path,
]


def test_each_request_has_its_path_and_budget():
    """Paths are the vendor's, observations without ``/api``, and each names its budget."""
    assert requests.charger_list_request().path == "/api/chargers"
    assert requests.charger_list_request().endpoint is Endpoint.CHARGER_LIST
    assert requests.observations_request("EH123456", (109, 120)).path == (
        "/state/EH123456/observations?ids=109,120"
    )
    assert requests.site_request("EH123456").path == "/api/chargers/EH123456/site"
    assert requests.site_request("EH123456").scope == "EH123456"
    assert requests.command_state_request("EH123456", 48, 638_000_000_000_000_001).path == (
        "/api/commands/EH123456/48/638000000000000001"
    )


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
        path = requests.charger_path(text)
    except CommandRefused:
        return

    assert path == f"/api/chargers/{text}"
    assert text.isascii()
    assert text.isalnum()
