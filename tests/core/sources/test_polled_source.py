"""Observations over REST: read when polling says so, and what came is told."""

from collections import Counter

import pytest

from bridge.core.domain_events import (
    HANDLED,
    EqualizersChanged,
    ServedChargersChanged,
    SubscriptionsRefused,
)
from bridge.core.easee.equalizer import EQUALIZER_IDS
from bridge.core.effects import LogEntry, SendRequest
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    ObservationsReceived,
    Started,
    Stopping,
    StreamClosed,
    StreamOpened,
    Tick,
)
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.core.sources.polled_source import PolledSource
from bridge.core.sources.polling import GRACE_S, READ_TIMEOUT_S, Polling
from bridge.core.status import CloudStatus
from bridge.errors import CloudUnavailable
from tests.conftest import NOON

ONE = "EH123456"
READ = b'[{"id":120,"value":7.2,"timestamp":"2026-11-22T12:00:00Z"},{"id":"x","value":3}]'
TAG = Tag("polling", ONE)


class Desk:
    """The source for one charger, and a clock."""

    def __init__(self, source="poll"):
        self.cloud, self.counters = CloudStatus(), Counter()
        self.source = PolledSource(Polling(source, 60.0), self.cloud, self.counters)
        self.seconds = 1000.0
        self.take(ServedChargersChanged((ONE,)))

    def take(self, event):
        return list(self.source.handle(event, Timestamp(NOON, self.seconds)))


def test_a_charger_is_read_when_it_is_due_and_the_answer_is_its():
    """All that the registry knows, in one call; what came is told like what comes by stream."""
    desk = Desk()
    (call,) = desk.take(Tick())
    assert isinstance(call, SendRequest)
    assert call.tag == TAG
    assert call.request.path.startswith(f"/state/{ONE}/observations?ids=")
    note, observed = desk.take(CloudResponse(call.tag, 200, READ))
    assert isinstance(observed, ObservationsReceived)
    assert ([one.id for one in observed.observations], observed.source) == ([120], "poll")
    assert note.fields == {"charger_id": ONE, "count": 1}
    assert desk.counters == {"poll_bad_records": 1}


@pytest.mark.parametrize("answer", [b"<html>", CloudUnavailable("down", retry_after_s=600.0)])
def test_a_read_that_brings_nothing_is_noted_and_made_later(answer):
    """An unreadable one is counted; the vendor's time is kept."""
    desk = Desk()
    desk.take(Tick())
    if isinstance(answer, bytes):
        (note,) = desk.take(CloudResponse(TAG, 200, answer))
        assert (note.event, desk.counters) == ("poll.unreadable", {"polls_unreadable": 1})
    else:
        (note,) = desk.take(CloudFailed(TAG, answer))
        assert note == LogEntry("debug", "poll.failed", {"error": "down"})
        assert desk.source.deadline_s() >= desk.seconds + 600.0
    assert desk.source.deadline_s() > desk.seconds


def test_that_values_come_by_polling_is_seen_behind_every_event():
    """As long as reads are answered."""
    desk = Desk()
    desk.take(HANDLED)
    assert not desk.cloud.polling
    desk.take(CloudResponse(TAG, 200, READ))
    desk.take(HANDLED)
    assert desk.cloud.polling
    desk.seconds += 10 * READ_TIMEOUT_S
    desk.take(HANDLED)
    assert not desk.cloud.polling


def test_the_stream_comes_first():
    """While it is open nothing is read but what it refuses; away for long, everything is."""
    desk = Desk("stream")
    desk.take(Started())
    desk.take(StreamOpened())
    assert desk.take(Tick()) == []
    desk.take(SubscriptionsRefused(frozenset({ONE})))
    assert len(desk.take(Tick())) == 1
    desk.take(CloudResponse(TAG, 200, READ))
    desk.take(SubscriptionsRefused(frozenset()))
    desk.seconds += 2 * GRACE_S
    assert desk.take(Tick()) == []
    desk.take(StreamClosed("gone"))
    assert desk.source.deadline_s() == desk.seconds + GRACE_S
    desk.take(StreamClosed("HTTP 401", refused=True))
    assert desk.source.deadline_s() < desk.seconds + GRACE_S


def test_nothing_is_read_any_more_when_the_process_ends():
    """No deadline, no call."""
    desk = Desk()
    desk.take(Stopping())
    assert desk.source.deadline_s() is None
    assert desk.take(Tick()) == []


def test_an_equalizer_is_read_with_the_ids_of_its_own():
    """Beside the chargers; one that left is not read any more."""
    desk = Desk()
    desk.take(EqualizersChanged(("QP000001",), added=("QP000001",)))
    paths = []
    for _ in range(2):
        desk.seconds += 10.0
        paths += [call.request.path for call in desk.take(Tick())]
    (path,) = (path for path in paths if "QP000001" in path)
    assert path.endswith(",".join(map(str, EQUALIZER_IDS)))
    desk.take(EqualizersChanged((), removed=("QP000001",)))
    desk.seconds += 600.0
    assert all("QP000001" not in call.request.path for call in desk.take(Tick()))
