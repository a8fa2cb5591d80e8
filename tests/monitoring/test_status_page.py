"""What the status page shows."""

import json
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from msgspec import structs

from bridge.core.changes import (
    AlertCleared,
    AlertRaised,
    AvailabilityChanged,
    BridgeInfoChanged,
    BridgeOnline,
    ChargerEvent,
    CloudStateChanged,
    CommandAnswered,
    CurrentSessionChanged,
    DerivedChanged,
    LastSessionChanged,
    ReportCounts,
    ReportDue,
    RunningSession,
    SchedulesChanged,
    ValueChanged,
    ValuesChanged,
)
from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.schedule_times import Standing
from bridge.core.easee.schedules import Schedules
from bridge.core.events import MqttConnected, MqttDisconnected, ObservationsReceived
from bridge.core.records.command_result import CommandResult
from bridge.core.records.observation import RawObservation
from bridge.core.records.reply_to import ReplyTo
from bridge.core.records.stored_report import StoredReport
from bridge.core.value_format import iso_utc
from bridge.monitoring.status_page import MAX_COMMANDS, StatusModel
from tests.conftest import NOON
from tests.core.sessions.rows import REPORT
from tests.health import health

ONE, TWO = "EH123456", "EH654321"
INFO = BridgeInfoChanged("1.2.3", "bridge", "abc", NOON, (ONE,), {})
HEALTH = health(cloud="degraded", reports=ReportCounts(pending=2))


@pytest.fixture
def page():
    """A page of one charger."""
    made = StatusModel(lambda: NOON)
    made.change(INFO)
    return made


def only(page, revision=-1):
    """Return the one charger that changed."""
    (found,) = page.since(revision)["chargers"]
    return found


def answer(charger_id=ONE, **changes):
    """Make the result of a command."""
    facts = {
        "id": "canary-4711",
        "command": "start",
        "state": "accepted",
        "final": False,
        "received_at": NOON,
        "at": NOON,
        "elapsed_ms": 412,
        "detail": "canary-4711",
    }
    return CommandAnswered(charger_id, CommandResult(**facts | changes), (ReplyTo(),))


def value(name, what):
    """Make a value that is new."""
    spec = next(spec for spec in REGISTRY.values() if spec.name == name)
    return ValuesChanged((ValueChanged(ONE, spec, what, NOON, NOON, "stream"),))


def test_a_charger_is_shown_with_what_was_published(page):
    """Availability, values and sessions are those of its topics."""
    page.change(AvailabilityChanged(ONE, is_online=True))
    page.change(DerivedChanged(ONE, "led_color", "blue"))
    page.change(value("total_power", 7.25))
    page.change(CurrentSessionChanged(ONE, RunningSession(435, NOON, 1.0, 1.5, 3, (), "ok")))
    found = only(page)
    assert (found["id"], found["availability"]) == (ONE, "online")
    assert found["values"] == {"led_color": "blue", "total_power": "7.25"}
    assert found["session"] == {
        "started_at": "2026-11-22T12:00:00Z",
        "ended_at": None,
        "energy_kwh": 1.5,
        "auth_reason_name": "offline_whitelist",
        "offline": None,
    }
    page.change(LastSessionChanged(ONE, REPORT, ("k", 1)))
    assert (only(page)["last"]["offline"], only(page)["last"]["energy_kwh"]) == (
        True,
        REPORT.energy_kwh,
    )
    page.change(CurrentSessionChanged(ONE, None))
    assert only(page)["session"] is None


def test_nothing_personal_is_shown(page):
    """Names that are not in the table, tags and callers' ids are never kept."""
    page.change(DerivedChanged(ONE, "site_name", "canary-4711"))
    page.change(value("user_id_token", "canary-4711"))
    report = replace(REPORT, auth="canary-4711")
    page.change(LastSessionChanged(ONE, report, ("canary-4711", 1)))
    page.change(ReportDue(StoredReport("canary-4711", 1, report), "canary-4711"))
    page.change(ChargerEvent(ONE, "error", None, NOON, {"code": "canary-4711"}))
    page.change(answer())
    assert "canary" not in json.dumps(page.since(-1))


def test_only_what_changed_is_told(page):
    """After a revision comes what moved since, and a repeated value moves nothing."""
    page.change(structs.replace(INFO, chargers=(ONE, TWO)))
    page.change(DerivedChanged(ONE, "op_mode", "charging"))
    page.change(AvailabilityChanged(ONE, is_online=False))
    before = page.revision
    page.change(DerivedChanged(ONE, "op_mode", "charging"))
    page.change(AvailabilityChanged(ONE, is_online=False))
    page.event(MqttDisconnected("gone"))
    assert page.revision == before
    page.change(DerivedChanged(TWO, "op_mode", "error"))
    told = page.since(before)
    assert [one["id"] for one in told["chargers"]] == [TWO]
    assert "bridge" not in told


