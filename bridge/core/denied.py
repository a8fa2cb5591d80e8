"""Publications that the broker refuses: told for as long as that is so, and tried again.

Rules:

1. The alert stands while anything retained is refused: what the broker shows then is not the newest
   value. One that flickers with every other acknowledgement tells nobody anything.
2. Every :data:`AGAIN_S` what is refused is sent once more: an access list is mended without a new
   connection, and a value that rests would stay wrong for hours.
3. What can never be sent (a topic or size the broker cannot take) is told and not tried again.
"""

from collections.abc import Iterable, Iterator

from bridge.core.alerts import Alerts
from bridge.core.effects import Effect, SendDenied
from bridge.core.events import Moment
from bridge.core.messages import Publish
from bridge.core.outbox import IN_VAIN, REFUSED

AGAIN_S = 30.0
ALERT = "publication_refused"


class Denied:
    """Topics the broker refuses."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        # Retained topics that are tried again; the others are only told of.
        self._kept: set[str] = set()
        self._told: set[str] = set()
        self._due_s: float | None = None

    @property
    def is_kept(self) -> bool:
        """Whether anything is refused that another connection's word could end."""
        return bool(self._kept)

    def deadline_s(self) -> float | None:
        """Return when what is refused is sent again, or None."""
        return self._due_s

    def acked(self, message: Publish, reason_code: int, now: Moment) -> Iterator[Effect]:
        """Take an acknowledgement, good or bad."""
        if reason_code < REFUSED:
            if message.topic in self._kept:
                self._kept.discard(message.topic)
                yield from self._clear()
            return
        if message.retained and reason_code not in IN_VAIN:
            self._kept.add(message.topic)
        else:
            self._told.add(message.topic)
        if self._due_s is None:
            self._due_s = now.mono_s + AGAIN_S
        if ALERT not in self._alerts.kinds:
            yield from self._alerts.raise_(
                ALERT,
                f"the broker refuses {message.topic} (reason code {reason_code})",
                "let this client write below its base topic in the broker's access list",
                now,
            )

    def taken(self, messages: Iterable[Publish]) -> Iterator[Effect]:
        """Take values that the broker took on their own connection."""
        if self._kept:
            self._kept.difference_update(message.topic for message in messages)
            yield from self._clear()

    def tick(self, now: Moment) -> Iterator[Effect]:
        """Have what is refused sent again, when that is due."""
        if self._due_s is None or now.mono_s < self._due_s:
            return
        self._told.clear()
        self._due_s = now.mono_s + AGAIN_S if self._kept else None
        if self._kept:
            yield SendDenied()
        yield from self._clear()

    def _clear(self) -> Iterator[Effect]:
        if not (self._kept or self._told):
            self._due_s = None
            yield from self._alerts.clear(ALERT)
