"""The benchmark of the recorder at a tiny size: that it runs, never how much."""

import pytest

from benchmarks import recording, stage, throughput
from benchmarks.records import Fleet


def test_a_recorded_core_is_measured_beside_another_one():
    """Both take the same rounds, and each round has a ratio."""
    figures = recording.in_process(Fleet(2, 10), 5, 3)

    assert figures["runs"] == 3
    assert figures["low"] > 0
    assert figures["total"] > 0


@pytest.mark.broker
def test_a_gateway_is_measured_with_and_without_the_recorder():
    """Both take the load, and their figures are compared."""
    load = throughput.Load(Fleet(2, 10), 2, stage.WINDOW)
    figures = recording.gateways(1, load)

    assert figures["rate"]["median"] > 0
    assert figures["cpu"]["median"] > 0
    assert recording.memory_mib(1, Fleet(1, 10), 2, 0.0)["runs"] == 1
