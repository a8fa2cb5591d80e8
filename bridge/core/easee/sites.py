"""Parses the vendor's sites: their circuits, chargers and Equalizers. Raises only ``DecodeError``.

Every key may be missing, null or of another type: what cannot be used is None, and an entry without
an id is dropped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from bridge.core.addressees import site_name
from bridge.core.easee.json_fields import has_serial, integer, parse_json
from bridge.errors import DecodeError

SOURCE = "site list"


class SiteCircuit(msgspec.Struct, frozen=True):
    """A circuit of a site.

    Attributes:
        circuit_id: The vendor's id.
        facts: What the cloud tells of it, by published name: numbers and flags.
        charger_ids: The chargers on it.
    """

    circuit_id: int
    facts: Mapping[str, float | bool | None]
    charger_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """A site of the account.

    Attributes:
        site_id: The vendor's id.
        rated_current_a: Of its main fuse, or None.
        circuits: In the account's order.
        equalizers: Serials.
        name: As its owner calls it; personal data. Kept out of the repr.
        address: Street, zip, city and country as far as the cloud tells; personal data, likewise.
    """

    site_id: int
    rated_current_a: float | None
    circuits: tuple[SiteCircuit, ...]
    equalizers: tuple[str, ...]
    name: str | None = field(default=None, repr=False)
    address: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def addressee(self) -> str:
        """Return what commands, queries and topics call it."""
        return site_name(self.site_id)

    @property
    def charger_ids(self) -> tuple[str, ...]:
        """Return the chargers of all its circuits."""
        return tuple(one for circuit in self.circuits for one in circuit.charger_ids)


class SiteList(msgspec.Struct, frozen=True):
    """The sites an account lists.

    Attributes:
        sites: Each once.
        dropped: Entries, of sites or Equalizers, that cannot be read.
    """

    sites: tuple[Site, ...]
    dropped: int = 0

    @property
    def equalizers(self) -> tuple[str, ...]:
        """Return the Equalizers of all sites."""
        return tuple(dict.fromkeys(serial for site in self.sites for serial in site.equalizers))


# Published names of what the cloud tells of a circuit, by the vendor's key.
CIRCUIT_FACTS: Mapping[str, str] = {
    "ratedCurrent": "rated_current",
    "fuseCurrent": "fuse_current",
    "maxCircuitCurrentP1": "max_circuit_current_p1",
    "maxCircuitCurrentP2": "max_circuit_current_p2",
    "maxCircuitCurrentP3": "max_circuit_current_p3",
    "dynamicCircuitCurrentP1": "dynamic_circuit_current_p1",
    "dynamicCircuitCurrentP2": "dynamic_circuit_current_p2",
    "dynamicCircuitCurrentP3": "dynamic_circuit_current_p3",
    "offlineMaxCircuitCurrentP1": "offline_max_circuit_current_p1",
    "offlineMaxCircuitCurrentP2": "offline_max_circuit_current_p2",
    "offlineMaxCircuitCurrentP3": "offline_max_circuit_current_p3",
    "allowOfflineMaxCircuitCurrent": "allow_offline_max_circuit_current",
    "enableIdleCurrent": "enable_idle_current",
}
# Observations of a charger that show a limit of its circuit.
CIRCUIT_LIMIT_IDS = frozenset({22, 23, 24, 50, 51, 52, 111, 112, 113})
_ADDRESS = ("street", "buildingNumber", "zip", "area", "city", "country")


def site_list(body: bytes) -> SiteList:
    """Read ``GET /api/accounts/products``: a list of sites.

    Raises:
        DecodeError: It is no list.
    """
    entries = parse_json(body, SOURCE)
    if not isinstance(entries, list):
        raise DecodeError("no list", source=SOURCE)
    sites = [read_site(entry) for entry in entries]
    found = {site.site_id: site for site in sites if site is not None}
    dropped = sites.count(None) + sum(map(_unreadable, entries))
    return SiteList(tuple(found.values()), dropped)


def circuit_facts(entry: Mapping[str, object]) -> dict[str, float | bool | None]:
    """Return what a circuit, or its settings, tell, by published name."""
    facts: dict[str, float | bool | None] = {}
    for key, name in CIRCUIT_FACTS.items():
        value = entry.get(key)
        if isinstance(value, bool | int | float):
            is_whole = isinstance(value, float) and value.is_integer()
            facts[name] = int(value) if is_whole else value
    return facts


def site_detail(body: bytes) -> Site:
    """Read ``GET /api/sites/{id}``.

    Raises:
        DecodeError: It is no site.
    """
    site = read_site(parse_json(body, "site"))
    if site is None:
        raise DecodeError("no site with an id", source="site")
    return site


def read_site(entry: object) -> Site | None:
    """Return the site of an entry; None for one without an id."""
    if not isinstance(entry, dict):
        return None
    site_id = integer(entry.get("id"))
    if site_id is None:
        return None
    circuits = (_circuit(one) for one in _list(entry.get("circuits")))
    name = entry.get("name")
    return Site(
        site_id,
        _amount(entry.get("ratedCurrent")),
        tuple(circuit for circuit in circuits if circuit is not None),
        tuple(_serials(entry.get("equalizers"))),
        name if isinstance(name, str) else None,
        _address(entry.get("address")),
    )


def _circuit(entry: object) -> SiteCircuit | None:
    if not isinstance(entry, dict):
        return None
    circuit_id = integer(entry.get("id"))
    if circuit_id is None:
        return None
    return SiteCircuit(circuit_id, circuit_facts(entry), tuple(_serials(entry.get("chargers"))))


def _address(entry: object) -> dict[str, str]:
    if not isinstance(entry, dict):
        return {}
    return {key: text for key in _ADDRESS if isinstance(text := entry.get(key), str) and text}


def _serials(entries: object) -> Iterator[str]:
    for entry in _list(entries):
        if isinstance(entry, dict) and has_serial(entry, "id"):
            yield entry["id"]


def _unreadable(entry: object) -> int:
    """Count the Equalizers of a site that are not spelled like a serial."""
    listed = _list(entry.get("equalizers")) if isinstance(entry, dict) else []
    return sum(not has_serial(one, "id") for one in listed)


def _list(entries: object) -> list[object]:
    """Return a list; anything else, as null, holds nothing."""
    return entries if isinstance(entries, list) else []


def _amount(value: object) -> float | None:
    """Return a number; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else None  # type: ignore[return-value]  # mypy forgets the check
