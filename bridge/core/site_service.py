"""The sites of the account: what they have, and the limits of their circuits.

Rules:

1. A site is published when a charger or an Equalizer of it is served, and when that changed.
2. The settings of a circuit are read when it is found, when a charger reports that a limit of its
   circuit changed, and every ten minutes; one request at a time, one a minute for each circuit.
3. Name and address are held only where they may be published.
4. The topics of a circuit that its site does not have any more are emptied at once, those of a site
   that left the account when that is certain (:mod:`bridge.core.sources.absence`). Which there are
   is kept for the next start.
"""

import math
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import replace
from typing import Final

from bridge.core.addressees import site_id_of, site_name
from bridge.core.changes import CircuitChanged, SiteChanged, SiteCleared
from bridge.core.domain_events import (
    NOTHING,
    Input,
    ObservationApplied,
    Output,
    Outputs,
    SitesListed,
)
from bridge.core.easee.json_fields import parsed_object
from bridge.core.easee.rest_requests import (
    READ_TIMEOUT_S,
    circuit_settings_request,
    site_detail_request,
)
from bridge.core.easee.sites import (
    CIRCUIT_LIMIT_IDS,
    Site,
    SiteCircuit,
    circuit_facts,
    site_detail,
)
from bridge.core.effects import LogEntry, SaveState, SendRequest, not_answered
from bridge.core.events import CloudFailed, CloudResponse, MqttConnected, Started, Tick
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.core.value_format import Value
from bridge.errors import CloudError, CloudRejected, DecodeError

NAME: Final = "sites"
EVERY_S: Final = 600.0
# A limit is reported by several observations, one behind the other.
SETTLE_S: Final = 2.0
SPACING_S: Final = 60.0
# What this account may not read.
REJECTED_EVERY_S: Final = 6 * 3600.0

# Site, and circuit; 0 for the site itself.
_Place = tuple[int, int]
_SITE_ITSELF: Final = 0


