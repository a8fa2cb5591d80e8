"""The schedules of every charger are read once, and again when something says they changed."""

import itertools
import json
from datetime import timedelta

import pytest

from bridge.core.changes import SchedulesChanged
from bridge.core.domain_events import (
    ChargersAdded,
    ChargersRemoved,
    CommandFinished,
    ObservationApplied,
    SchedulesRead,
    SchedulesWanted,
)
from bridge.core.easee.decode import Observation, spec_of
from bridge.core.easee.rest_requests import READ_TIMEOUT_S
from bridge.core.easee.schedules import Schedules
from bridge.core.effects import LogEntry, SendRequest
from bridge.core.events import CloudFailed, CloudResponse, MqttConnected, Tick
from bridge.core.records.moment import Timestamp
from bridge.core.sources.schedule_reader import (
    FIRST_READ_S,
    FIRST_RETRY_S,
    LOST_GRACE_S,
    REFUSED_RETRY_S,
    SETTLES_S,
    SPACING_S,
    ScheduleReader,
)
from bridge.errors import CloudRejected, CloudUnavailable, RateLimited
from tests.conftest import NOON

ONE, TWO = "EH123456", "EH999999"
NIGHT = {
    "timezone": "UTC",
    "periods": [{"startTime": "22:00:00", "stopTime": "06:00:00", "maximumAmps": 16}],
}
SUMMARY = {"enabled": "daily", "delayed": None, "daily": NIGHT, "weekly": None}
GONE = CloudRejected("none", status=404, reason="not_found")
NO = CloudRejected("not yours", status=403, reason="forbidden")


class Desk:
    """A reader, its clock, and what it asked for and yielded."""

    def __init__(self, *chargers, trusted=True):
        self.reader = ScheduleReader()
        self.seconds, self.trusted = 0.0, trusted
        self.asked, self.out = [], []
        self.give(ChargersAdded(chargers))

    @property
    def now(self):
        return Timestamp(NOON + timedelta(seconds=self.seconds), self.seconds, self.trusted)

    def give(self, *events):
        """Have events handled; what is yielded for the reader itself is given back to it."""
        for event in events:
            for output in self.reader.handle(event, self.now):
                self.out.append(output)
                if isinstance(output, SendRequest):
                    self.asked.append(output)
                if isinstance(output, SchedulesRead):
                    self.give(output)

    def run(self, until_s):
        """Let time pass up to a second, with a tick whenever one is due."""
        while (due_s := self.reader.deadline_s()) is not None and due_s <= until_s:
            self.seconds = max(self.seconds, due_s)
            self.give(Tick())
        self.seconds = until_s

    def answer(self, document=SUMMARY):
        """Answer the oldest request."""
        call = self.asked.pop(0)
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.give(CloudResponse(call.tag, 200, body))
        return call.request.path.rpartition("chargers/")[2]

    def fail(self, error=GONE):
        """Fail the oldest request."""
        call = self.asked.pop(0)
        self.give(CloudFailed(call.tag, error))
        return call.request.path.rpartition("chargers/")[2]

    def report(self, value="{}", at_s=None):
        """Have the charger report its schedule (62)."""
        at = NOON + timedelta(seconds=self.seconds if at_s is None else at_s)
        self.give(ObservationApplied(Observation(ONE, spec_of(62), value, at), None))

    @property
    def changes(self):
        return [one for one in self.out if isinstance(one, SchedulesChanged)]


@pytest.fixture
def desk():
    """One charger whose schedules were read."""
    desk = Desk(ONE)
    desk.run(FIRST_READ_S)
    desk.answer()
    return desk


def test_a_charger_that_is_added_is_read_once(desk):
    """Its schedules are published with what they mean now, and given to the others."""
    [change] = desk.changes

    assert (change.charger_id, change.schedules.in_force) == (ONE, "daily")
    assert change.standing.in_period is False
    assert change.read_at == NOON + timedelta(seconds=FIRST_READ_S)
    assert [type(one) for one in desk.out] == [SendRequest, SchedulesRead, SchedulesChanged]
    assert not desk.out[0].request.command
    desk.run(3600)
    assert desk.asked == []


