"""Apply observations to the chargers that are served, and publish their availability.

Rules:

1. Observations that arrived together are applied one after the other. An error in one costs no
   other.
2. An observation that other components follow is given to them before the next one is applied.
3. Observations of other devices are passed on together. Those of a device that is not ours are
   counted and ignored: the hub goes on sending for chargers that were unsubscribed (pyeasee notes
   that unsubscribing does not work).
"""

from collections.abc import Callable, Container, Iterator
from itertools import chain

from bridge.core.chargers.fleet import ChargerRegistry, batched
from bridge.core.domain_events import (
    NOTHING,
    AvailabilityDoubted,
    ChargersAdded,
    ChargersRemoved,
    CommandFinished,
    DerivedTold,
    EqualizerValuesReceived,
    EventHandled,
    Found,
    Input,
    ObservationApplied,
    Output,
    Outputs,
    UnmatchedResponse,
)
from bridge.core.easee.decode import Observation
from bridge.core.easee.enumerations import command_name
from bridge.core.easee.rest_requests import is_serial
from bridge.core.events import (
    ChargerResponse,
    ComponentFailed,
    MqttConnected,
    ObservationsReceived,
    ReportSaved,
    ReportSaveFailed,
    ReportsRead,
)
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.status import Status
from bridge.core.subjects import Subject

# Returns whether a command of ours may be why an observation of a charger changes.
Expects = Callable[[str, int, Timestamp], bool | None]
SMART_CHARGING_COMMAND = "smart_charging"


