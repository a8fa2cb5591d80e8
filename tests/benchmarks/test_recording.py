"""The benchmark of the recorder at a tiny size: that it runs, never how much."""

import pytest

from benchmarks import recording, stage, throughput
from benchmarks.records import Fleet


@pytest.mark.broker
def test_a_gateway_is_measured_with_and_without_the_recorder():
    """Both take the load, and their figures are compared."""
    load = throughput.Load(Fleet(2, 10), 2, stage.WINDOW)

    figures = recording.measure(load, 1, Fleet(1, 10), 0.0)

    assert figures["rate"] > 0
    assert figures["cpu"] > 0
    assert figures["lowest_rate"] == figures["highest_rate"] == figures["rate"]
