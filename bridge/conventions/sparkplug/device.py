"""One device of the edge node, or the node itself: its metrics and what the host was told of them.

Rules:

1. Every metric has its current value, with the time at which it was measured. A birth carries all
   of them, data only what changed since.
2. The quality is 192 while the device is available and the metric has a value, else 0. Data carries
   it where it is another one than before.
3. With aliases data has an alias instead of the name; both come with a birth then. Without them
   there is the name only: not every host knows aliases.
4. Data carries the type too, which the specification advises against: Eclipse Tahu's decoder for
   JavaScript reads no value without it.
5. Within a message that is not historical, metrics are in the order of their timestamps.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

import msgspec

from bridge.conventions.sparkplug.metrics import (
    AUTH,
    COMMAND,
    SESSION,
    SESSION_TYPES,
    MetricType,
    converted,
)
from bridge.conventions.sparkplug.payload import (
    DataType,
    Metric,
    MetricValue,
    PropertyInput,
    encode_metric,
)

GOOD, BAD = 0xC0, 0x00
QUALITY: Final = "Quality"
UNIT: Final = "engUnit"
# Results that wait for a host that is slow; more of one device are not asked for at once.
MAX_RESULTS = 100
_NAME_LENGTH_BITS: Final = 16


class Aliases:
    """Numbers of metric names, the same for all devices, from 1 on.

    Attributes:
        are_used: In messages; without them there are names only.
    """

    def __init__(self, *, are_used: bool) -> None:
        self.are_used = are_used
        self._numbers: dict[str, int] = {}

    def of(self, device: int, name: str) -> int:
        """Return the alias of a metric, unique in the node."""
        return device << _NAME_LENGTH_BITS | self._numbers.setdefault(name, len(self._numbers) + 1)


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A value of a metric.

    Attributes:
        value: In the type of the metric; None where there is none.
        at_ms: When it was measured, milliseconds since 1970.
        properties: Besides quality and unit.
    """

    value: MetricValue | None
    at_ms: int
    properties: tuple[PropertyInput, ...] = ()


