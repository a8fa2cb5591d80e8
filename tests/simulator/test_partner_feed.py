"""What the simulated cloud publishes for partners; a real queue is in tests/acceptance."""

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest

from bridge.simulator.partner_feed import PartnerFeed, message_of
from bridge.simulator.readings import Reading, Response, Update
from tests.conftest import NOON

pytestmark = pytest.mark.anyio

ONE = "EH000001"


def update(number: int) -> Update:
    """Make an observation."""
    return Update(ONE, 120, Reading(float(number), 3, NOON + timedelta(seconds=number)))


class FakeChannel:
    """A channel that keeps what is published."""

    is_open = True

    def __init__(self):
        self.published, self.acknowledged = [], []

    def confirm_delivery(self, callback):
        self.confirmed = callback

    def basic_consume(self, queue, callback):
        self.consumer = queue, callback

    def basic_ack(self, delivery):
        self.acknowledged.append(delivery)

    def basic_publish(self, _exchange, key, body, _properties):
        self.published.append((key, json.loads(body)["value"]))


def confirm(channel, number, *, multiple):
    """Confirm as the broker does."""
    method = SimpleNamespace(delivery_tag=number, multiple=multiple)
    channel.confirmed(SimpleNamespace(method=method))


def test_keys_and_bodies_are_what_the_vendors_libraries_suggest():
    """Observations by id, responses by command and ticks."""
    key, body = message_of(update(1))
    assert key == "EH000001.O.120"
    assert json.loads(body) | {"timestamp": ""} == {
        "mid": ONE, "dataType": 3, "id": 120, "timestamp": "", "value": 1.0,
    }  # fmt: skip

    key, body = message_of(Response(ONE, 48, 638, NOON, NOON, True))
    assert key == "EH000001.CR.48.638"
    assert json.loads(body)["WasAccepted"] is True


async def test_what_was_not_confirmed_is_published_again_in_order():
    """After a reconnect, before what waited meanwhile."""
    feed, first, second = PartnerFeed("amqp://u:p@127.0.0.1"), FakeChannel(), FakeChannel()
    feed._ready(first)
    feed.tell([update(1), update(2), update(3)])
    confirm(first, 1, multiple=False)
    feed._channel = None
    feed.tell([update(4)])
    assert not feed._idle.is_set()

    feed._ready(second)
    assert [value for _, value in second.published] == [2.0, 3.0, 4.0]
    confirm(second, 3, multiple=True)
    await feed.confirmed()


async def test_commands_are_taken_from_a_queue_of_the_clouds_own():
    """Each is acknowledged, also where it is none."""
    taken = []
    feed, channel = PartnerFeed("amqp://u:p@127.0.0.1", taken.append), FakeChannel()
    feed._ready(channel)
    queue, take = channel.consumer
    assert queue == "Operator_7.C.Q"
    body = json.dumps({"Id": 48, "Arguments": [{"Id": 1, "Value": "10"}]}).encode()
    for tag, key in ((1, f"{ONE}.C.48.638"), (2, "nonsense")):
        take(channel, SimpleNamespace(delivery_tag=tag, routing_key=key), None, body)

    assert [(each.charger_id, each.ticks) for each in taken] == [(ONE, 638)]
    assert channel.acknowledged == [1, 2]
