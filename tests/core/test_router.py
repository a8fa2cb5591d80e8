"""The router: who is given what, in which order, and when a deadline is asked for again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.alerts import Alerts
from bridge.core.containment import Containment
from bridge.core.domain_events import NOTHING, ChargersAdded, EventHandled, StoreWorks
from bridge.core.effects import LogEntry
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    MqttAcked,
    ReportsRead,
    ReportsReadFailed,
    StreamOpened,
    Tick,
    ValueConnectionClosed,
    ValueConnectionOpened,
    ValuesAcked,
)
from bridge.core.messages import Publish, Tag
from bridge.core.records.moment import Timestamp
from bridge.core.router import Router
from bridge.errors import CloudUnavailable, StoreError
from tests.conftest import NOON

NOW = Timestamp(NOON, 100.0)


class Part:
    """A component that yields what it is told to, and counts how often it is asked."""

    def __init__(self, name, *interests, yields=None, due_s=None):
        self.name, self.interests = name, frozenset(interests)
        self.yields = yields or {}
        self.due_s = due_s
        self.given = []
        self.asked = 0

    def handle(self, event, _now):
        self.given.append(event)
        return self.yields.get(type(event), NOTHING)

    def deadline_s(self):
        self.asked += 1
        return self.due_s


def router_of(*parts, by_time=None):
    """Route between parts, all of which have deadlines unless some are named."""
    names = [part.name for part in parts] if by_time is None else by_time
    return Router(parts, Containment(Alerts()), names)


@given(
    st.lists(
        st.frozensets(st.sampled_from([StreamOpened, ValueConnectionOpened, Tick])), max_size=6
    )
)
def test_an_event_reaches_those_who_are_interested_in_their_order(interests):
    """And nobody else; what they yield comes in the same order."""
    told = [(LogEntry("info", f"of.{number}"),) for number in range(len(interests))]
    parts = [
        Part(str(number), *one, yields={StreamOpened: told[number]})
        for number, one in enumerate(interests)
    ]
    effects = router_of(*parts).handle(StreamOpened(), NOW)

    wanted = [number for number, one in enumerate(interests) if StreamOpened in one]
    assert effects == [effect for number in wanted for effect in told[number]]
    assert all((StreamOpened() in part.given) == (StreamOpened in part.interests) for part in parts)


def test_a_domain_event_is_delivered_before_the_next_output():
    """Also one that follows from a domain event; no component sees it as an effect."""
    first = Part(
        "first",
        StreamOpened,
        yields={
            StreamOpened: (LogEntry("info", "one"), StoreWorks(True), LogEntry("info", "four"))
        },
    )
    second = Part(
        "second",
        StoreWorks,
        yields={StoreWorks: (LogEntry("info", "two"), ChargersAdded(("EH123456",)))},
    )
    third = Part("third", ChargersAdded, yields={ChargersAdded: (LogEntry("info", "three"),)})
    effects = router_of(third, second, first).handle(StreamOpened(), NOW)

    assert [effect.event for effect in effects] == ["one", "two", "three", "four"]


def test_a_domain_event_that_nobody_wants_is_no_effect():
    """It is dropped."""
    part = Part("part", StreamOpened, yields={StreamOpened: (StoreWorks(True),)})
    assert router_of(part).handle(StreamOpened(), NOW) == []


@pytest.mark.parametrize(
    "event",
    [
        CloudResponse(Tag("mine", 7), 200, b""),
        CloudFailed(Tag("mine"), CloudUnavailable("gone")),
        ReportsRead(Tag("mine"), ()),
        ReportsReadFailed(Tag("mine"), StoreError("gone")),
        MqttAcked(Publish("x", b"", owner="mine"), 0),
    ],
)
def test_a_result_goes_to_its_owner_and_to_those_who_want_all_of_them(event):
    """In the order of the list; another component is not asked."""
    mine, other, all_of_them = Part("mine"), Part("other"), Part("all", type(event))
    router = router_of(all_of_them, mine, other)
    router.handle(event, NOW)

    assert (mine.given, all_of_them.given, other.given) == ([event], [event], [])


def test_a_result_of_nobody_is_dropped():
    """Its owner may be of an earlier version, or none."""
    part = Part("part")
    router = router_of(part)
    assert router.handle(MqttAcked(Publish("x", b""), 0), NOW) == []
    assert router.handle(CloudResponse(Tag("gone"), 200, b""), NOW) == []
    assert part.given == []


def test_only_those_that_are_due_get_a_tick_in_the_order_of_time():
    """Whatever the event was; then what depends on all of them is looked at."""
    late, early, idle = Part("late", due_s=90.0), Part("early", due_s=100.0), Part("idle")
    behind = Part("behind", EventHandled)
    router = router_of(behind, early, late, idle, by_time=("late", "early", "idle"))
    order = []
    for part in (late, early, idle, behind):
        part.handle = lambda event, _now, part=part: order.append((part.name, type(event))) or ()
    router = router_of(behind, early, late, idle, by_time=("late", "early", "idle"))
    router.handle(StreamOpened(), NOW)

    assert order == [("late", Tick), ("early", Tick), ("behind", EventHandled)]


def test_a_deadline_is_asked_for_again_only_after_something_was_handled():
    """A component that nothing happens to costs no call."""
    quiet, busy = (
        Part("quiet", ValueConnectionOpened, due_s=500.0),
        Part("busy", StreamOpened, due_s=300.0),
    )
    router = router_of(quiet, busy)
    assert router.deadline_s() == 300.0
    asked = quiet.asked
    for _ in range(5):
        router.handle(StreamOpened(), NOW)
        router.handle(Tick(), NOW)
        assert router.deadline_s() == 300.0
    assert quiet.asked == asked

    quiet.due_s = 200.0
    assert router.deadline_s() == 300.0
    router.handle(ValueConnectionOpened(20), NOW)
    assert router.deadline_s() == 200.0


def test_a_deadline_that_is_over_is_asked_for_again():
    """Also where the component had nothing to do: it may have been moved meanwhile."""
    part = Part("part", EventHandled, due_s=100.0)
    router = router_of(part, by_time=())
    assert router.deadline_s() == 100.0
    part.due_s = 160.0
    router.handle(Tick(), NOW)
    assert router.deadline_s() == 160.0


def test_without_a_deadline_nothing_is_waited_for():
    """None of the components wants a tick."""
    assert router_of(Part("part")).deadline_s() is None


def test_values_that_were_acknowledged_cost_nothing_where_nothing_follows():
    """Time is not looked at: the next event is near."""
    part = Part("part", ValuesAcked, due_s=0.0)
    router = router_of(part)
    assert router.handle(ValuesAcked(()), NOW) == []
    assert part.given == [ValuesAcked(())]

    part.yields = {ValuesAcked: (LogEntry("info", "told"),)}
    router.handle(ValuesAcked(()), NOW)
    assert Tick() in part.given


def test_components_are_found_by_name():
    """For whoever puts a core together."""
    part = Part("part", ValueConnectionClosed)
    assert router_of(part).components == {"part": part}
