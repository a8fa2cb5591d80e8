"""What is odd about observations: unknown ids, other types, unknown codes."""

import pytest

from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.vendor_oddities import oddities
from bridge.core.records.observation import RawObservation


def observed(number, value, kind):
    """Return an observation."""
    return RawObservation("EH123456", number, kind, value, "x")


@pytest.mark.parametrize(
    ("number", "value", "kind", "found"),
    [
        (9999, "1", 4, ("observation 9999", "observation 9999 is unknown")),
        (120, "1", 4, ("type 120 4", "observation 120 (total_power) has type 4 instead of 3")),
        (
            109, "77", 4,
            ("code 109 77", "observation 109 (charger_op_mode) has the unknown code 77"),
        ),
    ],
)  # fmt: skip
def test_what_the_program_does_not_know_is_odd(number, value, kind, found):
    """Each with what is known of it, and no value but a code."""
    fine = set()

    assert list(oddities([observed(number, value, kind)] * 2, fine)) == [found] * 2
    assert not fine


def test_what_the_registries_describe_is_fine():
    """Every row with its own type and its own codes, also without a type, and texts for codes."""
    for table in (REGISTRY, EQUALIZER):
        for number, spec in table.items():
            for code in spec.labels or ["1"]:
                for kind in (int(spec.kind), None):
                    assert list(oddities([observed(number, str(code), kind)], set())) == []
    assert list(oddities([observed(109, "no number", 4)], set())) == []


def test_what_is_fine_is_looked_at_once():
    """An id of which no value is odd is remembered."""
    fine = set()
    assert list(oddities([observed(120, "1", 3)], fine)) == []

    assert fine == {(120, 3)}
