"""The replay benchmark at a tiny size: that it runs, never how fast."""

import pytest

from benchmarks import replay
from benchmarks.records import Fleet

pytestmark = pytest.mark.broker


def test_a_gateway_fills_a_broker_that_forgot():
    """After the broker lost everything, everything that was retained is there again."""
    whole_s, work_s, wanted = replay.gateway_s(Fleet(2, 3), window=20)

    assert 0 <= work_s <= whole_s
    assert len(wanted) >= 2 * 2 * 3


def test_both_floors_publish_as_many():
    """A floor ends when its last message is acknowledged."""
    assert replay.python_floor_s(50, 10, window=20) > 0
    assert (replay.c_floor_s(50, 10, window=20) or 1) > 0
