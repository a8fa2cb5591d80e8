"""Limits the growth of the log.

Rules:

1. Of each event :data:`BURST` lines are written, then :data:`LINES_PER_MINUTE`. The rest is
   counted.
2. Of lines with the same content :data:`SAME_BURST` are written, then :data:`SAME_PER_HOUR`: a
   connection that comes and goes repeats a few lines for as long as that lasts.
3. All lines together stay below :data:`MAX_BYTES_PER_HOUR` in any hour. The last
   :data:`KEPT_FOR_ERRORS` of what may be written at once is for errors.
4. Nothing is left out silently: :meth:`LineLimit.left_out` tells how many lines of which event.
"""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from bridge.core.rate_limiter import TokenBucket

MAX_BYTES_PER_HOUR: Final = 1_000_000
BURST: Final = 30
LINES_PER_MINUTE: Final = 10
SAME_BURST: Final = 3
SAME_PER_HOUR: Final = 2
# What may be written at once; the rest of the hour's bytes come back evenly. A line that is begun
# is written, and sums are: some space is kept for them.
_MAX_BURST_BYTES: Final = 200_000
_BYTES_PER_SECOND: Final = 200
KEPT_FOR_ERRORS: Final = 50_000
# Event names come from the program, so there are no more than this; contents are forgotten at it.
_MAX_NAMES: Final = 1_000


class LineLimit:
    """Decides which lines are written. Can be used from any thread."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """Start with full allowances.

        Args:
            now_s: Returns the monotonic time in seconds.
        """
        self._now_s = now_s
        self._lock = threading.Lock()
        self._bytes = TokenBucket(_MAX_BURST_BYTES, _BYTES_PER_SECOND, now_s())
        self._lines: dict[str, TokenBucket] = {}
        self._same: dict[int, TokenBucket] = {}
        self._left_out: Counter[str] = Counter()

    def admits(self, name: str, content: str, *, is_error: bool) -> bool:
        """Return whether a line may be written; a suppressed one is counted.

        Args:
            name: The event.
            content: What lines that say the same have in common.
            is_error: The line says that something failed.
        """
        with self._lock:
            now_s = self._now_s()
            if name not in self._lines and len(self._lines) >= _MAX_NAMES:
                self._lines.clear()
            lines = self._lines.setdefault(name, TokenBucket(BURST, LINES_PER_MINUTE / 60, now_s))
            same = self._bucket_of(hash((name, content)), now_s)
            reserve = 0 if is_error else KEPT_FOR_ERRORS
            if (
                lines.available(now_s) < 1
                or same.available(now_s) < 1
                or self._bytes.available(now_s) <= reserve
            ):
                self._left_out[name] += 1
                return False
            lines.consume(1)
            same.consume(1)
            return True

    def _bucket_of(self, content: int, now_s: float) -> TokenBucket:
        """Return the allowance of lines with this content."""
        found = self._same.get(content)
        if found is None:
            if len(self._same) >= _MAX_NAMES:
                self._same.clear()
            found = self._same[content] = TokenBucket(SAME_BURST, SAME_PER_HOUR / 3600, now_s)
        return found

    def wrote(self, size: int) -> None:
        """Record the size of a written line, in bytes."""
        with self._lock:
            self._bytes.consume(size)

    def left_out(self) -> dict[str, int]:
        """Return how many lines of each event were left out since the last call, most first."""
        with self._lock:
            counted = dict(self._left_out.most_common())
            self._left_out.clear()
        return counted
