"""Messages about sites: retained, without names unless they may be published."""

import json

from bridge.conventions.native.sites import SiteMessages
from bridge.core.changes import CircuitChanged, SiteChanged, SiteCleared
from bridge.core.easee.sites import CIRCUIT_FACTS, Site, SiteCircuit
from bridge.core.topics import Topics

SITE = Site(
    8001,
    63.0,
    (SiteCircuit(9, {"rated_current": 32}, ("EH1",)),),
    ("QP1",),
    "Home",
    {"street": "Main street 1"},
)
MESSAGES = SiteMessages(Topics("home/charger"))


def test_info_says_what_a_site_has():
    """In the order of the reference; name and address only where they may be published."""
    (message,) = MESSAGES.info(SiteChanged(SITE, is_personal=False))
    assert (message.topic, message.retained) == ("home/charger/site/8001/info", True)
    assert b'"rated_current":63,' in message.payload
    assert json.loads(message.payload) == {
        "site_id": 8001,
        "rated_current": 63.0,
        "circuits": [
            {"circuit_id": 9, "rated_current": 32, "fuse_current": None, "chargers": ["EH1"]}
        ],
        "chargers": ["EH1"],
        "equalizers": ["QP1"],
    }
    (message,) = MESSAGES.info(SiteChanged(SITE, is_personal=True))
    assert json.loads(message.payload)["name"] == "Home"
    assert json.loads(message.payload)["address"] == {"street": "Main street 1"}


def test_values_of_a_circuit_are_bare():
    """One topic each; what is not told is null."""
    values = {"rated_current": 32, "enable_idle_current": True, "fuse_current": None}
    found = MESSAGES.circuit(CircuitChanged(8001, 9, values))
    base = "home/charger/site/8001/circuit/9/state"
    assert [(one.topic, one.payload) for one in found] == [
        (f"{base}/rated_current", b"32"),
        (f"{base}/enable_idle_current", b"true"),
        (f"{base}/fuse_current", b"null"),
    ]
    assert all(one.retained for one in found)


def test_what_is_gone_is_emptied():
    """Every value of its circuits, and the site itself where that is gone."""
    found = list(MESSAGES.cleared(SiteCleared(8001, (9,), is_whole=False)))
    assert len(found) == len(CIRCUIT_FACTS)
    assert {one.payload for one in found} == {b""}
    found = list(MESSAGES.cleared(SiteCleared(8001, (), is_whole=True)))
    assert [one.topic for one in found] == ["home/charger/site/8001/info"]
