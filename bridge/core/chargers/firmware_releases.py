"""Asks once a day for the newest firmware of each charger, and publishes what is known of it.

Rules:

1. One request a day and charger, one charger after the other, within the request budget. A failure
   is repeated later and later; an answer that names no release counts as one.
2. Observation 80 tells what is installed, and the light strip (46) that an update is running.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from bridge.core.backoff import exponential_delay_s
from bridge.core.changes import DerivedChanged
from bridge.core.domain_events import (
    NOTHING,
    ChargersAdded,
    ChargersRemoved,
    Input,
    ObservationApplied,
    Output,
    Outputs,
)
from bridge.core.easee import roles
from bridge.core.easee.decode import Observation
from bridge.core.easee.derived_state import FIRMWARE_LATEST, FIRMWARE_UPDATE
from bridge.core.easee.firmware import is_updating, latest_release, update_document
from bridge.core.easee.rest_requests import READ_TIMEOUT_S, firmware_request
from bridge.core.easee.selection import Selection
from bridge.core.effects import LogEntry, SendRequest
from bridge.core.events import CloudFailed, CloudResponse, MqttConnected, Tick
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.core.value_format import Value
from bridge.errors import BridgeError, DecodeError

NAME: Final = "firmware"
EVERY_S: Final = 24 * 3600.0
# After a charger was added: the first values of all chargers come before.
FIRST_S: Final = 5.0
BETWEEN_S: Final = 2.0
FIRST_RETRY_S: Final = 300.0
MAX_RETRY_S: Final = EVERY_S


class _Firmware:
    """What is known of the firmware of one charger."""

    def __init__(self) -> None:
        self.installed: Value | None = None
        self.latest: int | str | None = None
        self.updating = False
        self.failures = 0
        # What was published, by name.
        self.shown: dict[str, Value] = {}


class FirmwareReleases:
    """Firmware of all chargers.

    Args:
        selection: The values that are published.
    """

    name = NAME
    interests = frozenset({ChargersAdded, ChargersRemoved, ObservationApplied, MqttConnected})

    def __init__(self, selection: Selection) -> None:
        self._names = tuple(
            name for name in (FIRMWARE_LATEST, FIRMWARE_UPDATE) if selection.has_derived(name)
        )
        self._chargers: dict[str, _Firmware] = {}
        # When each is asked for next.
        self._due: dict[str, float] = {}
        self._asked: str | None = None
        self._free_s = 0.0

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle chargers, their observations, answers of the cloud, and ticks."""
        if not self._names:
            return NOTHING
        match event:
            case ObservationApplied(observation) if observation.spec.id in _FOLLOWED:
                return self._observed(observation)
            case CloudResponse(body=body):
                return self._answered(body, now)
            case CloudFailed(error=error):
                return self._failed(error, now)
            case Tick():
                return self._tick(now)
            case MqttConnected():
                return self._again()
            case ChargersAdded(charger_ids):
                self._add(charger_ids, now)
            case ChargersRemoved(charger_ids):
                self._remove(charger_ids)
        return NOTHING

    def deadline_s(self) -> float | None:
        """Return when the next charger is asked for; None while an answer is awaited."""
        if self._asked is not None or not self._due:
            return None
        return max(self._free_s, min(self._due.values()))

    def _add(self, charger_ids: Iterable[str], now: Timestamp) -> None:
        for charger_id in charger_ids:
            self._chargers.setdefault(charger_id, _Firmware())
            self._due.setdefault(charger_id, now.mono_s + FIRST_S)

    def _remove(self, charger_ids: Collection[str]) -> None:
        for charger_id in charger_ids:
            self._chargers.pop(charger_id, None)
            self._due.pop(charger_id, None)

    def _observed(self, observation: Observation) -> Iterator[Output]:
        charger_id = observation.charger_id
        firmware = self._chargers.get(charger_id)
        if firmware is None:
            return
        if observation.spec.id == roles.FIRMWARE:
            firmware.installed, firmware.updating = observation.value, False
        else:
            firmware.updating = is_updating(observation.value)
        yield from self._show(charger_id, firmware)

    def _tick(self, now: Timestamp) -> Iterator[Output]:
        due_s = self.deadline_s()
        if due_s is None or now.mono_s < due_s:
            return
        charger_id = min(self._due, key=self._due.__getitem__)
        self._asked = charger_id
        yield SendRequest(Tag(NAME), firmware_request(charger_id), READ_TIMEOUT_S)

    def _answered(self, body: bytes, now: Timestamp) -> Iterator[Output]:
        charger_id, firmware = self._over(now)
        if firmware is None:
            return
        try:
            firmware.latest = latest_release(body)
        except DecodeError as error:
            yield from self._later(charger_id, firmware, error, now)
            return
        firmware.failures = 0
        self._due[charger_id] = now.mono_s + EVERY_S
        yield from self._show(charger_id, firmware)

    def _failed(self, error: BridgeError, now: Timestamp) -> Iterator[Output]:
        charger_id, firmware = self._over(now)
        if firmware is not None:
            yield from self._later(charger_id, firmware, error, now)

    def _over(self, now: Timestamp) -> tuple[str, _Firmware | None]:
        """Return the charger that an answer is about; it may have left."""
        charger_id, self._asked = self._asked or "", None
        self._free_s = now.mono_s + BETWEEN_S
        return charger_id, self._chargers.get(charger_id)

    def _later(
        self, charger_id: str, firmware: _Firmware, error: BridgeError, now: Timestamp
    ) -> Iterator[Output]:
        firmware.failures += 1
        self._due[charger_id] = now.mono_s + exponential_delay_s(
            firmware.failures, first_s=FIRST_RETRY_S, longest_s=MAX_RETRY_S
        )
        yield LogEntry("info", "firmware.failed", {"charger_id": charger_id, "error": str(error)})

    def _show(self, charger_id: str, firmware: _Firmware) -> Iterator[Output]:
        """Publish what changed."""
        update = update_document(firmware.installed, firmware.latest, updating=firmware.updating)
        values: dict[str, Value | None] = {
            FIRMWARE_LATEST: firmware.latest,
            FIRMWARE_UPDATE: update if firmware.installed is not None else None,
        }
        for name in self._names:
            value = values[name]
            if value is not None and firmware.shown.get(name) != value:
                firmware.shown[name] = value
                yield DerivedChanged(charger_id, name, value)

    def _again(self) -> Iterator[Output]:
        """Publish everything again, as after the broker lost its memory."""
        for charger_id, firmware in self._chargers.items():
            for name, value in firmware.shown.items():
                yield DerivedChanged(charger_id, name, value)


_FOLLOWED: Final = frozenset({roles.FIRMWARE, roles.LED_MODE})
