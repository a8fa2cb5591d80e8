"""The status of several partitions as one.

Rules:

1. The word for the cloud is that of the partitions with chargers: an account that is refused or
   blocked counts for all; otherwise ``connected`` and ``disconnected`` need all of them.
2. What is counted is added up. A partition without an owner has no charger online.
3. An alert that several partitions raise is one, open since the first of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec.structs import asdict, replace

from bridge.core.alerts import MAX_NAMED
from bridge.core.changes import AlertRaised, HealthChanged, ReportCounts

# These concern the account, or the address of this machine.
OF_THE_ACCOUNT: Final = ("auth_failed", "blocked")
DISCONNECTED: Final = "disconnected"


class PartStatus(msgspec.Struct):
    """What the gateway of a partition says of itself.

    Attributes:
        chargers: That it serves.
        equalizers: Likewise.
        devices: Both.
        cloud: Its word for the cloud; empty before the first.
        health: Its newest summary; None before the first.
        alerts: Those that are open, by kind.
        is_told: It said which chargers it serves.
        has_broker: It is connected to the broker, as its own process knows.
        has_stream: It is connected to the hub, likewise.
    """

    chargers: tuple[str, ...] = ()
    equalizers: tuple[str, ...] = ()
    devices: frozenset[str] = frozenset()
    cloud: str = ""
    health: HealthChanged | None = None
    alerts: dict[str, AlertRaised] = msgspec.field(default_factory=dict)
    is_told: bool = False
    has_broker: bool = False
    has_stream: bool = False


class MergedStatus:
    """The status of all partitions.

    Attributes:
        parts: By partition.
        orphans: Partitions that have no owner.
    """

    def __init__(self) -> None:
        self.parts: dict[int, PartStatus] = {}
        self.orphans: frozenset[int] = frozenset()

    def of(self, partition: int) -> PartStatus:
        """Return the status of a partition, which can be changed."""
        return self.parts.setdefault(partition, PartStatus())

    @property
    def chargers(self) -> tuple[str, ...]:
        """Return the chargers of all partitions, each once, sorted."""
        return tuple(sorted({one for part in self._parts for one in part.chargers}))

    @property
    def equalizers(self) -> tuple[str, ...]:
        """Return the Equalizers of all partitions, each once, sorted."""
        return tuple(sorted({one for part in self._parts for one in part.equalizers}))

    @property
    def cloud(self) -> str:
        """Return the word for the cloud."""
        words = {self._word(number) for number in self._deciding()} - {""}
        for word in OF_THE_ACCOUNT:
            if word in words:
                return word
        if len(words) == 1:
            return words.pop()
        return "degraded" if words else DISCONNECTED

    @property
    def online(self) -> int:
        """Return how many chargers are available."""
        return sum(health.chargers_online for health in self._healths())

    @property
    def has_stream(self) -> bool:
        """Return whether every partition with chargers has a connection to the hub."""
        healths = [part.health for part in self.serving]
        return bool(healths) and all(health is not None and health.stream for health in healths)

    @property
    def is_polling(self) -> bool:
        """Return whether values of a partition are read over REST."""
        return any(health.polling for health in self._healths())

    @property
    def store_ok(self) -> bool:
        """Return whether the store takes the rows of every partition."""
        return all(health.store for health in self._healths())

    @property
    def reports(self) -> ReportCounts:
        """Return how many session reports are where."""
        total: Counter[str] = Counter()
        for health in self._healths():
            total.update(asdict(health.reports))
        return ReportCounts(**total)

    @property
    def counters(self) -> Counter[str]:
        """Return how often what happened."""
        total: Counter[str] = Counter()
        for health in self._healths():
            total.update(health.counters)
        return total

    @property
    def alert_kinds(self) -> frozenset[str]:
        """Return the kinds of alerts that a partition has open."""
        return frozenset(kind for part in self._parts for kind in part.alerts)

    def alert(self, kind: str) -> AlertRaised | None:
        """Return an alert of all partitions; None where none has it open."""
        found = {n: part.alerts[kind] for n, part in self.parts.items() if kind in part.alerts}
        if not found:
            return None
        first = min(found.values(), key=lambda one: one.since)
        if len({one.message for one in found.values()}) == 1:
            return first
        said = [f"partition {n:02}: {found[n].message}" for n in sorted(found)]
        more = [f"{len(said) - MAX_NAMED} more"] if len(said) > MAX_NAMED else []
        return replace(first, message="; ".join([*said[:MAX_NAMED], *more]))

    @property
    def _parts(self) -> Iterator[PartStatus]:
        return (self.parts[number] for number in sorted(self.parts))

    def _healths(self) -> Iterator[HealthChanged]:
        owned = (part for number, part in self.parts.items() if number not in self.orphans)
        return (part.health for part in owned if part.health is not None)

    @property
    def serving(self) -> list[PartStatus]:
        """Return the partitions with chargers or Equalizers."""
        return [part for number, part in self.parts.items() if self._counts(number)]

    def _deciding(self) -> Iterable[int]:
        return [number for number in self.parts if self._counts(number)] or list(self.parts)

    def _counts(self, number: int) -> bool:
        part = self.parts[number]
        return bool(part.chargers or part.equalizers)

    def _word(self, number: int) -> str:
        return DISCONNECTED if number in self.orphans else self.parts[number].cloud
