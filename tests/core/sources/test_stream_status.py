"""How the stream is: open, away, or not wanting us."""

from collections import Counter

from bridge.core.alerts import Alerts
from bridge.core.domain_events import ServedChargersChanged, SubscriptionsRefused
from bridge.core.effects import LogEntry
from bridge.core.events import (
    Stopping,
    StreamAnomaly,
    StreamClosed,
    StreamOpened,
    StreamSubscription,
)
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.sources.stream_status import ALERT, StreamStatus
from bridge.core.status import CloudStatus
from tests.conftest import NOON
from tests.native import as_messages

ONE, TWO, OTHER = "EH123456", "EH654321", "EH111111"


class Desk:
    """The stream of two chargers."""

    def __init__(self):
        self.cloud, self.alerts, self.counters = CloudStatus(), Alerts(), Counter()
        self.stream = StreamStatus(self.cloud, {ONE, TWO}, self.alerts, self.counters)

    def take(self, event):
        return as_messages(self.stream.handle(event, Timestamp(NOON, 1000.0)))

    def told(self, event):
        """The words of the alert that an event raises."""
        (*_, last) = [one for one in self.take(event) if isinstance(one, Publish)]
        return last.payload.decode()


def test_a_hub_that_does_not_want_us_is_told_of_until_it_does():
    """Or is away: that is nobody's fault."""
    desk = Desk()
    assert "HTTP 401" in desk.told(StreamClosed("HTTP 401", refused=True))
    desk.take(StreamClosed("gone"))
    assert desk.alerts.kinds == ()
    desk.take(StreamClosed("HTTP 401", refused=True))
    desk.take(StreamOpened())
    assert desk.alerts.kinds == ()
    assert desk.cloud.stream_up


def test_a_charger_that_the_stream_refuses_is_named_and_polled():
    """Until it is taken; one that is not served is nobody's."""
    desk = Desk()
    desk.take(StreamOpened())
    assert desk.take(StreamSubscription(OTHER, "no")) == [SubscriptionsRefused(frozenset())]
    assert desk.take(StreamSubscription(TWO, "no"))[0] == SubscriptionsRefused(frozenset({TWO}))
    assert f"{ONE}, {TWO}: no access" in desk.told(StreamSubscription(ONE, "no access"))
    desk.take(StreamOpened())
    assert desk.alerts.kinds == (ALERT,)
    desk.take(StreamSubscription(ONE, None))
    assert desk.alerts.kinds == (ALERT,)
    desk.take(StreamSubscription(TWO, None))
    assert desk.alerts.kinds == ()


def test_who_is_not_served_any_more_is_not_refused_either():
    """The alert ends with the last of them; who comes changes nothing."""
    desk = Desk()
    desk.take(StreamSubscription(ONE, "no"))
    desk.take(ServedChargersChanged((ONE, TWO, OTHER)))
    assert desk.alerts.kinds == (ALERT,)
    desk.take(ServedChargersChanged((TWO,), (ONE,)))
    assert (desk.alerts.kinds, desk.cloud.refused) == ((), set())


def test_a_stream_that_ended_refuses_nobody():
    """Everybody subscribes anew."""
    desk = Desk()
    desk.take(StreamOpened())
    desk.take(StreamSubscription(ONE, "no"))
    assert desk.take(StreamClosed("gone"))[0] == SubscriptionsRefused(frozenset())
    assert (desk.cloud.stream_up, desk.cloud.refused) == (False, set())


def test_what_nobody_understands_is_counted_as_often_as_it_came():
    """With a line for who wants to know."""
    desk = Desk()
    facts = {"kind": "odd", "detail": "what", "times": 3}
    assert desk.take(StreamAnomaly("odd", "what", 3)) == [
        LogEntry("debug", "stream.anomaly", facts)
    ]
    assert desk.counters == {"stream_odd": 3}


def test_a_process_that_ends_has_no_stream():
    """What is told last says so."""
    desk = Desk()
    desk.take(StreamOpened())
    desk.take(Stopping())
    assert not desk.cloud.stream_up
