import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator.presentation import Facts, Limit, Reason, present
from tests.simulator.lab import LEDS

FLOWS = Limit(16.0, Reason.LIMITED_BY_CAR, Reason.CAR_NOT_CHARGING)
BLOCKS = Limit(0.0, Reason.LIMITED_BY_DYNAMIC_CHARGER, Reason.DYNAMIC_CHARGER_TOO_LOW)


def facts(**changes) -> Facts:
    """Describe a charging car, with changes."""
    usual = {
        "car": True,
        "full": False,
        "drawing": True,
        "must_authorize": False,
        "deauthorizing": False,
        "verifying": False,
        "enabled": True,
        "failed": False,
        "withheld": False,
        "smart": False,
        "pairing": False,
        "primary": True,
        "limit": FLOWS,
        "pending_op_mode": 7,
    }
    return Facts(**{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "op_mode", "led", "reason", "pilot"),
    [
        ({"car": False}, 1, 18, 50, "A"),
        ({"car": False, "primary": False}, 1, 19, 50, "A"),
        ({"car": False, "pairing": True}, 1, 29, 50, "A"),
        ({"must_authorize": True}, 7, 25, 55, "B"),
        ({"must_authorize": True, "pending_op_mode": 2}, 2, 25, 55, "B"),
        ({"must_authorize": True, "verifying": True}, 7, 26, 55, "B"),
        ({"must_authorize": True, "deauthorizing": True}, 8, 23, 55, "B"),
        ({"enabled": False}, 2, 23, 53, "B"),
        ({"withheld": True}, 2, 23, 54, "B"),
        ({"withheld": True, "smart": True}, 2, 21, 54, "B"),
        ({"limit": BLOCKS}, 2, 23, 52, "B"),
        ({"full": True}, 4, 23, 79, "B"),
        ({"drawing": False}, 6, 23, 0, "B"),
        ({}, 3, 24, 81, "C"),
        ({"smart": True}, 3, 22, 81, "C"),
        ({"failed": True}, 5, 16, 56, "F"),
    ],
)
def test_each_situation_is_shown_as_the_vendor_does(changes, op_mode, led, reason, pilot):
    """One row per situation, from the vendor's enumerations."""
    shown = present(facts(**changes))

    assert (shown.op_mode, shown.led, shown.reason, shown.pilot) == (op_mode, led, reason, pilot)


@given(
    st.fixed_dictionaries(
        {
            name: st.booleans()
            for name in (
                "car",
                "full",
                "drawing",
                "must_authorize",
                "deauthorizing",
                "verifying",
                "enabled",
                "failed",
                "withheld",
                "smart",
                "pairing",
                "primary",
            )
        }
    ),
    st.sampled_from([FLOWS, BLOCKS]),
    st.sampled_from([2, 7]),
)
def test_led_and_op_mode_never_disagree(flags, limit, pending):
    """Whatever the facts, the LED is one that the op mode allows, and 55 goes with 25, 26 or 8."""
    shown = present(facts(**flags, limit=limit, pending_op_mode=pending))

    assert shown.led in LEDS[shown.op_mode]
    assert (shown.led in (25, 26)) == (shown.reason == 55 and shown.op_mode != 8)
