"""The part of the account's lists that one partition serves.

The gateway of a partition reads lists as if the account had nothing else. What cannot be read is
left to one partition, which tells it.
"""

from collections.abc import Callable, Iterator

import msgspec

from bridge.core.addressees import site_name
from bridge.core.easee.json_fields import has_serial, integer, parse_json

Serves = Callable[[str], bool]


def chargers_of(body: bytes, serves: Serves, *, keeps_odd: bool) -> bytes:
    """Return the part of ``GET /api/chargers`` that is served.

    Args:
        body: The whole list.
        serves: Tells whether a serial is served.
        keeps_odd: Keep the entries without a serial.

    Raises:
        DecodeError: It is no JSON.
    """
    return _part_of(parse_json(body, "charger list"), body, _serial, serves, keeps_odd=keeps_odd)


def sites_of(body: bytes, serves: Serves, *, keeps_odd: bool) -> bytes:
    """Return the part of ``GET /api/accounts/products`` that is served.

    Args:
        body: The whole list.
        serves: Tells whether a site is served, by its name.
        keeps_odd: Keep the entries without an id.

    Raises:
        DecodeError: It is no JSON.
    """
    return _part_of(parse_json(body, "site list"), body, _site, serves, keeps_odd=keeps_odd)


def _part_of(
    entries: object,
    body: bytes,
    name_of: Callable[[object], str | None],
    serves: Serves,
    *,
    keeps_odd: bool,
) -> bytes:
    """Return the entries that are served; the whole body where it is no list."""
    if not isinstance(entries, list):
        return body
    kept = [
        entry
        for entry in entries
        if (keeps_odd if (name := name_of(entry)) is None else serves(name))
    ]
    return msgspec.json.encode(kept)


def _serial(entry: object) -> str | None:
    """Return the serial of an entry, whatever case its keys have."""
    keys: Iterator[str] = iter(entry) if isinstance(entry, dict) else iter(())
    for key in keys:
        if key.lower() == "id" and has_serial(entry, key):
            return str(entry[key])  # type: ignore[index]  # has_serial knows
    return None


def _site(entry: object) -> str | None:
    site_id = integer(entry.get("id")) if isinstance(entry, dict) else None
    return None if site_id is None else site_name(site_id)