class ObservationService:
    """Apply observations, and find out which chargers are available.

    Args:
        chargers: The chargers.
        status: Counters.
        followed: Ids of observations that other components follow.
        expects: Returns whether a command of ours may have caused an observation.
        equalizers: Serials of the Equalizers that are served.

    Attributes:
        deadline_s: Returns when a charger falls silent next, or None.
    """

    name = "observations"
    interests = frozenset(
        {
            ObservationsReceived,
            ChargerResponse,
            UnmatchedResponse,
            DerivedTold,
            CommandFinished,
            MqttConnected,
            ChargersAdded,
            ChargersRemoved,
            AvailabilityDoubted,
            EventHandled,
        }
    )

    def __init__(
        self,
        chargers: ChargerRegistry,
        status: Status,
        *,
        followed: frozenset[int],
        expects: Expects,
        equalizers: Container[str] = (),
    ) -> None:
        self._chargers = chargers
        self._status = status
        self._followed = followed
        self._expects = expects
        self._equalizers = equalizers
        self.deadline_s = chargers.deadline_s

    def handle(self, event: Input, now: Timestamp) -> Outputs:  # noqa: C901 - one case per event
        """Handle observations, charger responses, and chargers that are added or removed."""
        fleet = self._chargers
        match event:
            case EventHandled():
                return fleet.availability(now) if fleet.is_touched(now) else NOTHING
            case ObservationsReceived():
                return self._observed(event, now)
            case ChargerResponse(charger_id):
                if charger_id not in fleet.chargers:
                    self._status.counters["responses_of_unknown_chargers"] += 1
            case UnmatchedResponse(response):
                return self._unmatched(response, now)
            case DerivedTold(charger_id, name, value) if charger_id in fleet.chargers:
                return fleet.chargers[charger_id].state.told(name, value)
            case CommandFinished():
                return self._finished(event, now)
            case ChargersAdded(charger_ids):
                fleet.add(charger_ids)
            case ChargersRemoved(charger_ids):
                return fleet.remove(charger_ids, now)
            case AvailabilityDoubted(charger_ids):
                # Those of Equalizers are published by their own service.
                doubted = [fleet.chargers[each] for each in charger_ids if each in fleet.chargers]
                return [charger.state.availability_again(now) for charger in doubted]
            case MqttConnected():
                return self._publications(now)
        return NOTHING

    def explain(self, subject: Subject, now: Timestamp) -> Iterator[str]:
        """Say why a value or the availability of a charger is what it is."""
        charger = self._chargers.chargers.get(subject.device)
        if charger is None:
            # Other topics are of sites, of the bridge or of a convention, and an Equalizer explains
            # its own.
            if subject.device in self._equalizers or not is_serial(subject.device):
                return
            yield f"{subject.device} is not served: it is neither listed nor configured"
        elif subject.branch in ("observation", "state", "availability"):
            yield from charger.state.explain(subject, now)

    def _observed(self, event: ObservationsReceived, now: Timestamp) -> Outputs:
        """Apply the observations of chargers, then pass on those of other devices."""
        chargers, followed = self._chargers.chargers, self._followed
        ours: list[RawObservation] = []
        others: list[RawObservation] = []
        is_followed = False
        for raw in event.observations:
            if raw.charger_id not in chargers:
                others.append(raw)
                continue
            ours.append(raw)
            if raw.id in followed:
                is_followed = True
        self._status.counters["observations"] += len(event.observations)
        if is_followed:
            outputs: Outputs = self._in_parts(ours, event.source, now)
        else:
            found: list[Found] = []
            self._apply(ours, event.source, now, found)
            outputs = batched(found)
        return chain(outputs, self._of_others(others, event.source)) if others else outputs

    def _apply(
        self, observations: list[RawObservation], source: str, now: Timestamp, found: list[Found]
    ) -> None:
        """Apply observations that no other component follows."""
        chargers = self._chargers
        for raw in observations:
            try:
                observation = chargers.read(raw, source, now, found)
                if observation is not None:
                    chargers.apply(observation, source, now, found, ours=False)
            except Exception as error:  # noqa: BLE001 - one value must not cost the next
                found.append(ComponentFailed(self.name, "", error))

    def _in_parts(
        self, observations: list[RawObservation], source: str, now: Timestamp
    ) -> Iterator[Output]:
        """Apply observations some of which other components follow: a part ends with each."""
        found: list[Found] = []
        part: list[RawObservation] = []
        for raw in observations:
            if raw.id not in self._followed:
                part.append(raw)
                continue
            self._apply(part, source, now, found)
            self._apply_followed(raw, source, now, found)
            yield from batched(found)
            part.clear()
            found.clear()
        self._apply(part, source, now, found)
        yield from batched(found)

    def _of_others(self, observations: list[RawObservation], source: str) -> Iterator[Output]:
        """Pass on what Equalizers sent; count what came of devices that are not ours."""
        known = tuple(raw for raw in observations if raw.charger_id in self._equalizers)
        if known:
            yield EqualizerValuesReceived(known, source)
        unknown = len(observations) - len(known)
        if unknown:
            self._status.counters["observations_of_unknown_chargers"] += unknown

    def _apply_followed(
        self, raw: RawObservation, source: str, now: Timestamp, found: list[Found]
    ) -> None:
        chargers = self._chargers
        observation: Observation | None = None
        try:
            observation = chargers.read(raw, source, now, found)
            if observation is not None:
                ours = bool(self._expects(raw.charger_id, raw.id, now))
                chargers.apply(observation, source, now, found, ours=ours)
        except Exception as error:  # noqa: BLE001 - one value must not cost the next
            found.append(ComponentFailed(self.name, "", error))
        if observation is not None:
            state = chargers.chargers[observation.charger_id].state
            found.append(ObservationApplied(observation, state))

    def _unmatched(self, response: ChargerResponse, now: Timestamp) -> Outputs:
        """Publish the event of a response that no command of ours caused."""
        charger = self._chargers.chargers.get(response.charger_id)
        self._status.counters["foreign_commands"] += 1
        if charger is None:
            return NOTHING
        name = command_name(response.command_id or 0)
        return (charger.announcer.foreign_command(response, name, now),)

    def _finished(self, event: CommandFinished, now: Timestamp) -> Outputs:
        """Publish the one setting that cannot be read back, when its command is confirmed."""
        charger = self._chargers.chargers.get(event.charger_id)
        is_shown = event.is_carried_out and event.command == SMART_CHARGING_COMMAND
        if charger is None or not is_shown:
            return NOTHING
        return charger.state.smart_charging_setting(bool(event.argument), now)

    def _publications(self, now: Timestamp) -> Iterator[Output]:
        """Publish everything again; one charger that cannot be shown does not hide the others.

        Also when the broker remembers our session: a mosquitto that was killed restores an older
        store, says session_present, and has lost what was retained since.
        """
        for charger in self._chargers.chargers.values():
            try:
                yield from charger.publications(now)
            except Exception as error:  # noqa: BLE001 - one charger must not cost the next
                yield ComponentFailed(self.name, "", error)


class SessionDisplay:
    """Show a session as the last one of its charger when it was stored, or could not be."""

    name = "last_session"
    interests = frozenset({ReportSaved, ReportSaveFailed, ReportsRead})

    def __init__(self, chargers: ChargerRegistry) -> None:
        self._chargers = chargers

    def handle(self, event: Input, _now: Timestamp) -> Outputs:
        """Handle reports that were stored, read, or could not be stored."""
        match event:
            case ReportSaved(stored) | ReportsRead(reports=(*_, stored)):
                return self._chargers.report_stored(stored.report, (stored.key, stored.revision))
            case ReportSaveFailed(report):
                return self._chargers.report_stored(report)
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""
