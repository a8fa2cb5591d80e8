"""What the status page shows."""

import json

import pytest

from bridge.core.effects import LogEntry
from bridge.core.events import MqttConnected, MqttDisconnected, ObservationsReceived
from bridge.core.messages import Publish
from bridge.core.records.observation import RawObservation
from bridge.core.topics import Topics
from bridge.monitoring.status_page import MAX_COMMANDS, StatusModel

ONE, TWO = "EH123456", "EH654321"
INFO = {"version": "1.2.3", "started_at": "2026-11-22T12:00:00Z", "chargers": [ONE]}


def publish(page, topic, document):
    """Publish below the base, a document or a word."""
    payload = document if isinstance(document, str) else json.dumps(document)
    page.effect(Publish(f"home/charger/{topic}", payload.encode()))


@pytest.fixture
def page():
    """A page of one charger, under a base of two levels."""
    made = StatusModel(Topics("home/charger"))
    publish(made, "bridge/info", INFO)
    return made


def only(page, revision=-1):
    """Return the one charger that changed."""
    (found,) = page.since(revision)["chargers"]
    return found


def answer(**changes):
    """Make an answer."""
    return {
        "id": "canary-4711",
        "command": "start",
        "state": "accepted",
        "final": False,
        "reason": None,
        "detail": "canary-4711",
        "received_at": "2026-11-22T12:00:00Z",
        "elapsed_ms": 412,
    } | changes


def test_a_charger_is_shown_with_what_was_published(page):
    """Availability, values and sessions are those of its topics."""
    publish(page, f"{ONE}/availability", "online")
    publish(page, f"{ONE}/state/led_color", "blue")
    publish(page, f"{ONE}/session/current", {"energy_kwh": 1.5, "auth": "canary-4711"})
    found = only(page)
    assert (found["id"], found["availability"]) == (ONE, "online")
    assert found["values"] == {"led_color": "blue"}
    assert found["session"]["energy_kwh"] == 1.5
    publish(page, f"{ONE}/session/current", "")
    assert only(page)["session"] is None


def test_nothing_personal_is_shown(page):
    """Names that are not in the table, tags and callers' ids are never kept."""
    publish(page, f"{ONE}/state/site_name", "canary-4711")
    publish(page, f"{ONE}/observation/session_start", {"value": "canary-4711"})
    publish(page, f"{ONE}/session/last", {"auth": "canary-4711", "energy_kwh": 2})
    publish(page, f"{ONE}/session/report", {"auth": "canary-4711"})
    publish(page, f"{ONE}/result/start", answer())
    page.effect(LogEntry("info", "canary-4711"))
    assert "canary" not in json.dumps(page.since(-1))


def test_only_what_changed_is_told(page):
    """After a revision comes what moved since, and a repeated value moves nothing."""
    publish(page, "bridge/info", INFO | {"chargers": [ONE, TWO]})
    publish(page, f"{ONE}/state/op_mode", "charging")
    before = page.revision
    publish(page, f"{ONE}/state/op_mode", "charging")
    publish(page, f"{ONE}/availability", "unknown")
    page.event(MqttDisconnected("gone"))
    assert page.revision == before
    publish(page, f"{TWO}/state/op_mode", "error")
    told = page.since(before)
    assert [one["id"] for one in told["chargers"]] == [TWO]
    assert "bridge" not in told


def test_a_charger_that_left_is_not_shown(page):
    """It goes with the list, and what empties its topics does not bring it back."""
    publish(page, "bridge/info", INFO | {"chargers": [TWO]})
    before = page.revision
    publish(page, f"{ONE}/state/op_mode", "")
    publish(page, f"{ONE}/result/start", answer())
    assert page.since(-1)["order"] == [TWO]
    assert page.revision == before


def test_a_command_has_one_row_and_its_newest_fate(page):
    """A later answer takes the earlier one's place, a repeated one adds nothing, few are kept."""
    publish(page, f"{ONE}/result/start", answer())
    for _ in range(2):
        publish(page, f"{ONE}/result/start", answer(state="confirmed", final=True))
    assert [row["state"] for row in only(page)["commands"]] == ["confirmed"]
    for second in range(MAX_COMMANDS + 2):
        at = f"2026-11-22T12:01:0{second}Z"
        publish(page, f"{ONE}/result/stop", answer(command="stop", received_at=at, final=True))
    rows = only(page)["commands"]
    assert len(rows) == MAX_COMMANDS
    assert rows[0]["received_at"] == at


ALERT = {"message": "sent away", "hint": "wait", "since": "2026-11-30T10:00:00Z"}


def test_the_bridge_is_shown_with_its_links_and_alerts(page):
    """Broker, cloud, health and alerts are told until they are solved."""
    page.event(MqttConnected(session_present=False, protocol="5", receive_maximum=20))
    publish(page, "bridge/cloud", "degraded")
    health = {"verdict": "ok", "stream": True, "polling": False, "store": True}
    publish(page, "bridge/health", health | {"reports": {"pending": 2}})
    publish(page, "bridge/alert/blocked", ALERT | {"kind": "blocked"})
    found = page.since(-1)["bridge"]
    assert (found["broker"], found["cloud"], found["alerts"]) == (
        "connected",
        "degraded",
        [ALERT],
    )
    assert (found["reports"], found["version"]) == ({"pending": 2}, "1.2.3")
    publish(page, "bridge/alert/session_unreadable/EH123456", ALERT)
    assert page.since(-1)["bridge"]["alerts"] == [ALERT, ALERT]
    publish(page, "bridge/alert/session_unreadable/EH123456", "")
    publish(page, "bridge/alert/blocked", "")
    publish(page, "bridge/alert/blocked", "")
    publish(page, "bridge/state", "online")
    page.effect(Publish("elsewhere", b"x"))
    assert page.since(-1)["bridge"]["alerts"] == []


def test_the_age_is_that_of_the_newest_value(page):
    """An older stamp, an unreadable one and a stranger's change nothing."""
    times = ("2026-11-22T12:00:05Z", "2026-11-22T12:00:01Z", "yesterday")
    page.event(ObservationsReceived(tuple(RawObservation(ONE, 120, 3, "1", at) for at in times)))
    page.event(ObservationsReceived((RawObservation("EH999999", 120, 3, "1", times[0]),)))
    # What the cloud says of a charger (250) is no sign of life.
    page.event(
        ObservationsReceived((RawObservation(ONE, 250, 2, "false", "2026-11-22T23:00:00Z"),))
    )
    page.event(MqttDisconnected("gone"))
    assert page.heard() == {ONE: times[0]}
    assert StatusModel(Topics()).heard() == {}
