"""Status: the cloud's word is true, and the health changes with its verdict."""

import json

import pytest

from bridge.core.alerts import Alerts
from bridge.core.events import CloudStatusChanged
from bridge.core.records.moment import Timestamp
from bridge.core.status import HEALTH_EVERY_S, TROUBLES, CloudStatus, Status
from tests.conftest import NOON
from tests.native import publishes


def at(seconds):
    """Build the moment so many seconds after noon."""
    return Timestamp(NOON, float(seconds))


@pytest.fixture
def status():
    """A status that has published once."""
    status = Status(Alerts(), "1.2.3", {"commands": ["start"]})
    status.started(at(0))
    list(status.refresh(at(0)))
    return status


def topics_of(effects):
    """Name what was published."""
    return [effect.topic for effect in publishes(effects)]


@pytest.mark.parametrize(
    ("rest", "stream_up", "polling", "word"),
    [
        ("ok", True, False, "connected"),
        ("ok", True, True, "connected"),
        ("unavailable", True, False, "degraded"),
        ("ok", False, True, "degraded"),
        ("ok", False, False, "disconnected"),
        ("unavailable", False, False, "disconnected"),
        ("auth_failed", True, False, "auth_failed"),
        ("blocked", False, True, "blocked"),
        ("login_refused", True, False, "auth_failed"),
        ("token_refused", False, True, "auth_failed"),
        ("token_refused", True, False, "degraded"),
        ("kept_out", True, False, "blocked"),
        ("limited", True, False, "degraded"),
        ("limited", False, False, "disconnected"),
    ],
)
def test_the_clouds_word_says_what_is(rest, stream_up, polling, word):
    """Every combination of REST, stream and polling has one word."""
    assert CloudStatus(rest, stream_up, polling).state == word


@pytest.mark.parametrize("state", sorted(TROUBLES))
def test_every_trouble_has_one_alert_with_a_hint_and_ends_with_it(status, state):
    """One cause, one alert: the words of the last state go when another comes."""
    before, trouble = "auth_failed", TROUBLES[state]
    if trouble.kind == before:
        before = "blocked"
    list(status.rest_changed(CloudStatusChanged(before, "earlier"), at(1)))
    told = list(status.rest_changed(CloudStatusChanged(state, "why"), at(2)))
    payload = {e.topic: e.payload for e in publishes(told)}
    alert = json.loads(payload[f"charger/bridge/alert/{trouble.kind}"])
    assert (alert["message"], alert["hint"]) == ("why", trouble.hint)
    assert payload[f"charger/bridge/alert/{TROUBLES[before].kind}"] == b""

    told = list(status.rest_changed(CloudStatusChanged("ok"), at(3)))
    assert not status.alerts.kinds


def test_a_charger_the_hub_refuses_is_a_partial_connection():
    """The stream is open and something is missing: degraded, not connected."""
    assert CloudStatus(stream_up=True, refused={"EH123456"}).state == "degraded"


def test_the_cloud_topic_moves_only_when_the_word_does(status):
    """Repeating what is known publishes nothing."""
    status.cloud.stream_up = True

    assert "charger/bridge/cloud" in topics_of(status.refresh(at(1)))
    assert topics_of(status.refresh(at(2))) == []


def test_health_goes_out_on_a_new_verdict_and_at_most_once_a_minute(status):
    """A verdict is told at once; counters wait for the minute."""
    status.chargers = ("EH123456",)
    status.cloud.stream_up = True
    assert "charger/bridge/health" in topics_of(status.refresh(at(1)))

    status.counters["observations"] += 1
    assert topics_of(status.refresh(at(2))) == []
    assert status.deadline_s() == 1 + HEALTH_EVERY_S
    assert topics_of(status.refresh(at(1 + HEALTH_EVERY_S))) == ["charger/bridge/health"]


@pytest.mark.parametrize("state", ["auth_failed", "blocked"])
def test_what_needs_the_operator_is_an_alert_until_it_is_over(status, state):
    """Wrong credentials and a block raise an alert; ok clears it."""
    raised = topics_of(status.rest_changed(CloudStatusChanged(state, "says the cloud"), at(1)))
    cleared = topics_of(status.rest_changed(CloudStatusChanged("ok"), at(2)))

    assert f"charger/bridge/alert/{state}" in raised
    assert f"charger/bridge/alert/{state}" in cleared
    assert status.alerts.kinds == ()


def test_the_verdict_is_ok_only_when_everything_is(status):
    """A charger that is offline or an open alert degrades, a missing cloud fails."""
    assert status.health == "failed"
    status.cloud.stream_up = True
    assert status.health == "degraded"  # nobody is served
    status.chargers = ("EH123456",)
    assert status.health == "degraded"
    status.online = 1
    assert status.health == "ok"
    status.store_ok = False
    assert status.health == "failed"


def test_after_a_reconnect_everything_of_the_bridge_is_told_again(status):
    """``online`` comes first, and the information names version and chargers."""
    status.chargers = ("EH123456",)
    told = {message.topic: message.payload for message in publishes(status.publications(at(3)))}

    assert next(iter(told)) == "charger/bridge/state"
    assert told["charger/bridge/state"] == b"online"
    info = json.loads(told["charger/bridge/info"])
    assert (info["version"], info["chargers"]) == ("1.2.3", ["EH123456"])
    assert info["started_at"] == "2026-11-22T12:00:00Z"


def test_a_connection_for_values_is_told_when_it_comes_or_goes(status):
    """``bridge/info`` says whether values have a connection of their own, and is not repeated."""
    told = [
        publishes(status.value_connection_changed(is_open=flag))
        for flag in (False, True, True, False)
    ]

    assert [len(publications) for publications in told] == [0, 1, 0, 1]
    assert b'"telemetry_connection":true' in told[1][0].payload
    assert b'"telemetry_connection":false' in told[3][0].payload


@pytest.mark.parametrize(("keeps_s", "answers"), [(0, False), (3600, False), (87_000, True)])
def test_it_is_told_whether_commands_get_an_answer_while_nobody_is_here(status, keeps_s, answers):
    """Only a broker that keeps commands a day longer than they live hands all of them over."""
    status.keeps_s = keeps_s
    capabilities = json.loads(publishes([status.info()])[0].payload)["capabilities"]
    assert (capabilities["answers_while_away"], capabilities["commands_kept_s"]) == (
        answers,
        keeps_s,
    )
