"""What the command benchmark makes of its figures; it runs for minutes, so not here."""

import pytest

from benchmarks import commands


def test_the_gateway_is_compared_with_everybody():
    """Ratios say how much longer the gateway takes than each of the others."""
    condensed = commands.figures({"charger": [0.003] * 4, "bare": [0.002] * 4})

    assert condensed["bare script"]["gateway_to_median"] == pytest.approx(1.5)
    assert condensed["gateway"]["gateway_to_median"] == pytest.approx(1.0)
