"""The price of a site: the payload of its command, the vendor's body, and the read-back."""

import math
import re
from typing import Final

import msgspec

from bridge.core.easee.command_payloads import amount, only_keys, refuse
from bridge.core.easee.json_fields import parsed_object
from bridge.core.easee.payload_kinds import PayloadKind
from bridge.core.easee.payload_shapes import Keys, Shape, number

MAX_PRICE: Final = 1_000_000
MAX_VAT: Final = 100
# Prices are compared as money is: to more digits than any tariff has.
_DIGITS: Final = 6
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
_SHAPE: Final = '{"per_kwh": 1.25, "currency": "NOK", "vat": 25}'


class SitePrice(msgspec.Struct, frozen=True):
    """What a kilowatt-hour costs at a site.

    Attributes:
        per_kwh: With value added tax.
        currency: Three capital letters.
        vat: Value added tax in percent.
    """

    per_kwh: float
    currency: str
    vat: float

    @property
    def without_vat(self) -> float:
        """Return the price without value added tax."""
        return round(self.per_kwh / (1.0 + self.vat / 100.0), _DIGITS)


def site_price(value: object, _max_current_a: int) -> SitePrice:
    """Read ``{"per_kwh": 1.25, "currency": "NOK", "vat": 25}``."""
    if not isinstance(value, dict):
        refuse(f"a price is {_SHAPE}")
    keys = {"per_kwh", "currency", "vat"}
    only_keys(value, required=keys, optional=(), shape=_SHAPE)
    per_kwh, vat, currency = amount(value["per_kwh"]), amount(value["vat"]), value["currency"]
    if per_kwh is None or not 0 <= per_kwh <= MAX_PRICE:
        refuse(f"per_kwh is a number from 0 to {MAX_PRICE}")
    if vat is None or not 0 <= vat <= MAX_VAT:
        refuse(f"vat is a number of percent from 0 to {MAX_VAT}")
    if not isinstance(currency, str) or _CURRENCY.fullmatch(currency) is None:
        refuse('currency is three capital letters, as in "NOK"')
    return SitePrice(float(per_kwh), currency, float(vat))


def price_body(price: SitePrice) -> dict[str, object]:
    """Return the vendor's body; its documents name the currency by two keys."""
    return {
        "currency": price.currency,
        "currencyId": price.currency,
        "costPerKWh": price.per_kwh,
        "vat": price.vat,
        "costPerKwhExcludeVat": price.without_vat,
    }


def holds_price(price: SitePrice, body: bytes) -> bool:
    """Return whether a site has this price.

    Raises:
        DecodeError: The body is no object.
    """
    held = parsed_object(body, "site")
    numbers = ((held.get("costPerKWh"), price.per_kwh), (held.get("vat"), price.vat))
    return held.get("currencyId", held.get("currency")) == price.currency and all(
        isinstance(found, int | float) and math.isclose(found, wanted, abs_tol=10**-_DIGITS)
        for found, wanted in numbers
    )


PRICE: Final[PayloadKind[SitePrice]] = PayloadKind(
    site_price,
    lambda _: Shape(
        (),
        (
            Keys(
                {
                    "per_kwh": {"anyOf": number(0, MAX_PRICE, whole=False)},
                    "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
                    "vat": {"anyOf": number(0, MAX_VAT, whole=False)},
                },
                ("per_kwh", "currency", "vat"),
            ),
        ),
    ),
    f"{_SHAPE}: the price with VAT, and the VAT in percent",
)
