"""Metrics: name, type and unit of everything a device or the node reports.

Rules:

1. The names are those of the native topics. Type and unit of an observation follow from its row;
   what comes in another type is converted, and is null where that cannot be done.
2. Personal observations are no metrics: a birth repeats its values, and a host keeps them.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import msgspec

from bridge.conventions.sparkplug.payload import DataType, MetricValue
from bridge.core.addressees import CHARGER, EQUALIZER, Kind
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.derived_state import DERIVED, SWITCH_VALUES, DerivedTopic
from bridge.core.easee.equalizer import EQUALIZER as EQUALIZER_ROWS
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.observation_spec import DataType as VendorType
from bridge.core.easee.observation_spec import ObservationSpec
from bridge.core.easee.selection import EVERYTHING, Selection
from bridge.core.value_format import format_scalar

COMMAND: Final = "Command/"
RESULT: Final = "Result/"
SESSION: Final = "Session/"
# The hash of a tag: never in a birth.
AUTH: Final = "Session/auth"
BDSEQ: Final = "bdSeq"
REBIRTH: Final = "Node Control/Rebirth"
# Ours, of the node.
VERSION, CLOUD, HEALTH, ALERTS = "Bridge/version", "Bridge/cloud", "Bridge/health", "Bridge/alerts"
REPORTS = "Bridge/reports_sent"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INT64: Final = range(-(1 << 63), 1 << 63)
_DIGITS: Final = re.compile(r"\s*-?[0-9]{1,19}\s*", re.ASCII).fullmatch
_WORDS: Final = MappingProxyType({"true": True, "1": True, "false": False, "0": False})


class MetricType(msgspec.Struct, frozen=True, gc=False):
    """What a birth says of a metric besides its value.

    Attributes:
        datatype: Of its values.
        unit: As the vendor spells it, or None.
    """

    datatype: DataType
    unit: str | None = None


STRING: Final = MetricType(DataType.STRING)
BOOLEAN: Final = MetricType(DataType.BOOLEAN)
INTEGER: Final = MetricType(DataType.INT64)
DOUBLE: Final = MetricType(DataType.DOUBLE)
TIME: Final = MetricType(DataType.DATE_TIME)

_BY_VENDOR_TYPE: Final = {
    VendorType.BOOLEAN: DataType.BOOLEAN,
    VendorType.DOUBLE: DataType.DOUBLE,
    VendorType.INTEGER: DataType.INT64,
}
_BY_CONTROL: Final = {"button": BOOLEAN, "switch": BOOLEAN, "select": STRING}


def observation_type(spec: ObservationSpec) -> MetricType:
    """Return the type of the metric of an observation."""
    plain = _BY_VENDOR_TYPE.get(spec.kind, DataType.STRING)
    return MetricType(DataType.STRING if spec.always_text else plain, spec.unit)


def command_type(name: str) -> MetricType:
    """Return the type of the metric that a command is written to.

    A number is a double; a command without a control of its own takes what its native topic takes,
    as text.
    """
    control = CATALOGUE[name].control
    if isinstance(control, str):
        return STRING
    return _BY_CONTROL.get(control.kind) or MetricType(DataType.DOUBLE, control.unit)


SESSION_TYPES: Final[Mapping[str, MetricType]] = MappingProxyType(
    {
        "key": STRING,
        "revision": INTEGER,
        "session_id": INTEGER,
        "started_at": TIME,
        "ended_at": TIME,
        "energy_kwh": MetricType(DataType.DOUBLE, "kWh"),
        "meter_start_kwh": MetricType(DataType.DOUBLE, "kWh"),
        "meter_stop_kwh": MetricType(DataType.DOUBLE, "kWh"),
        "auth_reason": INTEGER,
        "auth_reason_name": STRING,
        "offline": BOOLEAN,
        "incomplete": STRING,
        "clock": STRING,
        "auth": STRING,
        "source": STRING,
        "measured_at": TIME,
        "received_at": TIME,
    }
)

NODE_TYPES: Final[Mapping[str, MetricType]] = MappingProxyType(
    {**dict.fromkeys((VERSION, CLOUD, HEALTH, ALERTS), STRING), REPORTS: INTEGER}
)


def device_types(
    kind: Kind, commands: Iterable[str], selection: Selection = EVERYTHING
) -> dict[str, MetricType]:
    """Return the metrics of a kind of device by name, in the order of its birth.

    Args:
        kind: Charger or Equalizer.
        commands: Names of the commands that are allowed.
        selection: The values that are published.
    """
    rows = EQUALIZER_ROWS if kind == EQUALIZER else REGISTRY
    specs = (spec for spec in rows.values() if not spec.personal and selection.has(spec))
    found = {spec.name: observation_type(spec) for spec in specs}
    derived = EQUALIZER_DERIVED if kind == EQUALIZER else DERIVED
    shown = (topic for topic in derived if selection.has_derived(topic.name))
    found |= {topic.name: _derived_type(topic) for topic in shown}
    if kind == CHARGER:
        found |= {SESSION + name: session for name, session in SESSION_TYPES.items()}
    for name in commands:
        if name in CATALOGUE and kind in CATALOGUE[name].of:
            found[COMMAND + name] = command_type(name)
            found[RESULT + name] = STRING
    return found


def _derived_type(topic: DerivedTopic) -> MetricType:
    if topic.unit is not None:
        return MetricType(DataType.DOUBLE, topic.unit)
    return BOOLEAN if topic.values == SWITCH_VALUES else STRING


def milliseconds(at: datetime) -> int:
    """Return a time as Sparkplug has it: milliseconds since 1970, none before that."""
    return max(0, (at - _EPOCH) // _MILLISECOND)


_MILLISECOND: Final = datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC) - _EPOCH


def converted(value: object, datatype: DataType) -> MetricValue | None:
    """Return a value in the type of its metric; None where it has none in it."""
    if isinstance(value, datetime):
        return milliseconds(value)
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if not isinstance(value, bool | int | float | str):
        return None
    match datatype:
        case DataType.STRING:
            return value if isinstance(value, str) else format_scalar(value).decode()
        case DataType.BOOLEAN:
            return _flag(value)
        case DataType.DOUBLE:
            return _number(value)
        case _:
            return _whole(value)


def _flag(value: bool | float | str) -> bool | None:
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower())
    return bool(value) if value in (0, 1) else None


def _number(value: bool | float | str) -> float | None:
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _whole(value: bool | float | str) -> int | None:
    if isinstance(value, str):
        text = value.strip()
        if not (
            text.isascii()
            and text.removeprefix("-").isdigit()
            and len(text) <= len(str(_INT64.stop))
        ):
            return None
        found = int(text)
    elif isinstance(value, float) and not value.is_integer():
        return None
    else:
        found = int(value)
    return found if found in _INT64 else None