def test_a_fleet_is_read_one_after_the_other():
    """Never two at once, and never closer than the spacing: the budget is for others too."""
    desk = Desk(*(f"EH{number:06}" for number in range(50)))
    times = []
    while len(times) < 50:
        desk.run(desk.reader.deadline_s())
        assert len(desk.asked) == 1
        times.append(desk.seconds)
        desk.answer()

    assert times[0] == FIRST_READ_S
    assert all(later - earlier >= SPACING_S for earlier, later in itertools.pairwise(times))
    assert len(desk.changes) == 50


def test_what_the_summary_does_not_mention_is_asked_for():
    """In turn; 404 is an answer, of the summary as well."""
    desk = Desk(ONE)
    desk.run(FIRST_READ_S)

    assert desk.fail() == f"{ONE}/schedules"
    assert desk.fail() == f"{ONE}/schedules/delayed"
    assert desk.answer({**NIGHT, "enabled": True}) == f"{ONE}/schedules/daily"
    assert desk.answer(b"") == f"{ONE}/schedules/weekly"
    [change] = desk.changes
    assert (change.schedules.in_force, change.schedules.delayed) == ("daily", None)


def test_another_schedule_of_the_charger_is_read(desk):
    """A moment after it was reported; a replay of one from before the read is none."""
    desk.seconds = 100.0
    desk.report('{"a":1}', at_s=-50)
    desk.run(200.0)
    assert desk.asked == []

    desk.report('{"a":2}', at_s=200)
    desk.run(200.0 + SETTLES_S)
    assert desk.answer({"enabled": "none", "delayed": None, "daily": None, "weekly": None})
    assert desk.changes[-1].schedules == Schedules()


def test_a_schedule_from_behind_the_read_is_news(desk):
    """Also where it is the first that is seen: it was measured after the cloud was asked."""
    desk.run(60.0)
    desk.report(at_s=30)
    desk.run(60.0 + SETTLES_S)

    assert len(desk.asked) == 1


def test_a_replay_during_the_first_read_is_no_reason_to_read_again():
    """What was measured before is in the answer."""
    desk = Desk(ONE)
    desk.run(FIRST_READ_S)
    desk.report(at_s=-1000)
    desk.answer()
    desk.run(600.0)

    assert desk.asked == []


@pytest.mark.parametrize(
    "event",
    [SchedulesWanted(ONE), CommandFinished(ONE, "daily_schedule", None, is_carried_out=True)],
)
def test_what_a_command_waits_for_is_asked_at_once(desk, event):
    """Out of the share for commands, and beside what is being read of others."""
    desk.give(ChargersAdded((TWO,)))
    desk.run(30.0)
    desk.give(event)
    desk.run(30.0)

    assert [call.request.path.split("/")[3] for call in desk.asked] == [TWO, ONE]
    assert [call.request.command for call in desk.asked] == [False, True]


def test_a_command_that_was_confirmed_by_a_read_needs_no_other(desk):
    """The reader gives what it read to the commands; one ends by it, and nothing is read again."""
    desk.give(SchedulesWanted(ONE))
    desk.run(desk.seconds)
    call = desk.asked.pop()
    finished = CommandFinished(ONE, "daily_schedule", None, is_carried_out=True)
    body = json.dumps(SUMMARY).encode()
    for output in desk.reader.handle(CloudResponse(call.tag, 200, body), desk.now):
        if isinstance(output, SchedulesRead):
            desk.give(output, finished)
    desk.run(600.0)

    assert desk.asked == []


def test_another_command_reads_nothing(desk):
    """Only those of schedules move them."""
    desk.give(CommandFinished(ONE, "start", None, is_carried_out=True))
    desk.run(600.0)

    assert desk.asked == []


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (CloudUnavailable("down"), FIRST_RETRY_S),
        (RateLimited("wait", retry_after_s=200.0, local=True), 200.0),
        (NO, REFUSED_RETRY_S),
    ],
)
def test_a_failure_is_repeated_later(error, wait_s):
    """After a minute, after the time that is asked for, or after a day."""
    desk = Desk(ONE)
    desk.run(FIRST_READ_S)
    desk.fail(error)
    desk.run(FIRST_READ_S + wait_s - 1.0)
    assert desk.asked == []
    desk.run(FIRST_READ_S + wait_s)

    assert len(desk.asked) == 1
    assert [one.event for one in desk.out if isinstance(one, LogEntry)] == (
        ["schedules.refused"] if error is NO else []
    )


