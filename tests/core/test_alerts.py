"""Alerts: open once, change words, close once."""

import json

from bridge.core.alerts import ADVICE, Alerts
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from tests.conftest import NOON
from tests.native import publishes

NOW = Timestamp(NOON, 0.0)


def published(effects):
    """Keep what goes to the broker."""
    return publishes(effects)


def test_an_alert_is_published_once_and_emptied_when_solved():
    """Raising twice publishes once; clearing empties the topic; clearing again does nothing."""
    alerts = Alerts()

    first = published(alerts.raise_("storage", "disk full", "free some space", NOW))
    again = published(alerts.raise_("storage", "disk full", "free some space", NOW))
    cleared = published(alerts.clear("storage"))
    cleared_again = published(alerts.clear("storage"))

    assert [message.topic for message in first] == ["charger/bridge/alert/storage"]
    assert json.loads(first[0].payload) == {
        "kind": "storage",
        "message": "disk full",
        "hint": "free some space",
        "since": "2026-11-22T12:00:00Z",
    }
    assert again == []
    assert cleared == [Publish("charger/bridge/alert/storage", b"")]
    assert cleared_again == []


def test_other_words_keep_the_time_of_the_first_alert():
    """The alert tells since when, however often its words change."""
    alerts = Alerts()
    list(alerts.raise_("storage", "90 % full", "", NOW))

    later = Timestamp(NOON.replace(hour=13), 3600.0)
    (changed,) = published(alerts.raise_("storage", "95 % full", "", later))

    assert json.loads(changed.payload)["since"] == "2026-11-22T12:00:00Z"
    assert publishes(alerts.publications()) == [changed]
    assert alerts.kinds == ("storage",)


def test_an_alert_that_was_open_elsewhere_before_tells_since_when():
    """It is only passed on here."""
    alerts = Alerts()
    before = NOON.replace(hour=7)
    (raised,) = published(alerts.raise_("storage", "full", "", NOW, before))

    assert json.loads(raised.payload)["since"] == "2026-11-22T07:00:00Z"


def test_advice_is_no_trouble():
    """What an operator chose and should know of does not make the bridge unwell; the rest does."""
    alerts = Alerts()
    for kind in ADVICE:
        list(alerts.raise_(kind, "known", "nothing", NOW))
    assert not alerts.has_trouble
    list(alerts.raise_("nobody_has_heard_of_it", "oh", "look", NOW))
    assert alerts.has_trouble
    list(alerts.clear("nobody_has_heard_of_it"))
    assert not alerts.has_trouble


def test_a_message_names_a_charger_as_people_call_it():
    """The name stands before the serial; topics, keys of sessions and the log keep the serial."""
    alerts = Alerts((("EH123456", "Garage \\1"), ("EH1", "Yard")))
    text = "EH123456: not there, EH1; EH12345 and charger/EH123456/set/start, EH123456-7"
    logged, raised = alerts.raise_("gap", text, "ask EH123456", NOW)

    assert raised.message == (
        "Garage \\1 (EH123456): not there, Yard (EH1);"
        " EH12345 and charger/EH123456/set/start, EH123456-7"
    )
    assert raised.hint == "ask EH123456"
    assert logged.fields["message"] == text
    assert list(alerts.raise_("gap", text, "ask EH123456", NOW)) == []