class SiteService:
    """Publish the sites and their circuits.

    Args:
        sites: Those that are published, by name; changed here only.
        served: What is served of chargers and Equalizers.
        is_personal: Names and addresses are published.
    """

    name = NAME
    interests = frozenset({Started, SitesListed, ObservationApplied, MqttConnected})

    def __init__(
        self, sites: dict[str, Site], served: Container[str], *, is_personal: bool
    ) -> None:
        self._sites = sites
        self._served = served
        self._is_personal = is_personal
        # What is retained, of an earlier process too: circuits by site.
        self._retained: dict[str, set[int]] = {}
        self._values: dict[_Place, dict[str, Value | None]] = {}
        self._due_s: dict[_Place, float] = {}
        self._read_s: dict[_Place, float] = {}
        self._awaited: _Place | None = None

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle the list of sites, limits that changed, answers, and the time."""
        match event:
            case ObservationApplied(observation):
                if observation.spec.id in CIRCUIT_LIMIT_IDS:
                    self._limit_changed(observation.charger_id, now)
            case CloudResponse(body=body):
                return self._answered(body)
            case CloudFailed(error=error):
                return self._failed(error, now)
            case SitesListed():
                return self._listed(event, now)
            case MqttConnected():
                return self._publications()
            case Started(state=state):
                self._restore(state.get(NAME, {}))
            case Tick():
                return self._ask(now)
        return NOTHING

    @property
    def published(self) -> Collection[str]:
        """Return the names of the sites whose topics are published, of an earlier process too."""
        return self._retained

    def deadline_s(self) -> float | None:
        """Return when a circuit is read next; None while an answer is awaited."""
        return None if self._awaited else min(self._due_s.values(), default=None)

    # -- which -------------------------------------------------------------------------------

    def _restore(self, document: Mapping[str, object]) -> None:
        """Restore which topics an earlier process published."""
        listed = document.get("sites")
        for site, circuits in listed.items() if isinstance(listed, dict) else ():
            if site_id_of(str(site)) is not None and isinstance(circuits, list):
                self._retained[str(site)] = {one for one in circuits if isinstance(one, int)}

    def _listed(self, event: SitesListed, now: Timestamp) -> Iterator[Output]:
        listed = {site.addressee: site for site in event.listed.sites}
        before = {site: set(circuits) for site, circuits in self._retained.items()}
        gone = {site_name(site_id) for site_id in event.left_sites}
        for site in listed.values():
            if any(one in self._served for one in (*site.charger_ids, *site.equalizers)):
                yield from self._show(site, now)
            else:
                gone.add(site.addressee)
        for name in sorted(gone & self._retained.keys()):
            yield from self._clear(name)
        if before != self._retained:
            circuits = {site: sorted(ids) for site, ids in sorted(self._retained.items())}
            yield SaveState(NAME, {"sites": circuits})

    def _show(self, site: Site, now: Timestamp) -> Iterator[Output]:
        """Publish a site where it changed, and its circuits."""
        if not self._is_personal:
            site = replace(site, name=None, address={})
        name, known = site.addressee, self._sites.get(site.addressee)
        if known is not None and site.rated_current_a is None:
            site = replace(site, rated_current_a=known.rated_current_a)
        circuit_ids = {circuit.circuit_id for circuit in site.circuits}
        gone = self._retained.get(name, set()) - circuit_ids
        if gone:
            yield from self._clear_circuits(site.site_id, gone)
        self._retained[name] = circuit_ids
        self._sites[name] = site
        if site != known:
            yield SiteChanged(site, self._is_personal)
        if site.rated_current_a is None:
            self._due_s.setdefault((site.site_id, _SITE_ITSELF), now.mono_s)
        for circuit in site.circuits:
            yield from self._told(site.site_id, circuit)
            self._due_s.setdefault((site.site_id, circuit.circuit_id), now.mono_s)

    def _told(self, site_id: int, circuit: SiteCircuit) -> Iterator[Output]:
        return self._update((site_id, circuit.circuit_id), circuit.facts)

    def _clear(self, name: str) -> Iterator[Output]:
        site_id = site_id_of(name)
        circuits = self._retained.pop(name)
        self._sites.pop(name, None)
        if site_id is not None:
            self._forget(site_id, {*circuits, _SITE_ITSELF})
            yield LogEntry("info", "site.cleared", {"site_id": site_id})
            yield SiteCleared(site_id, tuple(sorted(circuits)), is_whole=True)

    def _clear_circuits(self, site_id: int, circuit_ids: set[int]) -> Iterator[Output]:
        self._forget(site_id, circuit_ids)
        yield SiteCleared(site_id, tuple(sorted(circuit_ids)), is_whole=False)

    def _forget(self, site_id: int, circuit_ids: set[int]) -> None:
        for place in ((site_id, one) for one in circuit_ids):
            for held in (self._values, self._due_s, self._read_s):
                held.pop(place, None)

    # -- limits of circuits ------------------------------------------------------------------

    def _limit_changed(self, charger_id: str, now: Timestamp) -> None:
        """Plan to read the circuit of a charger soon."""
        for site in self._sites.values():
            for circuit in site.circuits:
                place = (site.site_id, circuit.circuit_id)
                if charger_id in circuit.charger_ids and place in self._due_s:
                    free_s = self._read_s.get(place, -math.inf) + SPACING_S
                    soon_s = max(now.mono_s + SETTLE_S, free_s)
                    self._due_s[place] = min(self._due_s[place], soon_s)

    def _ask(self, now: Timestamp) -> Outputs:
        due_s = self.deadline_s()
        if due_s is None or now.mono_s < due_s:
            return NOTHING
        place = self._awaited = min(self._due_s, key=lambda one: self._due_s[one])
        self._read_s[place] = now.mono_s
        self._due_s[place] = now.mono_s + EVERY_S
        site_id, circuit_id = place
        is_circuit = circuit_id != _SITE_ITSELF
        request = (
            circuit_settings_request(site_id, circuit_id)
            if is_circuit
            else site_detail_request(site_id)
        )
        return (SendRequest(Tag(self.name), request, READ_TIMEOUT_S),)

    def _answered(self, body: bytes) -> Iterator[Output]:
        place, self._awaited = self._awaited, None
        if place is None or place not in self._due_s:
            return  # it was cleared meanwhile
        try:
            if place[1] == _SITE_ITSELF:
                yield from self._detail(site_detail(body))
            else:
                yield from self._update(place, circuit_facts(parsed_object(body, "circuit")))
        except DecodeError as error:
            yield LogEntry("warning", "site.unreadable", {"error": str(error)})

    def _detail(self, detail: Site) -> Iterator[Output]:
        """Take the rated current of a site, which the list did not tell."""
        self._due_s.pop((detail.site_id, _SITE_ITSELF), None)
        site = self._sites.get(detail.addressee)
        if site is not None and detail.rated_current_a is not None:
            site = replace(site, rated_current_a=detail.rated_current_a)
            self._sites[detail.addressee] = site
            yield SiteChanged(site, self._is_personal)

    def _failed(self, error: CloudError, now: Timestamp) -> Iterator[Output]:
        place, self._awaited = self._awaited, None
        if place in self._due_s and isinstance(error, CloudRejected):
            self._due_s[place] = now.mono_s + REJECTED_EVERY_S
        yield not_answered("site.not_read", error)

    def _update(self, place: _Place, facts: Mapping[str, float | bool | None]) -> Iterator[Output]:
        """Publish the values of a circuit that changed."""
        held = self._values.setdefault(place, {})
        changed = {name: value for name, value in facts.items() if held.get(name) != value}
        if changed:
            held |= changed
            yield CircuitChanged(*place, changed)

    def _publications(self) -> Iterator[Output]:
        for site in self._sites.values():
            yield SiteChanged(site, self._is_personal)
        for place, values in self._values.items():
            yield CircuitChanged(*place, dict(values))
