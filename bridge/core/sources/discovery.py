"""Discovery: when the account's list is read.

Rules:

1. Configured serials are served from the first moment; the account's list only tells which of
   them it does not know.
2. Without configured serials the list decides. It is read again every minute while an operator is
   probably setting up or a charger is missing, every five minutes after that, so that who comes or
   leaves is noticed without a restart. The vendor allows two a minute.
3. Who left is decided elsewhere (:mod:`bridge.core.sources.absence`).
"""

from bridge.core.backoff import exponential_delay_s
from bridge.core.records.moment import Timestamp

SETTING_UP_S = 600.0
SETTING_UP_EVERY_S = 60.0
EVERY_S = 300.0
FIRST_RETRY_S = 5.0
MAX_RETRY_S = 300.0


class ChargerDiscovery:
    """When to ask for the list, and what it brought."""

    def __init__(self, configured: tuple[str, ...]) -> None:
        self._configured = configured
        self._started_s: float | None = None
        self._due_s: float | None = None
        self._failures = 0

    def configure(self, configured: tuple[str, ...], now: Timestamp) -> None:
        """Set the configured serials, and schedule a request."""
        self._configured = configured
        if self._due_s is not None:
            self._due_s = now.mono_s

    def start(self, now: Timestamp) -> None:
        """Schedule a request as soon as possible."""
        self._started_s = now.mono_s
        self._due_s = now.mono_s

    def schedule_soon(self, now: Timestamp) -> None:
        """Schedule a request soon, because the list may have changed."""
        if not self._configured and self._due_s is not None:
            self._due_s = min(self._due_s, now.mono_s + FIRST_RETRY_S)

    def deadline_s(self) -> float | None:
        """Return when :meth:`poll_due` changes next, or None while a response is awaited."""
        return self._due_s

    def poll_due(self, now: Timestamp) -> bool:
        """Return whether to send a request now; its response is then awaited."""
        if self._due_s is None or now.mono_s < self._due_s:
            return False
        self._due_s = None
        return True

    def listed(
        self, ids: tuple[str, ...], now: Timestamp, *, is_doubtful: bool = False
    ) -> tuple[str, ...]:
        """Handle the account's list.

        Args:
            ids: Who is on it.
            now: When it came.
            is_doubtful: A charger is missing that was there before: request again soon.

        Returns:
            The configured serials it does not know.
        """
        self._failures = 0
        missing = tuple(sorted(set(self._configured) - set(ids)))
        is_young = self._started_s is not None and now.mono_s - self._started_s < SETTING_UP_S
        is_soon = is_doubtful or (is_young and bool(missing or not self._configured))
        self._due_s = now.mono_s + (SETTING_UP_EVERY_S if is_soon else EVERY_S)
        return missing

    def failed(self, now: Timestamp, retry_after_s: float | None) -> None:
        """Record that the list could not be read; it is requested again later."""
        self._failures += 1
        wait_s = exponential_delay_s(self._failures, first_s=FIRST_RETRY_S, longest_s=MAX_RETRY_S)
        self._due_s = now.mono_s + max(wait_s, retry_after_s or 0.0)
