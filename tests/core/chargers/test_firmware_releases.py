"""The newest firmware: asked once a day, one charger after the other, and published."""

import json
from datetime import timedelta

import pytest

from bridge.core.changes import DerivedChanged
from bridge.core.chargers.firmware_releases import (
    BETWEEN_S,
    EVERY_S,
    FIRST_RETRY_S,
    FIRST_S,
    NAME,
    FirmwareReleases,
)
from bridge.core.domain_events import ChargersAdded, ChargersRemoved, ObservationApplied
from bridge.core.easee.decode import Observation
from bridge.core.easee.observation_registry import spec_of
from bridge.core.easee.selection import EVERYTHING, Selection
from bridge.core.effects import LogEntry, SendRequest
from bridge.core.events import CloudFailed, CloudResponse, MqttConnected, Tick
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.errors import CloudUnavailable
from tests.conftest import NOON

ONE, TWO = "EH123456", "EH123457"


class Desk:
    """The component, and a clock."""

    def __init__(self, selection=EVERYTHING, chargers=(ONE,)):
        self.seconds = 0.0
        self.part = FirmwareReleases(selection)
        self.give(ChargersAdded(chargers))

    def give(self, event):
        now = Timestamp(NOON + timedelta(seconds=self.seconds), self.seconds)
        return list(self.part.handle(event, now))

    def asked(self):
        """Let the next request be sent when it is due; return its path."""
        self.seconds = self.part.deadline_s()
        (request,) = self.give(Tick())
        assert isinstance(request, SendRequest)
        assert request.tag.owner == NAME
        return request.request.path

    def answer(self, body):
        return self.give(CloudResponse(Tag(NAME), 200, body))

    def observe(self, number, value, charger=ONE):
        observation = Observation(charger, spec_of(number), value, NOON)
        return self.give(ObservationApplied(observation, None))


def shown(outputs):
    """Return what was published, by name."""
    return {one.name: one.value for one in outputs if isinstance(one, DerivedChanged)}


def test_each_charger_is_asked_for_once_a_day():
    """One after the other, and again a day later."""
    desk = Desk(chargers=(ONE, TWO))
    assert desk.part.deadline_s() == FIRST_S
    assert desk.asked() == f"/firmware/{ONE}/latest"
    assert desk.part.deadline_s() is None
    assert shown(desk.answer(b'{"version":338}')) == {"firmware_latest": 338}

    assert desk.part.deadline_s() == FIRST_S + BETWEEN_S
    assert desk.asked() == f"/firmware/{TWO}/latest"
    assert shown(desk.answer(b'{"version":338}')) == {"firmware_latest": 338}
    assert desk.part.deadline_s() == FIRST_S + EVERY_S
    assert desk.asked() == f"/firmware/{ONE}/latest"
    assert shown(desk.answer(b'{"version":338}')) == {}


def test_the_state_of_an_update():
    """Installed, newest and in progress, as each of them changes."""
    desk = Desk()
    first = shown(desk.observe(80, 334))
    assert json.loads(first["firmware_update"]) == {
        "installed_version": "334",
        "in_progress": False,
    }
    desk.asked()
    answered = shown(desk.answer(b'{"version":338}'))
    assert json.loads(answered["firmware_update"])["latest_version"] == "338"
    assert json.loads(shown(desk.observe(46, 9))["firmware_update"])["in_progress"] is True
    assert shown(desk.observe(46, 10)) == {}
    done = json.loads(shown(desk.observe(80, 338))["firmware_update"])
    assert done == {"installed_version": "338", "latest_version": "338", "in_progress": False}
    assert shown(desk.observe(46, 18)) == {}


def test_a_failure_is_repeated_later_and_later():
    """An answer without a release counts as one; no value is made up."""
    desk = Desk()
    desk.asked()
    (line,) = desk.give(CloudFailed(Tag(NAME), CloudUnavailable("down")))
    assert isinstance(line, LogEntry)
    assert desk.part.deadline_s() == FIRST_S + FIRST_RETRY_S
    desk.asked()
    (line,) = desk.answer(b"{}")
    assert line.event == "firmware.failed"
    assert desk.part.deadline_s() == FIRST_S + 3 * FIRST_RETRY_S
    desk.asked()
    desk.answer(b'{"version":338}')
    assert desk.part.deadline_s() == FIRST_S + 3 * FIRST_RETRY_S + EVERY_S


def test_everything_is_published_again_after_a_connection():
    """The broker may have lost it."""
    desk = Desk()
    desk.observe(80, 334)
    desk.asked()
    desk.answer(b'{"version":338}')

    assert set(shown(desk.give(MqttConnected(False, "5", 20)))) == {
        "firmware_latest",
        "firmware_update",
    }


def test_a_charger_that_left_meanwhile():
    """An answer about it is nobody's, and it is not asked for again."""
    desk = Desk()
    desk.asked()
    desk.give(ChargersRemoved((ONE,), {}))

    assert desk.answer(b'{"version":338}') == []
    assert desk.part.deadline_s() is None
    assert desk.observe(80, 334) == []


@pytest.mark.parametrize("word", ["firmware", "firmware_latest"])
def test_what_is_left_out_is_not_published(word):
    """Without any of its values nothing is asked for."""
    desk = Desk(Selection(excepted=frozenset({word})))
    desk.observe(80, 334)
    if word == "firmware":
        assert desk.part.deadline_s() is None
        return
    desk.asked()
    assert set(shown(desk.answer(b'{"version":338}'))) == {"firmware_update"}
