"""The text of a session report that cannot be read."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bridge.core.records.session_clocks import AHEAD, is_default
from bridge.core.records.session_report import BACKFILL

MAX_TEXT_LENGTH = 4096
# Two sources tell one moment so close to each other.
CLOSE = timedelta(seconds=20)
A_SECOND = timedelta(seconds=1)
SAME_END_WITHIN = timedelta(minutes=5)
# Two sessions that last shorter last as long as each other.
LONG = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class UnreadText:
    """The text of a session report that cannot be read.

    Attributes:
        charger_id: Serial.
        text: As it came, cut off at :data:`MAX_TEXT_LENGTH`. A tag may be in it.
        reason: Why it cannot be read; nothing of the text is in it.
        source: ``"stream"``, ``"poll"`` or ``"backfill"``.
        measured_at: Stamp of the observation, or when the cloud's list came.
        received_at: When it came.
        session_id: The charger's counter, where it can be told.
        started_at: When the session began, likewise.
        ended_at: When it ended, likewise.
    """

    charger_id: str
    text: str = field(repr=False)
    reason: str
    source: str
    measured_at: datetime
    received_at: datetime
    session_id: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def told_at(self) -> datetime:
        """Return when it was reported: never ahead of its arrival."""
        if is_default(self.measured_at):
            return self.received_at
        return min(self.measured_at, self.received_at)

    @property
    def believed(self) -> tuple[datetime | None, datetime | None]:
        """Return start and end where they are present and possible."""
        # The list's own time is the session's end, which may be what cannot be.
        limit = self.received_at if self.source == BACKFILL else self.told_at
        start, end = (
            None if at is None or is_default(at) or at - limit > AHEAD else at
            for at in (self.started_at, self.ended_at)
        )
        return start, end

    def lasted_as(self, started_at: datetime, ended_at: datetime) -> bool:
        """Return whether a session had this duration: wrong clocks still measure durations."""
        if self.started_at is None or self.ended_at is None:
            return False
        lasted = self.ended_at - self.started_at
        return lasted >= LONG and abs(lasted - (ended_at - started_at)) <= 2 * CLOSE

    def names(self, started_at: datetime, ended_at: datetime) -> bool | None:
        """Return whether it is of a session of these times; None without possible times."""
        start, end = self.believed
        if start is not None and end is not None:
            if start > end:
                return None
            shared = min(end, ended_at) - max(start, started_at)
            return shared >= min(end - start, ended_at - started_at) / 2
        if start is not None and not ended_at - CLOSE <= start <= ended_at + CLOSE:
            return started_at - CLOSE <= start < ended_at
        if start is not None:
            # The next session may begin as soon; a short one begins where it ends.
            return True if abs(start - started_at) <= A_SECOND else None
        if end is not None and not ended_at + CLOSE < end <= ended_at + SAME_END_WITHIN:
            return started_at < end <= ended_at + CLOSE
        return None  # a little later it may be the next session

    @property
    def key(self) -> str:
        """Return its key: the same text of the same charger with the same timestamp is one."""
        content = json.dumps([self.charger_id, self.text, self._stamp]).encode()
        return f"{self.charger_id}-u{hashlib.sha256(content).hexdigest()[:16]}"

    @property
    def _stamp(self) -> str:
        """Return what distinguishes observations with the same text; empty for a list."""
        has_none = self.source == BACKFILL or self.measured_at == self.received_at
        return "" if has_none else self.measured_at.isoformat()


def cut(text: str) -> str:
    """Return as much of a text as is kept; what is no Unicode in it is replaced."""
    return text[:MAX_TEXT_LENGTH].encode("utf-8", "replace").decode()
