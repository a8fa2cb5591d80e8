"""What the chargers of a benchmark say: the same records, in the same order, for every contender.

Every record has a value and a stamp of its own, so nobody may drop one as unchanged. Records that
follow each other come from different chargers, as in a fleet: caches that only help a replay do not
help here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bridge.core.chargers.fleet import EVENT_SOURCE_IDS, METERED_IDS
from bridge.core.easee import roles
from bridge.core.easee.derived_state import BY_SOURCE
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.observation_spec import DataType, ObservationSpec

RECORD_END = b"\x1e"
FINAL = 0x80
TEXT = 0x1
MAX_SHORT_LENGTH = 125
MAX_MIDDLE_LENGTH = 0xFFFF
# A million of them stay within the minutes that two clocks may differ by.
STEP = timedelta(microseconds=100)
CHARGING_SESSION = 129
# What is published as it comes and has no further effect: one observation, one message.
_FOLLOWED = BY_SOURCE.keys() | EVENT_SOURCE_IDS | METERED_IDS | {roles.FIRMWARE}
_NUMBERS = (DataType.DOUBLE, DataType.INTEGER)
# Texts that are published whatever they say: settings, addresses, ids and versions.
_TEXTS = frozenset({6, 54, 82, 84, 107, 133, 134, 135, 137, 139, 156, 157, 233, 234, 240})
# Numbers without labels come first, so that a small fleet sends numbers only.
PLAIN: tuple[ObservationSpec, ...] = tuple(
    sorted(
        (
            spec
            for spec in REGISTRY.values()
            if (spec.kind in _NUMBERS or spec.id in _TEXTS)
            and not (spec.labels or spec.personal or spec.id in _FOLLOWED)
        ),
        key=lambda spec: (spec.kind not in _NUMBERS, spec.id),
    )
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many chargers, and how many different observations each of them sends."""

    chargers: int = 50
    observations: int = 100

    def __post_init__(self) -> None:
        """Refuse more observations than there are rows to send."""
        if self.observations > len(PLAIN):
            message = f"{self.observations} observations: at most {len(PLAIN)} can be sent"
            raise ValueError(message)

    @property
    def serials(self) -> tuple[str, ...]:
        """Their serials."""
        return tuple(f"EH{100_000 + number}" for number in range(self.chargers))

    @property
    def topics(self) -> int:
        """How many observations make up a round: one of everything."""
        return self.chargers * self.observations

    def specs(self) -> tuple[ObservationSpec, ...]:
        """Return the rows of the registry that are sent."""
        return PLAIN[: self.observations]


def value_of(spec: ObservationSpec, turn: int) -> str:
    """Spell the value of a round, as it is sent and as it is published."""
    return f"{turn}.5" if spec.kind is DataType.DOUBLE else str(turn)


def span(fleet: Fleet, turns: range) -> timedelta:
    """Return how far the stamps of these rounds lie apart."""
    return len(turns) * fleet.topics * STEP


def records(fleet: Fleet, turns: range, after: datetime) -> Iterator[bytes]:
    """Word rounds of observations, measured one after the other from a moment on.

    Whoever keeps the newest value drops a round whose stamps are older than the one before, so the
    caller lets each begin where the last one ended.
    """
    at = after.astimezone(UTC)
    for turn in turns:
        for spec in fleet.specs():
            value = value_of(spec, turn)
            for serial in fleet.serials:
                at += STEP
                stamp = at.isoformat(timespec="microseconds")[:-6]
                yield _update(serial, spec.kind, spec.id, stamp, value)


def _update(serial: str, kind: DataType, number: int, stamp: str, value: str) -> bytes:
    """Word one record; quotation marks in the value are escaped already."""
    return (
        f'{{"type":1,"target":"ProductUpdate","arguments":[{{"mid":"{serial}",'
        f'"dataType":{kind.value},"id":{number},"timestamp":"{stamp}Z",'
        f'"value":"{value}"}}]}}\x1e'
    ).encode()


def marker(fleet: Fleet) -> ObservationSpec:
    """Return an observation that the rounds leave out."""
    return PLAIN[fleet.observations]


def report(fleet: Fleet, serial: str, number: int, now: datetime) -> Iterator[bytes]:
    """Word a session report, and before it a value of its number."""
    stamp = now.isoformat(timespec="seconds")[:-6]
    began = (now - timedelta(hours=2)).isoformat(timespec="seconds")[:-6]
    session = (
        f'{{"Id":{number},"Start":"{began}Z","Stop":"{stamp}Z","EnergyKwh":7.5,'
        f'"MeterValueStart":{number}.0,"MeterValueStop":{number + 7}.5,"AuthReason":1}}'
    )
    spec = marker(fleet)
    yield _update(serial, spec.kind, spec.id, stamp, str(number))
    yield _update(serial, DataType.STRING, CHARGING_SESSION, stamp, session.replace('"', '\\"'))


def framed(payload: bytes) -> bytes:
    """Put a text into a WebSocket frame, as a server sends it."""
    size = len(payload)
    if size <= MAX_SHORT_LENGTH:
        head = bytes((FINAL | TEXT, size))
    elif size <= MAX_MIDDLE_LENGTH:
        head = bytes((FINAL | TEXT, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((FINAL | TEXT, 127)) + size.to_bytes(8, "big")
    return head + payload


def frames(texts: Iterator[bytes], each: int) -> Iterator[bytes]:
    """Put so many records into a frame."""
    held: list[bytes] = []
    for text in texts:
        held.append(text)
        if len(held) == each:
            yield framed(b"".join(held))
            held.clear()
    if held:
        yield framed(b"".join(held))