class Device:
    """The metrics of one device.

    Attributes:
        is_online: It is available.
        is_gone: It is to be forgotten.
        is_born: The host knows it, and that it is not dead.
        was_born: It was born in this session.
        is_barred: The broker takes no message as large as its birth.
    """

    def __init__(self, number: int, types: Mapping[str, MetricType], aliases: Aliases) -> None:
        """Start without values.

        Args:
            number: Unique in the node.
            types: Its metrics.
            aliases: Of the node.
        """
        self.is_online = self.is_gone = False
        self.is_born = self.was_born = self.is_barred = False
        self._number = number
        self._types = types
        self._further: dict[str, MetricType] = {}
        self._aliases = aliases
        self._readings: dict[str, Reading] = {}
        self._changed: dict[str, None] = {}
        self._events: deque[tuple[str, Reading]] = deque(maxlen=MAX_RESULTS)
        self._bad: set[str] = set()

    # -- what is known -------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """Return whether there is data for the host."""
        return bool(self._changed or self._events)

    def is_metric(self, name: str) -> bool:
        """Return whether there is a metric of this name."""
        return name in self._types or name in self._further

    def replace_types(self, types: Mapping[str, MetricType]) -> None:
        """Replace the metrics that all devices have."""
        self._types = types
        self.is_born = False

    def set(self, name: str, value: object, at_ms: int, kind: MetricType) -> None:
        """Set the current value of a metric.

        Args:
            name: Of the metric.
            value: It; None where it is not known any more.
            at_ms: When it was measured.
            kind: Of the metric, where it is a new one: then a new birth is due.
        """
        known = self._types.get(name) or self._further.get(name)
        if known is None:
            known = self._further[name] = kind
            self.is_born = False
        found = None if value is None else converted(value, known.datatype)
        held = self._readings.get(name)
        self._readings[name] = Reading(found, at_ms)
        if held is None or held.value != found:
            self._changed[name] = None

    def add(self, name: str, value: str, at_ms: int, properties: tuple[PropertyInput, ...]) -> None:
        """Add a value of which none may be left out between the one before and the next."""
        reading = Reading(value, at_ms, properties)
        self._readings[name] = reading
        self._events.append((name, reading))

    def remember(self, readings: Mapping[str, Reading]) -> None:
        """Set values for the next birth where none is newer; personal ones are left out."""
        for name, reading in readings.items():
            held = self._readings.get(name)
            if name != AUTH and (held is None or held.at_ms <= reading.at_ms):
                self._readings[name] = reading

    def names(self) -> dict[int, str]:
        """Return the names of the metrics by alias."""
        if not self._aliases.are_used:
            return {}
        every = (*self._types, *self._further)
        return {self._aliases.of(self._number, name): name for name in every}

    # -- messages ------------------------------------------------------------------------------

    def birth(self, now_ms: int) -> list[bytes]:
        """Write every metric with its current value; nothing is news after it."""
        self._changed.clear()
        self._events.clear()
        self._bad.clear()
        self.is_born = self.was_born = True
        kinds = {**self._types, **self._further}
        blank = Reading(None, now_ms)
        found = [(self._readings.get(name, blank), name, kind) for name, kind in kinds.items()]
        found.sort(key=_at)
        return [self._born(name, kind, reading) for reading, name, kind in found]

    def data(self) -> list[bytes]:
        """Write what changed; nothing is news after it."""
        changed = [(self._readings[name], name) for name in self._changed]
        changed += ((reading, name) for name, reading in self._events)
        self._changed.clear()
        self._events.clear()
        changed.sort(key=_at)
        return [self._news(name, reading) for reading, name in changed]

    def historical(self, readings: Mapping[str, Reading], *, is_late: bool) -> list[bytes]:
        """Write values as of one moment.

        Args:
            readings: By metric.
            is_late: They are history.
        """
        return [
            self._news_of(
                name, SESSION_TYPES[name.removeprefix(SESSION)], reading, is_historical=is_late
            )
            for name, reading in readings.items()
        ]

    def _born(self, name: str, kind: MetricType, reading: Reading) -> bytes:
        quality = self._quality(name, reading)
        if quality == BAD:
            self._bad.add(name)
        unit = () if kind.unit is None else ((UNIT, DataType.STRING, kind.unit),)
        metric = Metric(
            name,
            self._aliases.of(self._number, name) if self._aliases.are_used else None,
            reading.at_ms,
            kind.datatype,
            reading.value,
            properties=((QUALITY, DataType.INT32, quality), *unit, *reading.properties),
        )
        return encode_metric(metric)

    def _news(self, name: str, reading: Reading) -> bytes:
        kind = self._types.get(name) or self._further[name]
        quality = self._quality(name, reading)
        properties = reading.properties
        if (quality == BAD) != (name in self._bad):
            (self._bad.add if quality == BAD else self._bad.discard)(name)
            properties = ((QUALITY, DataType.INT32, quality), *properties)
        return self._news_of(name, kind, reading, properties)

    def _news_of(
        self,
        name: str,
        kind: MetricType,
        reading: Reading,
        properties: tuple[PropertyInput, ...] = (),
        *,
        is_historical: bool = False,
    ) -> bytes:
        aliased = self._aliases.are_used
        metric = Metric(
            "" if aliased else name,
            self._aliases.of(self._number, name) if aliased else None,
            reading.at_ms,
            kind.datatype,
            reading.value,
            is_historical,
            properties,
        )
        return encode_metric(metric)

    def _quality(self, name: str, reading: Reading) -> int:
        """Return the quality; a command can be written without having a value."""
        has_value = reading.value is not None or name.startswith(COMMAND)
        return GOOD if self.is_online and has_value else BAD


def _at(found: tuple[Reading, *tuple[object, ...]]) -> int:
    return found[0].at_ms
