"""Values that could not be decoded, and the alert that names them."""

from collections.abc import Iterable, Iterator

from bridge.core.alerts import MAX_NAMED, Alerts
from bridge.core.domain_events import Output
from bridge.core.effects import LogEntry
from bridge.core.records.moment import Timestamp
from bridge.errors import DecodeError


class UndecodableValues:
    """Values that could not be decoded, by serial and observation id.

    A value is named in the alert until a good one of that id arrives, and logged once per id.

    Args:
        alerts: Where the alert is raised.

    Attributes:
        named: What is named, by serial and observation id.
    """

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        self.named: set[tuple[str, int]] = set()
        self._logged: set[int] = set()

    def add(self, serial: str, number: int, error: DecodeError, now: Timestamp) -> Iterator[Output]:
        """Record that a value could not be decoded."""
        if number not in self._logged:
            self._logged.add(number)
            facts = {"charger_id": serial, "error": str(error)}
            yield LogEntry("warning", "observation.undecodable", facts)
        if (serial, number) not in self.named:
            self.named.add((serial, number))
            yield from self._alert(now)

    def discard(self, serial: str, number: int, now: Timestamp) -> Iterator[Output]:
        """Record that a value could be decoded."""
        if (serial, number) in self.named:
            self.named.discard((serial, number))
            yield from self._alert(now)

    def remove(self, serials: Iterable[str], now: Timestamp) -> Iterator[Output]:
        """Drop the values of devices that are not served any more."""
        gone = set(serials)
        unreadable = {key for key in self.named if key[0] in gone}
        if unreadable:
            self.named -= unreadable
            yield from self._alert(now)

    def _alert(self, now: Timestamp) -> Iterator[Output]:
        if not self.named:
            yield from self._alerts.clear("undecodable")
            return
        named = [f"{serial}/{number}" for serial, number in sorted(self.named)][:MAX_NAMED]
        more = len(self.named) - len(named)
        yield from self._alerts.raise_(
            "undecodable",
            f"values that could not be read: {', '.join(named)}{f' and {more} more' * (more > 0)}",
            "the last good values stay; report the observation ids if this does not pass",
            now,
        )
