"""Reads the schedules that the cloud holds for each charger, and publishes them.

Rules:

1. They are read once for each charger that is added, one after the other and :data:`SPACING_S`
   apart; again when the charger reports another schedule, and after each schedule command.
2. What a command waits for is asked at once.
3. The cloud's summary tells all of them in one request. What it does not mention is asked for.
4. A failure is repeated after a longer time each; what the cloud refuses, after a day.
5. The document is published again when a period begins or ends.
"""

import itertools
import math
from collections.abc import Hashable, Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from bridge.core.backoff import exponential_delay_s
from bridge.core.changes import SchedulesChanged
from bridge.core.domain_events import (
    NOTHING,
    ChargersAdded,
    ChargersRemoved,
    CommandFinished,
    Input,
    ObservationApplied,
    Output,
    Outputs,
    SchedulesRead,
    SchedulesWanted,
)
from bridge.core.easee import roles
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.rest_requests import READ_TIMEOUT_S, plan_request
from bridge.core.easee.schedule_times import UNKNOWN, Standing, standing
from bridge.core.easee.schedules import SUMMARY, Schedules, missing_kinds, read_schedules
from bridge.core.effects import LogEntry, SendRequest
from bridge.core.events import CloudFailed, CloudResponse, MqttConnected, Tick
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.core.value_format import Value
from bridge.errors import CloudError, CloudRejected, DecodeError

NOT_FOUND: Final = 404
# What is needed to serve a charger goes first.
FIRST_READ_S: Final = 3.0
SPACING_S: Final = 2.0
# The cloud has the new schedule a moment after the charger reports it; several move together.
SETTLES_S: Final = 1.0
FIRST_RETRY_S: Final = 60.0
LONGEST_RETRY_S: Final = 3600.0
REFUSED_RETRY_S: Final = 24 * 3600.0
LOST_GRACE_S: Final = 5.0
# So often it is looked at whether a period lasts, besides its ends: the clock may be set.
CLOCK_CHECK_S: Final = 300.0
SCHEDULE_COMMANDS: Final = frozenset(
    spec.name for spec in CATALOGUE.values() if spec.shown_by_schedules is not None
)


class _Charger(msgspec.Struct):
    """What is known of the schedules of one charger.

    Attributes:
        due_s: Monotonic time of the next read; never: infinite.
        is_urgent: A command waits for it.
        failures: Reads that failed since the last good one.
        schedules: The newest ones, or None before the first read.
        read_at: When the cloud was asked for them, or None.
        asked_s: Likewise on the monotonic clock.
        standing: As it was published.
        look_s: Monotonic time at which it is looked at whether that has changed.
        reported: Observation 62 as it was seen last: time and value.
    """

    due_s: float
    is_urgent: bool = False
    failures: int = 0
    schedules: Schedules | None = None
    read_at: datetime | None = None
    asked_s: float = -math.inf
    standing: Standing = UNKNOWN
    look_s: float = math.inf
    reported: tuple[datetime, Value] | None = None


class _Reading(msgspec.Struct):
    """One reading in progress.

    Attributes:
        asked: When the first request was sent.
        due_s: Monotonic time at which the request counts as lost.
        resource: What was asked last.
        bodies: Answers so far, by resource.
    """

    charger_id: str
    asked: Timestamp
    is_urgent: bool
    due_s: float
    resource: str = SUMMARY
    bodies: dict[str, bytes] = msgspec.field(default_factory=dict)


