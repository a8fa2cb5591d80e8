"""A gateway stops what it must stop when its lease ran out, and nothing more."""

import math
import random

import pytest

from bridge.cluster.partition import Partition
from bridge.core.events import (
    CloudStatusChanged,
    MqttConnected,
    MqttDisconnected,
    StreamOpened,
    Tick,
)
from bridge.core.records.lease import Lease
from tests.simulation.engine import SimulatedClock, Timeline


class Held:
    """A partition whose lease holds until a moment."""

    def __init__(self):
        self.timeline = Timeline()
        clock = SimulatedClock(self.timeline, random.Random(1))
        self.until_s = clock.now().mono_s + 3.6
        self.it = Partition(
            Lease(0, 1, clock.now().mono_s),
            clock,
            left_s=lambda: self.until_s - clock.now().mono_s,
        )

    def later(self, seconds):
        self.timeline.run_until(self.timeline.now_s + seconds)


def test_behind_a_standstill_nothing_is_processed_until_the_database_was_asked():
    """A request that was sent before says nothing of now."""
    held = Held()
    before_s = held.timeline.now_s
    assert held.it.is_clear()
    held.later(60)
    assert not held.it.is_clear()
    held.it.asked_in_vain(before_s)
    assert not held.it.is_clear()
    held.it.asked_in_vain(held.timeline.now_s)
    assert held.it.is_clear(), "the database is away: values go on"
    held.until_s = held.timeline.now_s + 3.6
    assert held.it.is_clear()
    held.later(10)
    assert not held.it.is_clear(), "an answer of the time before counts no more"


def test_a_lost_lease_is_never_clear():
    """What was voided does not come back by asking in vain."""
    held = Held()
    held.until_s = -math.inf
    held.it.asked_in_vain(held.timeline.now_s)

    assert not held.it.is_clear()


@pytest.mark.parametrize(
    ("down", "up", "link"),
    [
        (MqttDisconnected("cut"), MqttConnected(True, "5", 10), "broker"),
        (CloudStatusChanged("unavailable", "x"), CloudStatusChanged("ok", ""), "cloud"),
        (CloudStatusChanged("unavailable", "x"), StreamOpened(), "cloud"),
    ],
)
def test_a_link_that_is_down_is_remembered(down, up, link):
    """Since when it is down counts, however often that is told."""
    held = Held()
    queue = held.it.queue
    queue.put(MqttConnected(True, "5", 10))
    assert queue.down_for_s() == 0.0
    queue.put(down)
    held.later(5)
    if link == "cloud":
        queue.put(down)
    held.later(5)
    assert not queue.is_up(link)
    assert queue.down_for_s() == pytest.approx(10)
    queue.put(up)
    assert queue.is_up(link)
    assert queue.down_for_s() == 0.0


def test_a_gateway_that_never_reached_the_broker_is_down_since_its_start():
    """There is no event that says so."""
    held = Held()
    held.later(20)
    held.it.queue.put(Tick())

    assert held.it.queue.down_for_s() == pytest.approx(20)
    assert not held.it.queue.is_empty
