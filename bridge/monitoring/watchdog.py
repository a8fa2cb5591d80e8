"""Liveness deadlines and a watchdog thread that exits with status 75.

Rules:

1. Whoever waits for something outside promises here when he will be heard of again
   (:class:`LivenessRegistry`). The gateway's loop beats only while every promise is kept.
2. A thread of its own looks for the beat (:class:`Watchdog`). It counts looks, not seconds: a
   process that was stopped, or a machine that was asleep, has missed none, however late it is.
3. What is stuck cannot be asked to end in order. The process ends at once, with status 75, and a
   service manager starts it again; everything that was accepted is on disk before it is told.
4. A last word must not hold up the end: the log may be what is stuck.
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final

import structlog

from bridge.monitoring.systemd_notify import SystemdNotifier
from bridge.ports import Clock

log = structlog.get_logger()

CHECK_EVERY_S: Final = 5.0
# A minute. A Raspberry Pi that swaps, or waits for its SD card, stands still for many seconds.
MAX_MISSED_BEATS: Final = 12
LAST_WORD_S: Final = 2.0
FRAMES_NAMED: Final = 4


class LivenessRegistry:
    """What is to be heard of by when. Used on the loop only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_s: dict[str, float] = {}

    def expect(self, name: str, within_s: float) -> None:
        """Expect another sign of this name, or :meth:`done`, within so many seconds."""
        self._due_s[name] = self._clock.now().mono_s + within_s

    def done(self, name: str) -> None:
        """Expect nothing of this name any more."""
        self._due_s.pop(name, None)

    def overdue(self) -> tuple[str, ...]:
        """Return the names of overdue signs of life."""
        now_s = self._clock.now().mono_s
        return tuple(sorted(name for name, due_s in self._due_s.items() if due_s < now_s))


class Watchdog:
    """Ends the process when :meth:`beat` is no longer called.

    Args:
        notifier: Fed while all is well.
        every_s: Between two looks; shorter where the service manager wants it so.
        looks: So many looks without a beat are the end.
        leave: Ends the process, whatever else is going on.
    """

    def __init__(
        self,
        notifier: SystemdNotifier,
        *,
        every_s: float = CHECK_EVERY_S,
        looks: int = MAX_MISSED_BEATS,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._notifier = notifier
        wanted_s = notifier.feed_every_s
        self._every_s = every_s if wanted_s is None else min(every_s, wanted_s)
        # As patient as without it: the looks are only closer together.
        self._looks = max(2, round(looks * every_s / self._every_s))
        self._leave = leave
        self._beats = 0
        self._seen = 0
        self._missed = 0
        self._watched = threading.get_ident()
        self._done = threading.Event()

    def beat(self) -> None:
        """Record a heartbeat; the first one also reports that the service is ready."""
        if not self._beats:
            self._notifier.ready()
        self._beats += 1

    def start(self) -> None:
        """Start watching the calling thread."""
        self._watched = threading.get_ident()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self._done.set()

    def look(self) -> bool:
        """Check once; return False when the process must end."""
        beats = self._beats
        if beats != self._seen:
            self._seen, self._missed = beats, 0
            self._notifier.alive()
            return True
        self._missed += 1
        if self._missed < self._looks:
            self._notifier.alive()
            return True
        return False

    def _watch(self) -> None:
        while not self._done.wait(self._every_s):
            if not self.look():
                word = threading.Thread(target=self._last_word, name="last-word", daemon=True)
                word.start()
                word.join(LAST_WORD_S)
                self._leave(os.EX_TEMPFAIL)
                return

    def _last_word(self) -> None:
        waited_s = round(self._missed * self._every_s)
        log.error("watchdog.stuck", waited_s=waited_s, where=where(self._watched))


def where(thread_id: int) -> str:
    """Return the innermost stack lines of a thread, without values."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001 - documented, and the only way
    if frame is None:
        return "the thread has ended"
    steps = traceback.extract_stack(frame)[-FRAMES_NAMED:]
    return " > ".join(f"{step.filename.rpartition('/')[2]}:{step.lineno}" for step in steps)
