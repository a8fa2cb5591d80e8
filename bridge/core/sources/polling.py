"""Polling: when observations are read over REST while the stream is not available.

Rules:

1. The stream comes first. Polling starts when the stream has been away for a minute, or ten
   seconds after the hub refused us, and ends the moment it is back; with ``source: poll`` there is
   no stream and polling is all there is. Chargers that an open stream refuses are read all the
   same. With ``source: amqp``, which repeats no values, each charger is read once.
2. ``/state/{id}/observations`` takes 100 requests in 5 minutes for the whole account. Polling
   keeps to 80 of them whatever the number of chargers: two reads are never closer than 3.75 s,
   and the interval grows with the fleet instead. The rest is left for people who ask.
3. One read per charger at a time. A charger whose reads fail is asked less and less often.
"""

from collections.abc import Collection

import msgspec

from bridge.core.backoff import exponential_delay_s

# easee-rest: 100 requests in 5 minutes on this endpoint; 80 leave room for queries and refreshes.
WINDOW_S = 300.0
READS_PER_WINDOW = 80
MIN_INTERVAL_S = WINDOW_S / READS_PER_WINDOW
# A stream that reconnects within a minute replays everything; reading too would be for nothing.
GRACE_S = 60.0
# One that refuses us takes another token within seconds, or none at all.
REFUSED_GRACE_S = 10.0
MAX_BACKOFF_S = 900.0
# A read that was never answered nor failed within this time is forgotten; the REST side gives
# every request a deadline, so this only guards against a lost event.
READ_TIMEOUT_S = 120.0
# Spread is not needed: reads are spaced one by one anyway.
AT_ONCE = float("-inf")
NEVER = float("inf")
# Polling delivers as long as some read was answered within so many intervals.
INTERVALS_TO_DELIVER = 3


class _Reads(msgspec.Struct):
    """The reads of one charger.

    Attributes:
        next_at_s: When the next one is due.
        running_since_s: When the running one started, or None.
        failures: How many failed in a row.
        fresh: No read was handed out since polling became active.
    """

    next_at_s: float = AT_ONCE
    running_since_s: float | None = None
    failures: int = 0
    fresh: bool = True


