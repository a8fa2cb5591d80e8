"""Parses what the cloud tells of sites, consumption and keys for queries.

Every key may be missing: what is not told is null. Raises only ``DecodeError``.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from bridge.core.easee.json_fields import integer, parse_json, parsed_list, parsed_object
from bridge.core.easee.redaction import publishable
from bridge.core.easee.sites import Site, site_detail
from bridge.core.value_format import read_utc
from bridge.errors import DecodeError

BY: Final = ("hour", "day", "month")
_PRICE: Final = {
    "per_kwh": "costPerKWh",
    "per_kwh_without_vat": "costPerKwhExcludeVat",
    "vat": "vat",
    "currency": "currencyId",
}


def site_document(body: bytes, known: Site, *, is_personal: bool) -> dict[str, object]:
    """Describe a site: its price, and what belongs to it.

    Args:
        body: ``GET /api/sites/{id}``.
        known: The site as the account's list has it.
        is_personal: Name and address may be told.
    """
    entry = parsed_object(body, "site")
    detail = site_detail(body)
    rated_a = detail.rated_current_a
    document: dict[str, object] = {
        "site_id": known.site_id,
        "rated_current": known.rated_current_a if rated_a is None else rated_a,
        "price": {name: entry.get(key) for name, key in _PRICE.items()},
        "circuits": [
            {"circuit_id": one.circuit_id, "chargers": one.charger_ids, **one.facts}
            for one in known.circuits
        ],
        "chargers": known.charger_ids,
        "equalizers": known.equalizers,
    }
    if is_personal:
        document |= {"name": detail.name, "address": detail.address}
    return document


def members(body: bytes, *, is_personal: bool) -> list[object]:
    """List the users of a site: id and role, and everything where personal data may be told."""
    entries = [entry for entry in parsed_list(body, "users") if isinstance(entry, dict)]
    if is_personal:
        return list(entries)
    return [
        {
            "user_id": integer(entry.get("userId", entry.get("id"))),
            "role": integer(entry.get("userRole", entry.get("role"))),
        }
        for entry in entries
    ]


def told(body: bytes, source: str, *, is_personal: bool) -> object:
    """Return a document as the cloud tells it, without personal data unless that may be told."""
    if is_personal:
        return parse_json(body, source)
    text = publishable(body.decode("utf-8", errors="replace"))
    if text is None:
        raise DecodeError("personal data cannot be removed", source=source)
    return parse_json(text.encode(), source)


def consumption(body: bytes, by: str, since: datetime, until: datetime) -> list[dict[str, object]]:
    """List the energy of a charger by period, oldest first; times are UTC.

    Args:
        body: ``usage/hourly``, or ``lifetime-energy``, which has more than was asked for.
        by: ``hour``, ``day`` or ``month``.
        since: Periods that begin earlier are left out.
        until: Periods that end later are left out.
    """
    found = []
    for entry in parsed_list(body, "consumption"):
        row = _row(entry, by) if isinstance(entry, dict) else None
        if row is not None and since <= row[0] and row[1] <= until:
            found.append(row)
    return [
        {"from": start, "to": end, "energy_kwh": energy} for start, end, energy in sorted(found)
    ]


def _row(entry: Mapping[str, object], by: str) -> tuple[datetime, datetime, float] | None:
    energy = entry.get("totalEnergy", entry.get("consumption"))
    if isinstance(energy, bool) or not isinstance(energy, int | float):
        return None
    try:
        start = _start(entry)
        return start, _end(start, by), energy
    except (DecodeError, ValueError, OverflowError):
        return None


def _start(entry: Mapping[str, object]) -> datetime:
    """Return when a period begins; raises ``ValueError`` or ``DecodeError``."""
    told_from = entry.get("from")
    if isinstance(told_from, str):
        return read_utc(told_from).astimezone(UTC)
    year, month, day, hour = (integer(entry.get(key)) for key in ("year", "month", "day", "hour"))
    return datetime(year or 0, month or 1, day or 1, hour or 0, tzinfo=UTC)


def _end(start: datetime, by: str) -> datetime:
    if by == "month":
        later = start.replace(day=1) + timedelta(days=32)
        return later.replace(day=1)
    return start + (timedelta(hours=1) if by == "hour" else timedelta(days=1))


def key_list(body: bytes) -> list[object]:
    """List the charging keys of the account as the cloud tells them.

    Raises:
        DecodeError: It is no list.
    """
    return parsed_list(body, "keys")
