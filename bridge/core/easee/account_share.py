"""The entries of the account's lists, and the parts of them that partitions serve.

The gateway of a partition reads lists as if the account had nothing else. An entry that cannot be
read belongs to one partition, which reports it.
"""

from collections.abc import Collection, Iterable, Iterator

import msgspec

from bridge.core.easee.json_fields import has_serial, list_entries, parse_json
from bridge.core.easee.sites import Site, read_site
from bridge.errors import DecodeError

# Reports the entries that cannot be read.
FOR_ODD = 0


class ListedCharger(msgspec.Struct, frozen=True):
    """An entry of ``GET /api/chargers``.

    Attributes:
        text: As it came.
        serial: Its charger; None where it cannot be read.
    """

    text: msgspec.Raw
    serial: str | None


class ListedSite(msgspec.Struct, frozen=True):
    """An entry of ``GET /api/accounts/products``.

    Attributes:
        text: As it came.
        name: Of its site; None where it cannot be read.
        charger_ids: Its chargers.
        equalizers: Its Equalizers.
    """

    text: msgspec.Raw
    name: str | None = None
    charger_ids: tuple[str, ...] = ()
    equalizers: tuple[str, ...] = ()


def listed_chargers(body: bytes) -> Iterator[ListedCharger]:
    """Yield the entries of the charger list, one read at a time.

    Raises:
        DecodeError: It is no JSON list.
    """
    for text, entry in _entries(body, "charger list"):
        yield ListedCharger(text, _serial(entry))


def listed_sites(body: bytes) -> Iterator[ListedSite]:
    """Yield the entries of the list of sites, one read at a time.

    Raises:
        DecodeError: It is no JSON list.
    """
    for text, entry in _entries(body, "site list"):
        site = read_site(entry)
        yield ListedSite(text) if site is None else _listed(text, site)


def parts(
    entries: Iterable[tuple[msgspec.Raw, int | None]], partitions: Collection[int]
) -> dict[int, bytes]:
    """Return the parts of a list of several partitions, each a list.

    Args:
        entries: Each with the partition that serves it; None: no one does.
        partitions: Those that are wanted.
    """
    found: dict[int, list[msgspec.Raw]] = {number: [] for number in partitions}
    for text, number in entries:
        if number in found:
            found[number].append(text)
    return {number: msgspec.json.encode(texts) for number, texts in found.items()}


def _entries(body: bytes, source: str) -> Iterator[tuple[msgspec.Raw, object]]:
    entries = list_entries(body, source)
    if entries is None:
        raise DecodeError("no list", source=source)
    for text in entries:
        yield text, parse_json(bytes(text), source)


def _listed(text: msgspec.Raw, site: Site) -> ListedSite:
    return ListedSite(text, site.addressee, site.charger_ids, site.equalizers)


def _serial(entry: object) -> str | None:
    """Return the serial of an entry, whatever case its keys have."""
    keys: Iterator[str] = iter(entry) if isinstance(entry, dict) else iter(())
    for key in keys:
        if key.lower() == "id" and has_serial(entry, key):
            return str(entry[key])  # type: ignore[index]  # has_serial knows
    return None
