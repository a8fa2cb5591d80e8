"""Absence: chargers that are no longer in the account's lists.

Rules:

1. A charger has left when three lists within :data:`WINDOW_S` did not name it. Lists that come in
   one breath count once: what the vendor says twice within seconds is one mistake.
2. Only a list that was read whole counts. A failure says nothing, and among entries that could not
   be read may be the one that is missed.
3. A list without any charger looks like an outage of the vendor. It counts when there was none but
   such for :data:`EMPTY_FOR_S`.
4. Who was never listed cannot leave: a configured charger may be one the list does not show.
"""

from collections import deque
from collections.abc import Collection

from bridge.core.records.moment import Timestamp

LISTS = 3
WINDOW_S = 900.0
MIN_INTERVAL_S = 30.0
EMPTY_FOR_S = 600.0
# So many lists without a charger are worth an alert.
DOUBTFUL = 2


class Absence:
    """Counts the lists in a row that a charger is missing from."""

    def __init__(self) -> None:
        self._listed: set[str] = set()
        self._missed: dict[str, deque[float]] = {}
        self._empty_since_s: float | None = None

    @property
    def is_counting(self) -> bool:
        """Whether any charger is missing: then the next list is requested soon."""
        return bool(self._missed)

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Return the chargers missed more than once that do not count as removed yet."""
        return tuple(sorted(i for i, times in self._missed.items() if len(times) >= DOUBTFUL))

    def remembered(self, charger_ids: Collection[str]) -> None:
        """Restore the chargers listed in an earlier run."""
        self._listed.update(charger_ids)

    def listed(
        self,
        charger_ids: Collection[str],
        served: Collection[str],
        now: Timestamp,
        *,
        is_whole: bool,
    ) -> tuple[str, ...]:
        """Handle a list.

        Args:
            charger_ids: Who is on it.
            served: Who is served now.
            now: When it came.
            is_whole: Every entry could be read.

        Returns:
            Who has left.
        """
        found = set(charger_ids)
        known = self._listed.intersection(served)
        self._listed = known | found
        if not is_whole:
            self._missed = {i: times for i, times in self._missed.items() if i not in found}
            return ()
        if found:
            self._empty_since_s = None
        elif self._empty_since_s is None:
            self._empty_since_s = now.mono_s
        self._missed = {i: self._missed.get(i, deque(maxlen=LISTS)) for i in sorted(known - found)}
        left = tuple(i for i, times in self._missed.items() if self._has_left(times, now.mono_s))
        for charger_id in left:
            del self._missed[charger_id]
            self._listed.discard(charger_id)
        return left

    def _has_left(self, times: deque[float], mono_s: float) -> bool:
        if not times or mono_s - times[-1] >= MIN_INTERVAL_S:
            times.append(mono_s)
        since_s = self._empty_since_s
        is_sure = since_s is None or mono_s - since_s >= EMPTY_FOR_S
        return is_sure and len(times) == LISTS and times[-1] - times[0] <= WINDOW_S
