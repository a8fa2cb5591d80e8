"""The partner feed of two workers: one reads it, and no value and no session is lost between them.

``make soak-feed`` is the long form, with ``ARGS="--partitions 4"`` for several partitions.
"""

import os

import pytest

from tests.mosquitto import EXECUTABLE
from tests.postgres import program
from tests.rabbitmq import SERVER
from tests.workers.feed import told

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.broker,
    pytest.mark.skipif(
        program("initdb") is None and not os.environ.get("CI"), reason="PostgreSQL is missing"
    ),
    pytest.mark.skipif(not EXECUTABLE and not os.environ.get("CI"), reason="mosquitto is missing"),
    pytest.mark.skipif(not SERVER.exists(), reason="make test installs rabbitmq-server"),
]


async def test_a_takeover_of_the_feed_loses_nothing(tmp_path):
    """The owner is killed, then the server stands still; the worker that stands by never reads."""
    story = await told(tmp_path, ["kill", "freeze"], chargers=4)

    (_, _, _, killed), (_, _, _, frozen) = story.faults
    assert killed.endswith("ended with -9")
    assert int(frozen.split()[0]) >= 1, "the server stood still, and nobody noticed"
    assert story.values > 100
    assert story.lost() == []
    assert story.went_back() == []
    assert story.sessions
    assert story.lost_sessions() == []


async def test_several_partitions_get_their_messages_through_queues_of_their_own(tmp_path):
    """Each value and session of all chargers, whoever serves them."""
    story = await told(tmp_path, [], chargers=6, partitions=2)

    assert {serial for serial, _ in story.sent} == {f"EH{number:06}" for number in range(1, 7)}
    assert story.lost() == []
    assert story.went_back() == []
    assert story.sessions
    assert story.lost_sessions() == []
