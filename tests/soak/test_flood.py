"""A broker that stands still makes values fewer, never the memory more."""

from tests.soak.flood import CHARGERS, NUMBERS, SLACK_BYTES, grown_bytes

# A document, a bare value and at most one more in flight for each observation, and what the
# bridge says of itself and of each charger.
MAX_HELD = len(CHARGERS) * (4 * len(NUMBERS) + 4) + 200


def test_memory_does_not_depend_on_how_much_came():
    """Ten thousand observations for a broker that stands still leave no trace but the last."""
    grown, held = grown_bytes(10_000)

    assert grown < SLACK_BYTES
    assert held <= MAX_HELD
