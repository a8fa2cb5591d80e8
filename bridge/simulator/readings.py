"""Observations as the cloud keeps and sends them.

Rules:

1. On the hub a value is always text; booleans are ``1`` and ``0`` (evcc accepts nothing else).
   Over REST the same value is typed JSON.
2. Stamps have whole seconds. What the cloud itself stamps (250, 251) has milliseconds, a schedule
   (62) microseconds (evcc#20791).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bridge.simulator.observation_table import DataType, PublishedObservation

Value = bool | int | float | str

MILLISECOND_IDS = frozenset({250, 251})
MICROSECOND_IDS = frozenset({62})


@dataclass(frozen=True, slots=True)
class Reading:
    """The last word on one observation.

    Attributes:
        value: As Python holds it.
        data_type: The vendor's type code.
        measured_at: Charger time, UTC.
    """

    value: Value
    data_type: int
    measured_at: datetime


@dataclass(frozen=True, slots=True)
class Update:
    """One observation for the subscribed clients."""

    charger_id: str
    observation_id: int
    reading: Reading


@dataclass(frozen=True, slots=True)
class Response:
    """A charger response for the subscribed clients.

    Attributes:
        command_id: The vendor's command id.
        ticks: Names the command.
        sent_at: When the cloud took the command.
        delivered_at: When the charger got it.
        accepted: What it said.
    """

    charger_id: str
    command_id: int
    ticks: int
    sent_at: datetime
    delivered_at: datetime
    accepted: bool


def data_type_of(
    observations: Mapping[int, PublishedObservation], observation_id: int, value: Value
) -> int:
    """Return the type code an observation is sent with.

    The table decides; an id without a name or a published type goes by its value.
    """
    published = observations.get(observation_id)
    if published is not None and published.name and published.data_type is not None:
        return int(published.data_type)
    if isinstance(value, bool):
        return int(DataType.BOOLEAN)
    if isinstance(value, int):
        return int(DataType.INTEGER)
    return int(DataType.DOUBLE if isinstance(value, float) else DataType.STRING)


def fitted(data_type: int, value: Value) -> Value:
    """Convert a value to its type; a double gets the noise of a float32, as on the wire."""
    if data_type == DataType.DOUBLE and isinstance(value, int | float):
        return float32(float(value))
    if data_type == DataType.INTEGER and isinstance(value, float):
        return round(value)
    return value


def float32(value: float) -> float:
    """Round to the nearest float32: ``6.053`` becomes ``6.052999973297119``."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def wire_text(value: Value) -> str:
    """Format a value as the hub does."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def stamp(observation_id: int, at: datetime) -> str:
    """Format the charger's timestamp of an observation."""
    return utc_text(at, _precision(observation_id))


def trimmed(observation_id: int, at: datetime) -> datetime:
    """Truncate a time to the precision of the observation's timestamp."""
    match _precision(observation_id):
        case "microseconds":
            return at
        case "milliseconds":
            return at.replace(microsecond=at.microsecond // 1000 * 1000)
        case _:
            return at.replace(microsecond=0)


def utc_text(at: datetime, precision: str = "seconds") -> str:
    """Format a time in ISO 8601 with ``Z``.

    Args:
        at: Aware.
        precision: As ``datetime.isoformat`` takes it.
    """
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _precision(observation_id: int) -> str:
    if observation_id in MILLISECOND_IDS:
        return "milliseconds"
    return "microseconds" if observation_id in MICROSECOND_IDS else "seconds"