class ScheduleReader:
    """The schedules of all chargers that are served."""

    name = "schedules"
    interests = frozenset(
        {
            ChargersAdded,
            ChargersRemoved,
            CommandFinished,
            MqttConnected,
            ObservationApplied,
            SchedulesRead,
            SchedulesWanted,
        }
    )

    def __init__(self) -> None:
        """Start without chargers."""
        self._chargers: dict[str, _Charger] = {}
        self._readings: dict[Hashable, _Reading] = {}
        self._numbers = itertools.count(1)
        self._free_s = -math.inf
        # The charger whose schedules are being given to the others.
        self._telling: str | None = None
        self._due_s: float | None = None

    def handle(self, event: Input, now: Timestamp) -> Outputs:  # noqa: C901, PLR0912 - one case per event
        """Handle chargers, reports of a schedule, answers of the cloud, and ticks."""
        match event:
            case ObservationApplied(observation):
                if observation.spec.id != roles.CHARGING_SCHEDULE:
                    return NOTHING
                reported = observation.measured_at, observation.value
                self._reported(observation.charger_id, reported, now)
                return NOTHING
            case CommandFinished(charger_id, command):
                if command in SCHEDULE_COMMANDS and charger_id != self._telling:
                    self._want(charger_id, now.mono_s, is_urgent=True)
                return NOTHING
            case SchedulesWanted(charger_id):
                self._want(charger_id, now.mono_s, is_urgent=True)
                return NOTHING
            case ChargersAdded(charger_ids):
                for charger_id in charger_ids:
                    self._chargers.setdefault(charger_id, _Charger(now.mono_s + FIRST_READ_S))
            case ChargersRemoved(charger_ids):
                for charger_id in charger_ids:
                    self._chargers.pop(charger_id, None)
            case MqttConnected():
                return self._publish_all()
            case SchedulesRead():
                return self._read(event, now)
            case CloudResponse(tag, body=body):
                return self._answered(tag.ref, body, now)
            case CloudFailed(tag, error):
                return self._failed(tag.ref, error, now)
            case Tick():
                return self._tick(now)
        self._plan()
        return NOTHING

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which there is something to do, or None."""
        return self._due_s

    def _plan(self) -> None:
        """Compute the next deadline."""
        is_busy = self._is_busy()
        due_s = min((reading.due_s for reading in self._readings.values()), default=math.inf)
        for charger in self._chargers.values():
            due_s = min(due_s, charger.look_s)
            if charger.is_urgent:
                due_s = min(due_s, charger.due_s)
            elif not is_busy:
                due_s = min(due_s, max(charger.due_s, self._free_s))
        self._due_s = due_s if due_s < math.inf else None

    # -- when to read ------------------------------------------------------------------------

    def _want(self, charger_id: str, at_s: float, *, is_urgent: bool = False) -> None:
        charger = self._chargers.get(charger_id)
        if charger is None:
            return
        charger.due_s = min(charger.due_s, at_s)
        charger.is_urgent = charger.is_urgent or is_urgent
        # The others are due when they were before.
        due_s = min(self._read_at_s(charger), math.inf if self._due_s is None else self._due_s)
        self._due_s = None if due_s == math.inf else due_s

    def _read_at_s(self, charger: _Charger) -> float:
        """Return when a charger may be read."""
        if charger.is_urgent:
            return charger.due_s
        return math.inf if self._is_busy() else max(charger.due_s, self._free_s)

    def _is_busy(self) -> bool:
        """Return whether a reading that nobody waits for is under way."""
        return any(not reading.is_urgent for reading in self._readings.values())

    def _reported(self, charger_id: str, reported: tuple[datetime, Value], now: Timestamp) -> None:
        """Handle a schedule that a charger reports; one from before the last read is known."""
        charger = self._chargers.get(charger_id)
        if charger is None:
            return
        before, charger.reported = charger.reported, reported
        asked_at = charger.read_at or max(
            (r.asked.wall for r in self._readings.values() if r.charger_id == charger_id),
            default=None,
        )
        is_newer = asked_at is None or reported[0] > asked_at
        if is_newer if before is None else reported != before:
            self._want(charger_id, now.mono_s + SETTLES_S)

    def _tick(self, now: Timestamp) -> Iterator[Output]:
        for number, reading in list(self._readings.items()):
            if reading.due_s <= now.mono_s:
                del self._readings[number]
                self._retry(reading.charger_id, now, 0.0)
        read = {reading.charger_id for reading in self._readings.values()}
        is_free = now.mono_s >= self._free_s and not self._is_busy()
        for charger_id, charger in self._chargers.items():
            if charger.look_s <= now.mono_s and self._stands_anew(charger, now):
                yield self._change(charger_id, charger)
            may_read = charger.is_urgent or (is_free and charger_id not in read)
            if charger.due_s <= now.mono_s and may_read:
                if not charger.is_urgent:
                    self._free_s, is_free = now.mono_s + SPACING_S, False
                yield self._ask(_Reading(charger_id, now, charger.is_urgent, 0.0), now)
                charger.due_s, charger.is_urgent = math.inf, False
        self._plan()

    # -- reading -----------------------------------------------------------------------------

    def _ask(self, reading: _Reading, now: Timestamp) -> SendRequest:
        number = next(self._numbers)
        reading.due_s = now.mono_s + READ_TIMEOUT_S + LOST_GRACE_S
        self._readings[number] = reading
        path = "" if reading.resource == SUMMARY else f"/{reading.resource}"
        request = plan_request(reading.charger_id, f"{SUMMARY}{path}")
        if reading.is_urgent:
            request = replace(request, command=True)
        return SendRequest(Tag(self.name, number), request, READ_TIMEOUT_S)

    def _answered(self, number: Hashable, body: bytes, now: Timestamp) -> Iterator[Output]:
        reading = self._readings.pop(number, None)
        if reading is not None and reading.charger_id in self._chargers:
            reading.bodies[reading.resource] = body
            yield from self._continue(reading, now)
        self._plan()

    def _continue(self, reading: _Reading, now: Timestamp) -> Iterator[Output]:
        """Ask for what the summary does not mention, or hand over what was read."""
        charger_id = reading.charger_id
        missing = missing_kinds(reading.bodies[SUMMARY])
        kind = next((each for each in missing if each not in reading.bodies), None)
        if kind is not None:
            reading.resource = kind
            yield self._ask(reading, now)
            return
        try:
            schedules = read_schedules(reading.bodies)
        except DecodeError as error:
            yield self._log("schedules.unreadable", charger_id, error.reason)
            self._retry(charger_id, now, REFUSED_RETRY_S)
            return
        if schedules.unreadable:
            yield self._log("schedules.unreadable", charger_id, ", ".join(schedules.unreadable))
        self._telling = charger_id
        yield SchedulesRead(charger_id, schedules, reading.asked.mono_s)
        self._telling = None

    def _failed(self, number: Hashable, error: CloudError, now: Timestamp) -> Iterator[Output]:
        reading = self._readings.pop(number, None)
        if reading is not None and reading.charger_id in self._chargers:
            if isinstance(error, CloudRejected) and error.status == NOT_FOUND:
                reading.bodies[reading.resource] = b""
                yield from self._continue(reading, now)
            else:
                is_refused = isinstance(error, CloudRejected)
                if is_refused:
                    yield self._log("schedules.refused", reading.charger_id, str(error))
                wait_s = REFUSED_RETRY_S if is_refused else error.retry_after_s
                self._retry(reading.charger_id, now, wait_s or 0.0)
        self._plan()

    def _retry(self, charger_id: str, now: Timestamp, wait_s: float) -> None:
        charger = self._chargers.get(charger_id)
        if charger is None:
            return
        charger.failures += 1
        delay_s = exponential_delay_s(
            charger.failures, first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S
        )
        self._want(charger_id, now.mono_s + max(delay_s, wait_s))

    def _log(self, event: str, charger_id: str, error: str) -> LogEntry:
        return LogEntry("info", event, {"charger_id": charger_id, "error": error})

    # -- publishing --------------------------------------------------------------------------

    def _read(self, event: SchedulesRead, now: Timestamp) -> Iterator[Output]:
        """Publish what was read, for this component or for a query."""
        charger = self._chargers.get(event.charger_id)
        if charger is None or event.asked_s < charger.asked_s:
            return
        charger.failures = 0
        charger.schedules, charger.asked_s = event.schedules, event.asked_s
        age = timedelta(seconds=now.mono_s - event.asked_s)
        charger.read_at = now.wall - age if now.trusted else None
        self._stands_anew(charger, now)
        yield self._change(event.charger_id, charger)
        self._plan()

    def _stands_anew(self, charger: _Charger, now: Timestamp) -> bool:
        """Compute what the schedule in force means now; return whether that has changed."""
        schedules, before = charger.schedules, charger.standing
        known = schedules is not None and now.trusted
        charger.standing = standing(schedules, now.wall) if schedules and known else UNKNOWN
        changes_at, wait_s = charger.standing.changes_at, CLOCK_CHECK_S
        if changes_at is not None:
            wait_s = min(wait_s, (changes_at - now.wall).total_seconds())
        charger.look_s = now.mono_s + wait_s
        return charger.standing != before

    def _change(self, charger_id: str, charger: _Charger) -> SchedulesChanged:
        schedules = charger.schedules or Schedules()
        return SchedulesChanged(charger_id, schedules, charger.standing, charger.read_at)

    def _publish_all(self) -> Iterator[Output]:
        for charger_id, charger in self._chargers.items():
            if charger.schedules is not None:
                yield self._change(charger_id, charger)
