"""Rate limits: a token bucket, and a limit that holds in every window.

Time comes in as monotonic seconds. What is limited, and to how much, is decided by the callers.
"""

from collections.abc import Sequence


class TokenBucket:
    """So much at once, and so much a second after."""

    def __init__(self, capacity: float, per_s: float, mono_s: float = 0.0) -> None:
        """Start with the full capacity.

        Args:
            capacity: How much may be used at once.
            per_s: How much comes back in a second.
            mono_s: Now.
        """
        self._capacity = self._left = capacity
        self._per_s = per_s
        self._at_s = mono_s

    def set_rate(self, capacity: float, per_s: float) -> None:
        """Set another capacity and rate."""
        self._capacity, self._per_s = capacity, per_s

    def available(self, mono_s: float) -> float:
        """Return how much may be used now; below zero after a use of more than there was."""
        gained = max(0.0, mono_s - self._at_s) * self._per_s
        self._left = min(self._capacity, self._left + gained)
        self._at_s = mono_s
        return self._left

    def consume(self, amount: float) -> None:
        """Count a use, which may be of more than there is."""
        self._left -= amount


def free_at_s(used_s: Sequence[float], most: int, window_s: float) -> float:
    """Return when one more use fits, where any window may hold so many.

    Args:
        used_s: When the last uses were, oldest first.
        most: How many a window may hold, at least 1.
        window_s: Length of the window.
    """
    return used_s[-most] + window_s if len(used_s) >= most else 0.0
