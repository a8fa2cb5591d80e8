"""Simulated time, and an event loop that lives on it.

Rules:

1. There is one line of time. What the world does stands on it; the loop of the process that runs
   takes its timers from it. Nobody waits: when nothing is ready, time is where the next thing is.
2. A process is killed by an exception out of the middle of its loop. What it had not done by then
   is not done; its coroutines are closed without another turn.
3. The same seed gives the same run: there are no threads, no sockets and no sets of objects whose
   order could differ.
"""

import asyncio
import contextlib
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.core.clock_check import ServerClock
from bridge.core.records.moment import Timestamp

STARTED_AT = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
START_S = 1000.0
# Time is added up in floats; a timer may be so much early.
RESOLUTION_S = 1e-6
# A wall clock before this is not believed, as in the program.
BUILT_AT = datetime(2026, 11, 1, tzinfo=UTC)


class Killed(BaseException):
    """The process ends here, in the middle of whatever it did."""


class Timeline:
    """What happens in the world, and when.

    Attributes:
        now_s: True time in seconds; it only goes on.
        is_nested: The process stands still while the world lives.
    """

    def __init__(self) -> None:
        self.now_s = START_S
        self.is_nested = False
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    @property
    def wall(self) -> datetime:
        """True wall time: the cloud's and the chargers' clock."""
        return STARTED_AT + timedelta(seconds=round(self.now_s - START_S, 6))

    def later(self, after_s: float, call: Callable[[], object]) -> None:
        """Do something in so many seconds."""
        heapq.heappush(self._due, (self.now_s + max(0.0, after_s), next(self._order), call))

    def next_s(self) -> float:
        """When the next thing happens."""
        return self._due[0][0] if self._due else float("inf")

    def step(self) -> None:
        """Let the next thing happen."""
        at_s, _, call = heapq.heappop(self._due)
        self.now_s = max(self.now_s, at_s)
        call()

    def run_until(self, end_s: float) -> None:
        """Let the world live up to a moment, while no process runs."""
        while self.next_s() <= end_s:
            self.step()
        self.now_s = max(self.now_s, end_s)

    def pass_without_us(self, seconds: float) -> None:
        """Let the world live on while the process stands still."""
        self.is_nested = True
        try:
            self.run_until(self.now_s + seconds)
        finally:
            self.is_nested = False


class _Selector:
    """What a loop asks for sockets: there are none, so it moves time instead."""

    def __init__(self, timeline: Timeline, loop: "SimulatedLoop") -> None:
        self._timeline = timeline
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        """Let the world live until the loop has something to do."""
        line, loop = self._timeline, self._loop
        if timeout is not None and timeout <= 0:
            return []
        timers, ready = loop._scheduled, loop._ready
        while not ready:
            until_s = timers[0]._when if timers else float("inf")
            if line.next_s() <= until_s:
                line.step()
            elif timers:
                line.now_s = max(line.now_s, until_s)  # to the very moment, and no float before it
                break
            else:
                raise RuntimeError("nothing will ever happen again")
        return []

    def close(self) -> None:
        pass


class SimulatedLoop(asyncio.BaseEventLoop):
    """An event loop whose time is the simulation's, and whose threads are itself."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline
        self._selector = _Selector(timeline, self)
        self._clock_resolution = RESOLUTION_S

    def time(self) -> float:
        return self._timeline.now_s

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Call it here and now: nothing that is done in threads touches the outside."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as exc:  # noqa: BLE001 - it belongs to whoever awaits it
            done.set_exception(exc)
        return done

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Run to the end, or raise :class:`Killed` where the process dies."""
        try:
            return self.run_until_complete(main)
        finally:
            self._bury()

    def _bury(self) -> None:
        """Close every coroutine that is left, without letting it do anything more."""
        left = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
        for task in left:
            task._log_destroy_pending = False
            for _ in range(20):
                try:
                    task.get_coro().close()
                    break
                except (RuntimeError, ValueError):
                    continue  # it awaits something while it is closed
                except BaseException:  # noqa: BLE001 - a dead process says nothing
                    break
        with contextlib.suppress(RuntimeError):
            self.close()


class SimulatedClock:
    """The gateway's clocks: the wall one may be wrong, the monotonic one is not.

    Attributes:
        offset_s: How far the wall clock is off.
        synchronized: The machine says that its clock was set.
        was_unset: It was not, once.
        jumps: How often it jumped.
    """

    def __init__(self, timeline: Timeline, rng: random.Random) -> None:
        self._timeline = timeline
        self._rng = rng
        self.offset_s = 0.0
        self.synchronized = True
        self.was_unset = False
        self.jumps = 0
        # It is asked several times at each moment.
        self._read: tuple[float, float, bool] | None = None
        self._reference = ServerClock()
        self._moment = Timestamp(timeline.wall, timeline.now_s)

    @property
    def is_true(self) -> bool:
        """It shows the true time, and is believed."""
        return self.synchronized and self.offset_s == 0

    def now(self) -> Timestamp:
        read = (self._timeline.now_s, self.offset_s, self.synchronized)
        if read != self._read:
            wall = self._timeline.wall + timedelta(seconds=self.offset_s)
            trusted = (
                self.synchronized
                and wall >= BUILT_AT
                and not self._reference.disagrees(wall.timestamp(), self._timeline.now_s)
            )
            told = None if trusted else self._reference.now(self._timeline.now_s)
            self._read = read
            self._moment = Timestamp(wall, self._timeline.now_s, trusted, told)
        return self._moment

    def update_server_time(self, wall: datetime) -> None:
        self._reference.update(wall, self._timeline.now_s)
        self._read = None

    def forget(self) -> None:
        """Know nothing of what the last process was told."""
        self._reference = ServerClock()
        self._read = None

    def jitter(self) -> float:
        return self._rng.random()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