def test_a_charger_that_left_is_not_shown(page):
    """It goes with the list, and what empties its topics does not bring it back."""
    page.change(structs.replace(INFO, chargers=(TWO,)))
    before = page.revision
    page.change(CurrentSessionChanged(ONE, None))
    page.change(answer())
    assert page.since(-1)["order"] == [TWO]
    assert page.revision == before


def test_a_command_has_one_row_and_its_newest_fate(page):
    """A later answer takes the earlier one's place, a repeated one adds nothing, few are kept."""
    page.change(answer())
    for _ in range(2):
        page.change(answer(state="confirmed", final=True))
    assert [row["state"] for row in only(page)["commands"]] == ["confirmed"]
    for second in range(MAX_COMMANDS + 2):
        at = NOON + timedelta(seconds=60 + second)
        page.change(answer(command="stop", received_at=at, final=True))
    rows = only(page)["commands"]
    assert len(rows) == MAX_COMMANDS
    assert rows[0]["received_at"] == iso_utc(at)


ALERT = {"message": "sent away", "hint": "wait", "since": "2026-11-22T12:00:00Z"}


def test_the_schedule_in_force_is_shown_with_what_comes_next(page):
    """Its kind and the next moment; the same schedule read again is no change."""
    standing = Standing(True, next_stop=NOON + timedelta(hours=6))
    change = SchedulesChanged(ONE, Schedules(in_force="daily"), standing, NOON)
    page.change(change)
    before = page.revision

    assert only(page)["schedule"] == {
        "in_force": "daily",
        "next_start": None,
        "next_stop": iso_utc(NOON + timedelta(hours=6)),
    }
    page.change(msgspec.structs.replace(change, read_at=NOON + timedelta(hours=1)))
    assert page.revision == before


def test_the_state_of_the_cloud_has_a_beginning():
    """It is told since when the state is what it is; told again, it began no later."""
    times = iter(NOON + timedelta(minutes=n) for n in range(3))
    page = StatusModel(lambda: next(times))
    seen = []
    for state in ("connected", "connected", "disconnected", "disconnected"):
        page.change(CloudStateChanged(state))
        seen.append(page.since(-1)["bridge"]["cloud_since"])

    first, later = iso_utc(NOON), iso_utc(NOON + timedelta(minutes=1))
    assert seen == [first, first, later, later]


def test_the_bridge_is_shown_with_its_links_and_alerts(page):
    """Broker, cloud, health and alerts are told until they are solved."""
    page.event(MqttConnected(session_present=False, protocol="5", receive_maximum=20))
    page.change(CloudStateChanged("degraded"))
    page.change(HEALTH)
    page.change(AlertRaised("blocked", "sent away", "wait", NOON))
    found = page.since(-1)["bridge"]
    assert (found["broker"], found["cloud"], found["alerts"]) == (
        "connected",
        "degraded",
        [ALERT],
    )
    assert (found["reports"]["pending"], found["version"]) == (2, "1.2.3")
    page.change(AlertRaised("session_unreadable/EH123456", "sent away", "wait", NOON))
    assert page.since(-1)["bridge"]["alerts"] == [ALERT, ALERT]
    page.change(AlertCleared("session_unreadable/EH123456"))
    page.change(AlertCleared("blocked"))
    before = page.revision
    page.change(AlertCleared("blocked"))
    page.change(BridgeOnline())
    assert page.since(-1)["bridge"]["alerts"] == []
    assert page.revision == before


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
    assert StatusModel(lambda: NOON).heard() == {}


def test_an_equalizer_is_shown_beside_the_chargers(page):
    """With what the house draws and feeds in, as long as it is served."""
    page.change(structs.replace(INFO, equalizers=("QP1",)))
    spec = EQUALIZER[40]
    page.change(ValuesChanged((ValueChanged("QP1", spec, 1.5, NOON, NOON, "stream"),)))
    page.change(AvailabilityChanged("QP1", is_online=True))
    before = page.revision
    (found,) = page.since(-1)["equalizers"]
    assert found == {
        "id": "QP1",
        "name": "",
        "availability": "online",
        "values": {"active_power_import": "1.5"},
    }
    assert "QP1" not in page.since(-1)["order"]
    assert page.since(before)["equalizers"] == []
    page.change(INFO)
    assert page.since(-1)["equalizers"] == []


def test_a_new_name_is_shown_at_once():
    """Only what is called otherwise changes."""
    page = StatusModel(lambda: NOON, {ONE: "Garage", TWO: "Yard"})
    page.change(structs.replace(INFO, chargers=(ONE, TWO)))
    before = page.revision
    page.rename({ONE: "Carport", TWO: "Yard"})
    assert [(one["id"], one["name"]) for one in page.since(before)["chargers"]] == [
        (ONE, "Carport")
    ]
    page.rename({TWO: "Yard"})
    assert only(page, page.revision - 1)["name"] == ""