def test_failures_wait_longer_each_time_and_a_success_ends_that():
    """A minute, two, four; after a good answer a minute again."""
    desk = Desk(ONE)
    waited = []
    for _ in range(3):
        began_s = desk.seconds
        desk.run(desk.reader.deadline_s())
        waited.append(desk.seconds - began_s)
        desk.fail(CloudUnavailable("down"))
    desk.run(desk.reader.deadline_s())
    desk.answer()

    assert waited == [FIRST_READ_S, FIRST_RETRY_S, 2 * FIRST_RETRY_S]
    assert len(desk.changes) == 1


def test_an_answer_that_never_comes_is_given_up(desk):
    """An event that was lost holds nothing up."""
    desk.give(SchedulesWanted(ONE))
    desk.run(desk.seconds)
    [lost] = desk.asked
    desk.asked.clear()
    desk.run(desk.seconds + READ_TIMEOUT_S + LOST_GRACE_S + FIRST_RETRY_S)

    assert len(desk.asked) == 1
    desk.give(CloudResponse(lost.tag, 200, b"{}"))
    assert len(desk.changes) == 1


def test_what_cannot_be_read_is_logged_and_not_published():
    """And one schedule that cannot be read is named beside the others."""
    desk = Desk(ONE)
    desk.run(FIRST_READ_S)
    for _ in range(4):
        desk.answer(b"<html>")
    assert desk.changes == []
    desk.run(FIRST_READ_S + REFUSED_RETRY_S)
    desk.answer({**SUMMARY, "weekly": 5})

    assert [one.fields["error"] for one in desk.out if isinstance(one, LogEntry)] == [
        "no JSON",
        "weekly",
    ]
    assert len(desk.changes) == 1


def test_an_answer_that_was_asked_for_earlier_does_not_replace_a_later_one(desk):
    """Whatever order they come in."""
    desk.give(SchedulesWanted(ONE))
    desk.run(desk.seconds)
    early = desk.asked.pop()
    desk.seconds += 1.0
    desk.give(SchedulesWanted(ONE))
    desk.run(desk.seconds)
    desk.answer({**SUMMARY, "enabled": "none"})
    desk.give(CloudResponse(early.tag, 200, json.dumps(SUMMARY).encode()))

    assert [change.schedules.in_force for change in desk.changes] == ["daily", "none"]


def test_the_begin_and_the_end_of_a_period_are_published(desk):
    """At its times, and in between nothing."""
    desk.run(24 * 3600.0)

    assert [(c.standing.in_period, c.standing.next_start) for c in desk.changes] == [
        (False, NOON + timedelta(hours=10)),
        (True, NOON + timedelta(hours=34)),
        (False, NOON + timedelta(hours=34)),
    ]
    assert {change.read_at for change in desk.changes} == {NOON + timedelta(seconds=FIRST_READ_S)}


def test_without_a_clock_nothing_is_said_of_times_until_there_is_one():
    """No invented time; what the cloud holds is published all the same."""
    desk = Desk(ONE, trusted=False)
    desk.run(FIRST_READ_S)
    desk.answer()
    desk.trusted = True
    desk.run(600.0)

    first, second = desk.changes
    assert (first.read_at, first.standing.next_start, first.schedules.in_force) == (
        None,
        None,
        "daily",
    )
    assert second.standing.next_start == NOON + timedelta(hours=10)


def test_everything_is_published_again_to_a_new_broker(desk):
    """It may have lost what was retained."""
    desk.give(MqttConnected(False, "5", 20))

    assert len(desk.changes) == 2
    assert desk.changes[0] == desk.changes[1]


def test_a_charger_that_left_is_forgotten(desk):
    """Nothing of it is read or published any more, and an answer on its way is dropped."""
    desk.give(SchedulesWanted(ONE))
    desk.run(desk.seconds)
    desk.give(ChargersRemoved((ONE,)))
    desk.answer()
    desk.give(MqttConnected(False, "5", 20), SchedulesWanted(ONE))
    desk.report()
    desk.run(REFUSED_RETRY_S)

    assert len(desk.changes) == 1
    assert desk.asked == []
