"""Topic filters of single chargers, Equalizers and sites, where several partitions divide them.

The gateway of a whole installation subscribes to the commands of everything. That of a partition
subscribes to those of what it serves: commands for others are not delivered to it.
"""

from collections.abc import Collection, Iterator

from bridge.core.domain_events import (
    NOTHING,
    EqualizersChanged,
    Input,
    Output,
    Outputs,
    ServedChargersChanged,
    SitesListed,
)
from bridge.core.effects import Listen
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics


class DeviceSubscriptions:
    """Subscribe to the topics of what is served.

    Args:
        topics: The tree.
        sites: Those that are published, by name.
    """

    name = "subscriptions"
    interests = frozenset({ServedChargersChanged, EqualizersChanged, SitesListed})

    def __init__(self, topics: Topics, sites: Collection[str]) -> None:
        self._topics = topics
        self._sites = sites
        self._chargers: tuple[str, ...] = ()
        self._equalizers: tuple[str, ...] = ()
        self._told: Listen | None = None

    def handle(self, event: Input, _now: Timestamp) -> Outputs:
        """Handle what changes which devices and sites are served."""
        match event:
            case ServedChargersChanged(charger_ids):
                self._chargers = charger_ids
            case EqualizersChanged(serials):
                self._equalizers = serials
            case SitesListed():
                pass  # they were applied before
            case _:
                return NOTHING
        return self._changed()

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""

    def _changed(self) -> Iterator[Output]:
        topics = self._topics
        devices = tuple(dict.fromkeys((*self._chargers, *self._equalizers)))
        names = (*devices, *sorted(self._sites))
        listen = Listen(
            tuple(one for name in names for one in topics.requests_of(name)),
            tuple(one for device in devices for one in topics.echoes_of(device)),
        )
        if listen != self._told:
            self._told = listen
            yield listen
