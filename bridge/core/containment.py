"""Contains errors in the component in which they occur.

Rules:

1. What a component yielded before its error counts, and all other components go on as before.
2. ``bridge/alert/internal_error`` names the components that failed. It stands until a restart, or
   until a day went by without another error: a component that failed may have lost something.
3. A component that fails when its time has come is left alone for a second, then for longer, and so
   is its deadline. The same holds for one that is due again and again whatever it does. An error
   must not become a loop.
4. A line in the log for each component, at most one a minute, with the number of errors.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import ParamSpec, TypeVar

import msgspec

from bridge.core.alerts import Alerts
from bridge.core.backoff import exponential_delay_s
from bridge.core.domain_events import Input, Outputs
from bridge.core.effects import Effect, LogEntry
from bridge.core.records.moment import Timestamp

ALERT = "internal_error"
HINT = "restart the bridge, and report it with the log line component.failed"
STANDS_S = 24 * 3600.0
NOTED_EVERY_S = 60.0
FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 300.0
# So many times in a row a component was due again right after its ``Tick``.
MAX_UNCHANGED_TICKS = 1000

P = ParamSpec("P")
T = TypeVar("T")


class Slot(msgspec.Struct, eq=False):
    """A component in the list of the router.

    Attributes:
        name: Of the component, for the alert.
        handle: Takes an event.
        wants_s: Returns the monotonic time at which it has something to do, or None.
        due_s: What ``wants_s`` returned last; infinite for None, the past where it fails.
        is_stale: It handled something since then.
        failures: How often in a row it failed when its time had come.
        rests_until_s: It gets no ``Tick`` before.
    """

    name: str
    handle: Callable[[Input, Timestamp], Outputs]
    wants_s: Callable[[], float | None]
    due_s: float = -math.inf
    is_stale: bool = True
    failures: int = 0
    rests_until_s: float = -math.inf


class _Failing(msgspec.Struct):
    """A component that failed.

    Attributes:
        kind: Name of the last error's type.
        doing: Name of the event it was handling.
        error: The last error, until it is noted in the log.
        count: How many were not noted.
        noted_s: When the last line was written.
    """

    kind: str = ""
    doing: str = ""
    error: Exception | None = None
    count: int = 0
    noted_s: float = float("-inf")


class Containment:
    """Keep the errors of components, and when a component that failed gets a ``Tick`` again.

    Attributes:
        doing: Name of the event that is being handled.
        asked_s: When components that are due were last asked.
        failing: What failed and is to be told, or is told and not over; by component.
        errors: How many errors there were.
    """

    def __init__(self, alerts: Alerts) -> None:
        self.doing = ""
        self.errors = 0
        self.asked_s = -math.inf
        self._alerts = alerts
        self.failing: dict[str, _Failing] = {}
        self._is_untold = False
        self._last_s = 0.0
        self._in_vain = 0

    def question(self, name: str, function: Callable[P, T]) -> Callable[P, T | None]:
        """Return a function that another component may call; it returns None where it fails."""
        return partial(self._ask, name, function)

    def _ask(
        self, name: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the border of a component
            self.failed(name, error)
            return None

    def failed(self, name: str, error: Exception, doing: str = "") -> None:
        """Record an error for the next :meth:`tell`."""
        failing = self.failing.setdefault(name, _Failing())
        failing.kind, failing.error = type(error).__name__, error
        failing.doing = doing or self.doing
        failing.count += 1
        self.errors += 1
        self._is_untold = True

    # -- time --------------------------------------------------------------------------------

    def deadline_s(self, slots: Iterable[Slot]) -> float | None:
        """Return the monotonic time at which the first of them wants to be asked, or None."""
        first = math.inf
        for slot in slots:
            if slot.is_stale and not self.renew(slot):
                continue  # it is still asked with every event, and one comes every few seconds
            at = max(slot.rests_until_s, slot.due_s)
            first = min(first, at)
        if first > self.asked_s:
            self._in_vain = 0
            return None if first == math.inf else first
        self._in_vain += 1
        if self._in_vain < MAX_UNCHANGED_TICKS:
            return first
        self._in_vain = 0
        for slot in slots:
            if max(slot.due_s, slot.rests_until_s) <= self.asked_s:
                self.failed(slot.name, RuntimeError("it is due again whatever it does"))
                self.leave_alone(slot, self.asked_s)
        return self.asked_s + FIRST_PAUSE_S

    def renew(self, slot: Slot) -> bool:
        """Read a component's deadline; return False if that fails."""
        try:
            at = slot.wants_s()
        except Exception as error:  # noqa: BLE001 - the border of a component
            self.failed(slot.name, error)
            slot.due_s = -math.inf
            return False
        slot.due_s, slot.is_stale = (math.inf if at is None else at), False
        return True

    def leave_alone(self, slot: Slot, mono_s: float) -> None:
        """Pause a component that failed when it was due."""
        slot.failures += 1
        slot.rests_until_s = mono_s + exponential_delay_s(
            slot.failures, first_s=FIRST_PAUSE_S, longest_s=MAX_PAUSE_S
        )

    def was_asked(self, slot: Slot, mono_s: float) -> None:
        """Record that a component did what was due, after a pause; still due, it pauses again."""
        if self.renew(slot) and slot.due_s <= mono_s:
            self.leave_alone(slot, mono_s)
        else:
            slot.failures, slot.rests_until_s = 0, -math.inf

    # -- log line and alert ------------------------------------------------------------------

    def tell(self, now: Timestamp) -> Iterator[Effect]:
        """Yield a log line for each component that failed, and the alert."""
        for name, failing in self.failing.items():
            if failing.error is not None and now.mono_s - failing.noted_s >= NOTED_EVERY_S:
                facts = {
                    "component": name,
                    "doing": failing.doing,
                    "count": failing.count,
                    "exc_info": failing.error,
                }
                failing.error, failing.count, failing.noted_s = None, 0, now.mono_s
                yield LogEntry("error", "component.failed", facts)
        if self._is_untold:
            self._is_untold = False
            self._last_s = now.mono_s
            named = ", ".join(
                f"{name} ({failing.kind} in {failing.doing})"
                for name, failing in self.failing.items()
            )
            message = f"a defect of the bridge: these parts of it failed: {named}"
            yield from self._alerts.raise_(ALERT, message, HINT, now)
        elif now.mono_s - self._last_s >= STANDS_S:
            self.failing.clear()
            yield from self._alerts.clear(ALERT)