class Polling:
    """Decides which charger to read next, and when.

    Attributes:
        active: Polling is the current source, as of the last call of :meth:`due`.
    """

    def __init__(self, source: str, interval_s: float, *, grace_s: float = GRACE_S) -> None:
        """Start with no chargers and the stream neither up nor down.

        Args:
            source: ``"stream"``, ``"poll"``, or ``"amqp"``, which does not repeat values: each
                charger is read once.
            interval_s: Seconds between two reads of one charger, if the limit allows.
            grace_s: How long the stream may be away before polling takes over.
        """
        self._always = source == "poll"
        self._reads_once = source == "amqp"
        self._unread: set[str] = set()
        self._interval_s = interval_s
        self._grace_s = grace_s
        self._reads: dict[str, _Reads] = {}
        self._refused: frozenset[str] = frozenset()
        self.active = self._always
        self._up_at_s: float | None = None
        self._down_at_s = NEVER
        self._free_at_s = AT_ONCE
        self._held_until_s = AT_ONCE
        self._answered_at_s = AT_ONCE
        self._stopped = False
        self._deadline_s: float | None = None

    # -- what happens -------------------------------------------------------------------------

    def watch(self, charger_ids: tuple[str, ...], mono_s: float) -> None:
        """Poll exactly these chargers; new ones are due at once.

        While nothing was heard of the stream yet it counts as away from this moment.
        """
        if self._up_at_s is None and self._down_at_s == NEVER:
            self._down_at_s = mono_s
        if self._reads_once:
            new = set(charger_ids) - self._reads.keys()
            self._unread = (self._unread | new) & set(charger_ids)
        self._reads = {id_: self._reads.get(id_, _Reads()) for id_ in charger_ids}
        self._plan()

    def stream_up(self, mono_s: float) -> None:
        """Record that the stream is open: polling stops."""
        self._up_at_s = mono_s
        self.active = self._always
        self._plan()

    def stream_down(self, mono_s: float, *, refused: bool = False) -> None:
        """Record that the stream is not available.

        A stream that was up for less than the grace time counts as never having been there, so
        one that comes and goes cannot keep polling away for ever.

        Args:
            mono_s: When.
            refused: The hub is there, and does not want us.
        """
        up_at_s, self._up_at_s = self._up_at_s, None
        stayed = up_at_s is not None and mono_s - up_at_s >= self._grace_s
        if stayed or self._down_at_s == NEVER:
            self._down_at_s = mono_s
        if refused:
            left_s = min(REFUSED_GRACE_S, self._grace_s)
            self._down_at_s = min(self._down_at_s, mono_s - self._grace_s + left_s)
        self._plan()

    def refused(self, charger_ids: Collection[str]) -> None:
        """Set the chargers that the open stream refuses."""
        self._refused = frozenset(charger_ids)
        if self._up_at_s is not None and not self._refused:
            self.active = self._always
        self._plan()

    def started(self, charger_id: str, mono_s: float) -> None:
        """Record a read of this charger, also one requested elsewhere."""
        if reads := self._reads.get(charger_id):
            reads.running_since_s = mono_s
            reads.next_at_s = mono_s + self.period_s
            self._plan()

    def answered(self, charger_id: str, mono_s: float) -> None:
        """Record that a read succeeded at this time."""
        self._answered_at_s = mono_s
        self._unread.discard(charger_id)
        if reads := self._reads.get(charger_id):
            reads.running_since_s = None
            reads.failures = 0
            reads.next_at_s = max(reads.next_at_s, mono_s + MIN_INTERVAL_S)
            self._plan()

    def failed(self, charger_id: str, mono_s: float, retry_after_s: float | None = None) -> None:
        """Record that a read failed.

        Args:
            charger_id: The charger.
            mono_s: When.
            retry_after_s: How long the cloud asked us to wait, or None. It means the account, so
                all reads wait.
        """
        if retry_after_s is not None:
            self._held_until_s = max(self._held_until_s, mono_s + retry_after_s)
        if reads := self._reads.get(charger_id):
            reads.running_since_s = None
            reads.failures += 1
            wait_s = exponential_delay_s(
                reads.failures,
                first_s=self.period_s,
                longest_s=max(MAX_BACKOFF_S, self.period_s),
            )
            reads.next_at_s = mono_s + wait_s
        self._plan()

    def stop(self) -> None:
        """Stop polling; the program is about to end."""
        self._stopped = True
        self.active = False
        self._plan()

    # -- what follows -------------------------------------------------------------------------

    def delivering(self, mono_s: float) -> bool:
        """Return whether polling is the current source and its reads are answered."""
        lasts_s = max(INTERVALS_TO_DELIVER * self._interval_s, READ_TIMEOUT_S)
        is_source = self._up_at_s is None or self._always or bool(self._refused)
        return self.active and is_source and mono_s - self._answered_at_s <= lasts_s

    @property
    def period_s(self) -> float:
        """Seconds between two reads of one charger, stretched to what the limit allows."""
        return max(self._interval_s, MIN_INTERVAL_S * len(self._reads))

    def deadline_s(self) -> float | None:
        """Return when :meth:`due` wants to be asked again; a past moment means now."""
        return self._deadline_s

    def due(self, mono_s: float) -> tuple[str, ...]:
        """Return the reads that are due now; each counts as started."""
        if self._deadline_s is None or mono_s < self._deadline_s:
            return ()
        if not self.active:
            self.active = True
            for reads in self._reads.values():
                reads.fresh = True
                reads.next_at_s = mono_s
            self._plan()
        # Of those that wait for the same free slot, the one that has waited longest goes first.
        due_at_s, _, charger_id = min(
            (self._due_at_s(reads), reads.next_at_s, id_) for id_, reads in self._wanted().items()
        )
        if mono_s < due_at_s:
            return ()
        reads = self._reads[charger_id]
        # The first round is as quick as the limit allows; later ones are spread over the period.
        spacing_s = MIN_INTERVAL_S if reads.fresh else self.period_s / len(self._reads)
        reads.fresh = False
        self._free_at_s = mono_s + spacing_s
        self.started(charger_id, mono_s)
        return (charger_id,)

    def _due_at_s(self, reads: _Reads) -> float:
        at_s = max(reads.next_at_s, self._free_at_s, self._held_until_s)
        if reads.running_since_s is not None:
            at_s = max(at_s, reads.running_since_s + READ_TIMEOUT_S)
        return at_s

    def _plan(self) -> None:
        """Compute the deadline; it is read far more often than it changes."""
        wanted = self._wanted()
        if self._stopped or not wanted:
            self._deadline_s = None
        elif self.active:
            self._deadline_s = min(map(self._due_at_s, wanted.values()))
        elif self._up_at_s is not None:
            self._deadline_s = AT_ONCE
        else:
            self._deadline_s = self._down_at_s + self._grace_s

    def _wanted(self) -> dict[str, _Reads]:
        """Return the chargers whose values have to be read."""
        if self._up_at_s is None or self._always:
            return self._reads
        asked = self._refused | self._unread
        return {id_: self._reads[id_] for id_ in asked if id_ in self._reads}
