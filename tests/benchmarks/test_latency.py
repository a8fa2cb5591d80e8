"""The latency benchmark at a tiny size: that it runs, never how fast."""

import pytest

from benchmarks import contenders, latency


@pytest.mark.broker
def test_every_observation_is_timed_once():
    """Each observation sent is found again at the subscriber."""
    load = latency.Load(observations=3, rounds=2)

    took = latency.run(contenders.PYTHON_FLOOR, load)

    assert len(took) == 6
    assert min(took) > 0


def test_the_floor_is_taken_off():
    """What the kernel and the broker need is subtracted from every figure."""
    found = {"C floor": [[0.001, 0.001]], "gateway": [[0.003, 0.003]]}

    assert latency.figures(found)["gateway"]["median_above_floor_ms"] == pytest.approx(2.0)
