"""The price of a site: read, sent and read back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.site_payloads import SitePrice, holds_price, price_body, site_price
from bridge.errors import CommandRefused, DecodeError

GIVEN = {"per_kwh": 1.25, "currency": "NOK", "vat": 25}


def test_a_price_is_read_and_sent_with_and_without_vat():
    """Under every key the vendor's documents name."""
    price = site_price(GIVEN, 32)
    assert price == SitePrice(1.25, "NOK", 25.0)
    assert price_body(price) == {
        "currency": "NOK",
        "currencyId": "NOK",
        "costPerKWh": 1.25,
        "vat": 25.0,
        "costPerKwhExcludeVat": 1.0,
    }


@pytest.mark.parametrize(
    "value",
    [
        1.25,
        {"per_kwh": 1.25},
        {**GIVEN, "per_kwh": -1},
        {**GIVEN, "per_kwh": True},
        {**GIVEN, "vat": 101},
        {**GIVEN, "currency": "nok"},
        {**GIVEN, "currency": 578},
        {**GIVEN, "day": 1},
    ],
)
def test_what_is_no_price_is_refused(value):
    """With what is allowed."""
    with pytest.raises(CommandRefused) as refused:
        site_price(value, 32)
    assert refused.value.reason == "invalid_value"


@given(st.floats(0, 1000), st.floats(0, 100), st.sampled_from(["NOK", "EUR"]))
def test_what_was_sent_is_held_and_another_price_is_not(per_kwh, vat, currency):
    """For any price."""
    price = SitePrice(per_kwh, currency, vat)
    body = price_body(price)
    assert holds_price(price, json.dumps(body).encode())
    for key, other in (("costPerKWh", per_kwh + 1), ("vat", None), ("currencyId", "SEK")):
        assert not holds_price(price, json.dumps({**body, key: other}).encode())


def test_a_site_that_is_no_object_is_a_decode_error():
    """A web page."""
    with pytest.raises(DecodeError):
        holds_price(SitePrice(1.0, "NOK", 0.0), b"<html>")
