"""Apply observations to the chargers that are served, and publish their availability.

Rules:

1. Observations that arrived together are applied one after the other. An error in one costs no
   other.
2. An observation that other components follow is given to them before the next one is applied.
"""

from collections.abc import Callable, Iterator

from bridge.core.chargers.fleet import ChargerRegistry, batched
from bridge.core.domain_events import (
    NOTHING,
    AvailabilityDoubted,
    ChargersAdded,
    ChargersRemoved,
    CommandFinished,
    DerivedTold,
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
    ) -> None:
        self._chargers = chargers
        self._status = status
        self._followed = followed
        self._expects = expects

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
            yield f"{subject.device} is not served: it is neither listed nor configured"
        elif subject.branch in ("observation", "state", "availability"):
            yield from charger.state.explain(subject, now)

    def deadline_s(self) -> float | None:
        """Return when a charger falls silent next, or None."""
        return self._chargers.deadline_s()

    def _observed(self, event: ObservationsReceived, now: Timestamp) -> Outputs:
        followed = self._followed
        for raw in event.observations:
            if raw.id in followed:
                return self._one_by_one(event, now)
        found: list[Found] = []
        self._apply(event.observations, event.source, now, found)
        return batched(found)

    def _apply(
        self,
        observations: tuple[RawObservation, ...],
        source: str,
        now: Timestamp,
        found: list[Found],
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

    def _one_by_one(self, event: ObservationsReceived, now: Timestamp) -> Iterator[Output]:
        """Apply observations some of which other components follow."""
        for raw in event.observations:
            found: list[Found] = []
            if raw.id in self._followed:
                self._apply_followed(raw, event.source, now, found)
            else:
                self._apply((raw,), event.source, now, found)
            yield from batched(found)

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
