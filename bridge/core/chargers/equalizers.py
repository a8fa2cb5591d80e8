"""The Equalizers of the account: which are served, their values and their availability.

Rules:

1. The account's list of sites decides. Without configured chargers all its Equalizers are served,
   otherwise those of the sites that a served charger belongs to. Those of an earlier process are
   served until the list is read.
2. An error in one value costs no other.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator

from bridge.core.chargers.equalizer_state import EqualizerState
from bridge.core.chargers.fleet import batched
from bridge.core.chargers.undecodable import UndecodableValues
from bridge.core.domain_events import (
    NOTHING,
    AvailabilityDoubted,
    BridgeInfoWanted,
    ChargersConfigured,
    EqualizerFirmware,
    EqualizersChanged,
    EqualizerValuesReceived,
    EventHandled,
    Found,
    Input,
    Output,
    Outputs,
    SitesListed,
)
from bridge.core.easee.decode import decode
from bridge.core.easee.equalizer import EQUALIZER, FIRMWARE_ID, equalizer_spec_of
from bridge.core.effects import LogEntry, Subscribe
from bridge.core.events import (
    ComponentFailed,
    MqttConnected,
    Started,
    Tick,
)
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.status import CloudStatus
from bridge.core.subjects import Subject
from bridge.errors import DecodeError
from bridge.settings import PublishSettings

Equalizers = dict[str, EqualizerState]


class EqualizerService:
    """Serve the Equalizers.

    Args:
        equalizers: Those that are served; changed here only.
        chargers: The chargers that are served.
        configured: Serials that are configured; none: the account's list decides.
        publish: What is published of values, and how often.
        salt: For hashing personal data.
        cloud: What is known of the cloud.
        counters: What is counted for the status.
        undecodable: Where values that could not be decoded are named.
    """

    name = "equalizers"
    interests = frozenset(
        {
            Started,
            SitesListed,
            ChargersConfigured,
            EqualizerValuesReceived,
            MqttConnected,
            AvailabilityDoubted,
            EventHandled,
        }
    )

    def __init__(
        self,
        equalizers: Equalizers,
        chargers: Collection[str],
        configured: tuple[str, ...],
        *,
        publish: PublishSettings,
        salt: bytes,
        cloud: CloudStatus,
        counters: Counter[str],
        undecodable: UndecodableValues,
    ) -> None:
        self._equalizers = equalizers
        self._chargers = chargers
        self._configured = configured
        self._publish = publish
        self._salt = salt
        self._cloud = cloud
        self._counters = counters
        self._undecodable = undecodable

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle the list of sites, observations, the connection, and the time."""
        match event:
            case EventHandled():
                return self._availability(now) if self._equalizers else NOTHING
            case EqualizerValuesReceived():
                return self._observed(event, now)
            case SitesListed():
                return self._listed(event, now)
            case MqttConnected():
                return self._publications(now)
            case AvailabilityDoubted(serials):
                doubted = [self._equalizers[one] for one in serials if one in self._equalizers]
                return [equalizer.availability_again(now) for equalizer in doubted]
            case ChargersConfigured(charger_ids):
                self._configured = charger_ids
            case Started(equalizers=serials, left=left):
                return self._serve(tuple(one for one in serials if one not in left))
            case Tick():
                return self._due(now)
        return NOTHING

    def explain(self, subject: Subject, now: Timestamp) -> Iterator[str]:
        """Say why a value or the availability of an Equalizer is what it is."""
        equalizer = self._equalizers.get(subject.device)
        if equalizer is not None and subject.branch in ("observation", "state", "availability"):
            yield from equalizer.explain(subject, now)

    def deadline_s(self) -> float | None:
        """Return when values that are held are published, or an Equalizer may be silent."""
        due_s = min((one.tick_s() for one in self._equalizers.values()), default=math.inf)
        return due_s if due_s < math.inf else None

    # -- which -------------------------------------------------------------------------------

    def _listed(self, event: SitesListed, now: Timestamp) -> Iterator[Output]:
        served, configured = self._chargers, self._configured
        wanted: dict[str, None] = {}
        for site in event.listed.sites:
            if not configured or any(one in served for one in site.charger_ids):
                wanted |= dict.fromkeys(site.equalizers)
        wanted |= dict.fromkeys(one for one in event.listed.equalizers if one in configured)
        yield from self._serve(tuple(one for one in wanted if one not in served))
        yield from self._remove(event.left, now)

    def _serve(self, serials: tuple[str, ...]) -> Iterator[Output]:
        new = tuple(serial for serial in serials if serial not in self._equalizers)
        if not new:
            return
        for serial in new:
            self._equalizers[serial] = EqualizerState(serial, self._publish, self._salt)
        yield LogEntry("info", "equalizers.added", {"new": new, "all": len(self._equalizers)})
        yield EqualizersChanged(tuple(self._equalizers), added=new)
        yield Subscribe((*self._chargers, *self._equalizers))
        yield BridgeInfoWanted()

    def _remove(self, serials: tuple[str, ...], now: Timestamp) -> Iterator[Output]:
        gone = tuple(serial for serial in serials if serial in self._equalizers)
        if not gone:
            return
        for serial in gone:
            del self._equalizers[serial]
        yield LogEntry("warning", "equalizers.left", {"left": gone})
        yield from self._undecodable.remove(gone, now)
        yield EqualizersChanged(tuple(self._equalizers), removed=gone)
        yield Subscribe((*self._chargers, *self._equalizers))
        yield BridgeInfoWanted()

    # -- values ------------------------------------------------------------------------------

    def _observed(self, event: EqualizerValuesReceived, now: Timestamp) -> Iterator[Output]:
        found: dict[str, list[Found]] = {}
        for raw in event.observations:
            equalizer = self._equalizers.get(raw.charger_id)
            if equalizer is not None:
                self._apply(raw, equalizer, event.source, found.setdefault(raw.charger_id, []), now)
        for serial, effects in found.items():
            yield from batched(self._equalizers[serial].paced(effects, now))

    def _apply(
        self,
        raw: RawObservation,
        equalizer: EqualizerState,
        source: str,
        found: list[Found],
        now: Timestamp,
    ) -> None:
        """Decode one observation and apply it."""
        try:
            observation = decode(raw, EQUALIZER, equalizer_spec_of)
        except DecodeError as error:
            self._counters["observations_undecodable"] += 1
            found += self._undecodable.add(raw.charger_id, raw.id, error, now)
            return
        try:
            found += self._undecodable.discard(raw.charger_id, raw.id, now)
            equalizer.apply(observation, source, now, found)
            if observation.spec.id == FIRMWARE_ID:
                found.append(EqualizerFirmware(raw.charger_id, str(observation.value)))
        except Exception as error:  # noqa: BLE001 - one value must not cost the next
            found.append(ComponentFailed(self.name, "", error))

    def _due(self, now: Timestamp) -> Iterator[Output]:
        for equalizer in self._equalizers.values():
            yield from batched(equalizer.due(now))

    def _publications(self, now: Timestamp) -> Iterator[Output]:
        for equalizer in self._equalizers.values():
            yield from equalizer.publications(now)

    # -- availability ------------------------------------------------------------------------

    def _availability(self, now: Timestamp) -> Outputs:
        link_ok = self._cloud.delivering
        changed: list[Output] = []
        for equalizer in self._equalizers.values():
            changed += equalizer.availability(link_ok, now)
        return changed or NOTHING
