"""The partner feed of two workers and two partitions: no value and no session is lost.

``make soak-feed`` is the long form, with one partition or with ``ARGS="--partitions 4"``.
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


async def test_a_takeover_of_a_divided_feed_loses_nothing(tmp_path):
    """A worker of two is killed: each value and session of all chargers, in order."""
    # Of three sites: with two, one partition serves no charger and waits a minute for one.
    story = await told(tmp_path, ["kill"], chargers=9, partitions=2)

    ((_, _, _, killed),) = story.faults
    assert killed.endswith("ended with -9")
    assert {serial for serial, _ in story.sent} == {f"EH{number:06}" for number in range(1, 10)}
    assert set(story.partitions.values()) == {0, 1}
    assert story.lost() == []
    assert story.went_back() == []
    assert story.sessions
    assert story.lost_sessions() == []
