"""Errors of our own, held at the border of the component they happen in.

Rules:

1. What a component yielded before its error counts, and everybody else goes on as if nothing was.
2. ``bridge/alert/internal_error`` names who failed. It stands until a restart, or until a day went
   by without another error: a component that failed may have lost something.
3. A component that fails when its time has come is left alone for a second, then for longer, and so
   is its deadline. The same holds for one that is due again and again whatever it does. An error
   must not become a loop.
4. A line in the log for each component, at most one a minute, with the number of errors.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from bridge.core.alerts import Alerts
from bridge.core.backoff import exponential_delay_s
from bridge.core.effects import Effect, LogEntry
from bridge.core.records.moment import Timestamp

ALERT = "internal_error"
HINT = "restart the bridge, and report it with the log line component.failed"
STANDS_S = 24 * 3600.0
NOTED_EVERY_S = 60.0
FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 300.0
# So many times in a row somebody was due again right after having been asked.
MAX_UNCHANGED_TICKS = 1000

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timed:
    """A component that wants to be asked at a time.

    Attributes:
        name: Of the component, for the alert.
        deadline_s: Returns the monotonic time at which it has something to do, or None.
        tick: Does what is due.
    """

    name: str
    deadline_s: Callable[[], float | None]
    tick: Callable[[Timestamp], Iterator[Effect]]


@dataclass(slots=True)
class _Failing:
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


@dataclass(slots=True)
class _Pause:
    """A component that is left alone.

    Attributes:
        failures: How often in a row it failed when its time had come.
        until_s: When it is asked again.
    """

    failures: int
    until_s: float


class Containment:
    """Runs what components do, and keeps their errors.

    Attributes:
        doing: Name of the event that is being handled.
    """

    def __init__(self, alerts: Alerts) -> None:
        self.doing = ""
        self._alerts = alerts
        self._failing: dict[str, _Failing] = {}
        self._pauses: dict[str, _Pause] = {}
        self._is_untold = False
        self._last_s = 0.0
        self._asked_s = float("-inf")
        self._in_vain = 0

    def run(
        self,
        name: str,
        step: Callable[P, Iterator[Effect] | None],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Generator[Effect, None, bool]:
        """Yield what a step of a component yields.

        Returns:
            Whether it went well.
        """
        try:
            if (effects := step(*args, **kwargs)) is not None:
                yield from effects
        except Exception as error:  # noqa: BLE001 - the border of a component
            self.failed(name, error)
            return False
        return True

    def ask(
        self, name: str, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Return what a component answers, or None where it fails."""
        try:
            return question(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the border of a component
            self.failed(name, error)
            return None

    def failed(self, name: str, error: Exception) -> None:
        """Keep an error; it is told with the next :meth:`due`."""
        failing = self._failing.setdefault(name, _Failing())
        failing.kind, failing.doing, failing.error = type(error).__name__, self.doing, error
        failing.count += 1
        self._is_untold = True

    # -- time --------------------------------------------------------------------------------

    def due(self, components: tuple[Timed, ...], now: Timestamp) -> Iterator[Effect]:
        """Have every component do what is due, and tell what failed."""
        self._asked_s = now.mono_s
        pauses = self._pauses
        for each in components:
            if pauses and self._rests_now(each.name, now):
                continue
            try:
                yield from each.tick(now)
            except Exception as error:  # noqa: BLE001 - the border of a component
                self.failed(each.name, error)
                self._leave_alone(each.name, now.mono_s)
            else:
                if pauses and each.name in pauses:
                    self._was_asked(each, now)
        if self._failing:
            yield from self._tell(now)

    def deadline_s(self, components: tuple[Timed, ...]) -> float | None:
        """Return the monotonic time at which the first of them wants to be asked, or None."""
        first = None
        pauses = self._pauses
        for each in components:  # asked after every event: a call less is worth a copy
            try:
                at = each.deadline_s()
            except Exception as error:  # noqa: BLE001 - the border of a component
                self.failed(each.name, error)
                continue  # it is still asked with every event, and one comes every few seconds
            if at is None:
                continue
            if pauses and (pause := pauses.get(each.name)) is not None:
                at = max(at, pause.until_s)
            if first is None or at < first:
                first = at
        if first is None or first > self._asked_s:
            self._in_vain = 0
            return first
        self._in_vain += 1
        if self._in_vain < MAX_UNCHANGED_TICKS:
            return first
        self._in_vain = 0
        for each in components:
            at = self.ask(each.name, each.deadline_s)
            is_resting = each.name in pauses and pauses[each.name].until_s > self._asked_s
            if at is not None and at <= self._asked_s and not is_resting:
                self.failed(each.name, RuntimeError("it is due again whatever it does"))
                self._leave_alone(each.name, self._asked_s)
        return self._asked_s + FIRST_PAUSE_S

    def _rests_now(self, name: str, now: Timestamp) -> bool:
        pause = self._pauses.get(name)
        return pause is not None and now.mono_s < pause.until_s

    def _leave_alone(self, name: str, mono_s: float) -> None:
        pause = self._pauses.setdefault(name, _Pause(0, 0.0))
        pause.failures += 1
        pause.until_s = mono_s + exponential_delay_s(
            pause.failures, first_s=FIRST_PAUSE_S, longest_s=MAX_PAUSE_S
        )

    def _was_asked(self, each: Timed, now: Timestamp) -> None:
        """Take note that one did what was due, after a rest; if it is due still, it rests again."""
        at = self.ask(each.name, each.deadline_s)
        if at is not None and at <= now.mono_s:
            self._leave_alone(each.name, now.mono_s)
        else:
            del self._pauses[each.name]

    # -- what is told ------------------------------------------------------------------------

    def _tell(self, now: Timestamp) -> Iterator[Effect]:
        for name, failing in self._failing.items():
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
                for name, failing in self._failing.items()
            )
            message = f"a defect of the bridge: these parts of it failed: {named}"
            yield from self.run("alerts", self._alerts.raise_, ALERT, message, HINT, now)
        elif now.mono_s - self._last_s >= STANDS_S:
            self._failing.clear()
            yield from self.run("alerts", self._alerts.clear, ALERT)
