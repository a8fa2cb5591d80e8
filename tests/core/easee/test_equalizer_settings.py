"""Settings of an Equalizer as the cloud holds them."""

import json

import pytest

from bridge.core.easee.command_payloads import Surplus
from bridge.core.easee.equalizer_settings import (
    holds_allocated_current,
    holds_surplus,
    surplus_body,
)
from bridge.errors import DecodeError

OFF, SIX = Surplus(enabled=False), Surplus(enabled=True, amps=6)


@pytest.mark.parametrize("wish", [OFF, SIX, Surplus(enabled=True)])
def test_what_was_sent_is_what_the_cloud_then_holds(wish):
    """And no other wish is."""
    body = json.dumps(surplus_body(wish)).encode()

    assert holds_surplus(wish, body)
    for other in (OFF, SIX, Surplus(enabled=True, amps=7)):
        assert holds_surplus(other, body) is (other == wish)


def test_a_configuration_that_does_not_name_the_current_proves_nothing():
    """Under whichever of its names the cloud holds it, it is read."""
    assert holds_allocated_current(16, b'{"MaxAllocatedCurrent":16.0}')
    assert not holds_allocated_current(16, b'{"maxAllocatedCurrent":20}')
    assert not holds_allocated_current(16, b'{"numPhases":16}')


def test_what_is_no_object_is_a_decode_error():
    """A web page, or a list."""
    for read in (holds_surplus, holds_allocated_current):
        with pytest.raises(DecodeError):
            read(SIX if read is holds_surplus else 6, b"[]")
