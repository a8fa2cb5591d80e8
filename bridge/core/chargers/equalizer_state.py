"""State of one Equalizer: the newest values, paced, and its availability.

Rules:

1. What holds for the values of a charger (:mod:`bridge.core.chargers.state`) holds here too.
2. Values are published at most once in the interval, the newest of each; the first value of an
   observation at once.
"""

import math
from collections.abc import Iterator

from bridge.core.changes import Change, ValueChanged
from bridge.core.chargers.state import ChargerState
from bridge.core.domain_events import Found
from bridge.core.easee import derived_state, roles
from bridge.core.easee.equalizer import EQUALIZER, equalizer_spec_of
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED_BY_SOURCE
from bridge.core.easee.selection import hidden_equalizer_names
from bridge.core.effects import Effect
from bridge.core.records.moment import Timestamp
from bridge.settings import PublishSettings


class EqualizerState(ChargerState):
    """One Equalizer."""

    registry = EQUALIZER
    derived_by = EQUALIZER_DERIVED_BY_SOURCE
    followed = EQUALIZER_DERIVED_BY_SOURCE.keys()
    spec_of = staticmethod(equalizer_spec_of)
    hidden_by = staticmethod(hidden_equalizer_names)

    def __init__(self, serial: str, publish: PublishSettings, salt: bytes) -> None:
        super().__init__(serial, publish, salt)
        self._interval_s = float(publish.equalizer_interval_s)
        self._held: dict[int, ValueChanged] = {}
        self._seen: set[int] = set()
        self._free_s = -math.inf
        self._silent_s = math.inf

    def paced(self, found: list[Found], now: Timestamp) -> Iterator[Found]:
        """Yield what may be published now, and hold the other values."""
        for one in found:
            if not isinstance(one, ValueChanged):
                yield one
            elif one.spec.id not in self._seen:
                self._seen.add(one.spec.id)
                yield one
            else:
                held = self._held.get(one.spec.id)
                is_new = one.is_new or (held is not None and held.is_new)
                self._held[one.spec.id] = one if is_new == one.is_new else _as_new(one)
        yield from self.due(now)

    def due(self, now: Timestamp) -> Iterator[ValueChanged]:
        """Yield the values that are held, when their time has come."""
        if self._held and now.mono_s >= self._free_s:
            self._free_s = now.mono_s + self._interval_s
            held, self._held = self._held, {}
            yield from held.values()

    def tick_s(self) -> float:
        """Return when values that are held are due, or silence makes it unavailable."""
        return min(self._free_s if self._held else math.inf, self._silent_s)

    def publications(self, now: Timestamp) -> Iterator[Change]:
        """Yield everything retained again; what is held is part of it."""
        self._held = {number: one for number, one in self._held.items() if one.spec.personal}
        yield from super().publications(now)

    def availability(self, link_ok: bool, now: Timestamp) -> Iterator[Effect]:
        """Yield the availability if it changed."""
        yield from super().availability(link_ok, now)
        silent_s = self.deadline_s(now) if self.online else None
        self._silent_s = math.inf if silent_s is None else silent_s

    def available(self, link_ok: bool, now: Timestamp) -> bool:
        """Return whether bridge, cloud and Equalizer are all reachable."""
        linked = derived_state.flag(self, roles.CLOUD_LINK)
        return link_ok and linked is not False and self._heard_lately(now)


def _as_new(change: ValueChanged) -> ValueChanged:
    return ValueChanged(
        change.charger_id,
        change.spec,
        change.value,
        change.measured_at,
        change.received_at,
        change.source,
        is_new=True,
        stamp=change.stamp,
    )
