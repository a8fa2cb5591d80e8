"""Session reports that cannot be read: stored as text, searched for, and reported by an alert.

Rules:

1. The text is kept in the store, so that no restart forgets it, and a person can look. It is cut
   off, counted, and shown without tags.
2. It is over when a report of that session was stored: one with its counter, else one that ended
   when it did, else one that ended when the text came. After retention's time it is given up.
3. Each charger has an alert of its own, and it says what is known of the session.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import msgspec

from bridge.core.alerts import Alerts
from bridge.core.easee.session_payloads import hints
from bridge.core.effects import Effect, ForgetTexts, KeepText
from bridge.core.records.moment import Timestamp
from bridge.core.records.session_clocks import ENDED, STARTED
from bridge.core.records.session_identity import SAME_ENERGY_KWH
from bridge.core.records.session_report import BACKFILL, SessionReport
from bridge.core.records.unread_text import CLOSE, SAME_END_WITHIN, UnreadText
from bridge.core.value_format import iso_utc

ALERT = "session_unreadable"
# Of one charger: the newest.
MAX_UNREAD = 20
# Of all chargers.
MAX_DONE = 1_000
NAMED_IN_ALERT = 5
# A counter that stands still names another session after this.
SAME_NUMBER_WITHIN = timedelta(days=2)
_HINT = "it is searched for in the cloud's list; if it stays missing, look it up in the Easee app"


class _ChargerTexts(msgspec.Struct):
    """Of one charger.

    Attributes:
        texts: By key, oldest first.
        dropped: How many older ones gave way.
    """

    texts: dict[str, UnreadText] = msgspec.field(default_factory=dict)
    dropped: int = 0


class Unread:
    """The texts that are not done with."""

    def __init__(self, alerts: Alerts, *, keep_days: int) -> None:
        self._alerts = alerts
        self._keep = timedelta(days=keep_days)
        self._texts: dict[str, _ChargerTexts] = {}
        # Keys: the stream tells the newest of each charger again whenever it opens.
        self._done: deque[str] = deque(maxlen=MAX_DONE)

    def texts(self, charger_id: str) -> tuple[UnreadText, ...]:
        """Return those of a charger, oldest first."""
        charger_texts = self._texts.get(charger_id)
        return tuple(charger_texts.texts.values()) if charger_texts else ()

    def earliest(self, charger_id: str) -> datetime | None:
        """Return how far a look in the cloud has to reach back; None when there is no text."""
        return min((text.told_at for text in self.texts(charger_id)), default=None)

    def opened(self, texts: Iterable[UnreadText], now: Timestamp) -> Iterator[Effect]:
        """Handle the texts of the store, and store those it lacks."""
        stored = {text.key: text for text in texts}
        for charger_texts in self._texts.values():
            yield from (
                KeepText(one) for key, one in charger_texts.texts.items() if key not in stored
            )
        for charger_id in dict.fromkeys(text.charger_id for text in stored.values()):
            charger_texts = self._texts.setdefault(charger_id, _ChargerTexts())
            for key, text in stored.items():
                if text.charger_id == charger_id:
                    charger_texts.texts.setdefault(key, text)
            yield from self._tell(charger_id, now)

    def take(self, text: UnreadText, now: Timestamp) -> Iterator[Effect]:
        """Store a text and raise its alert; a known or resolved one is ignored."""
        if text.key in self._done:
            return
        charger_texts = self._texts.setdefault(text.charger_id, _ChargerTexts())
        if text.key in charger_texts.texts:
            return
        charger_texts.texts[text.key] = text
        yield KeepText(text)
        if len(charger_texts.texts) > MAX_UNREAD:
            oldest = next(iter(charger_texts.texts))
            del charger_texts.texts[oldest]
            charger_texts.dropped += 1
            yield ForgetTexts((oldest,))
        yield from self._tell(text.charger_id, now)

    def saved(self, report: SessionReport, now: Timestamp, *, is_new: bool) -> Iterator[Effect]:
        """Handle a stored report: the texts of its session are resolved.

        Args:
            report: The stored report.
            now: The moment.
            is_new: Nothing was known of this session before.
        """
        charger_texts = self._texts.get(report.charger_id)
        if charger_texts is not None:
            gone = [
                k for k, text in charger_texts.texts.items() if _is_of(text, report, is_new=is_new)
            ]
            yield from self._drop(report.charger_id, gone, now)

    def told(self, texts: Iterable[UnreadText], now: Timestamp) -> Iterator[Effect]:
        """Drop the texts whose sessions are stored."""
        for text in texts:
            charger_texts = self._texts.get(text.charger_id)
            if charger_texts is not None and text.key in charger_texts.texts:
                yield from self._drop(text.charger_id, [text.key], now)

    def looked(self, charger_id: str, now: Timestamp) -> Iterator[Effect]:
        """Handle a search in the cloud's list; texts older than the retention time are dropped."""
        charger_texts = self._texts.get(charger_id)
        if charger_texts is not None and now.trusted:
            old = [
                k for k, text in charger_texts.texts.items() if now.wall - text.told_at > self._keep
            ]
            yield from self._drop(charger_id, old, now)

    def _drop(self, charger_id: str, keys: list[str], now: Timestamp) -> Iterator[Effect]:
        if not keys:
            return
        charger_texts = self._texts[charger_id]
        for key in keys:
            # The list tells its rows at every look, which finds out anew what is stored.
            if charger_texts.texts.pop(key).source != BACKFILL:
                self._done.append(key)
        if not charger_texts.texts:
            del self._texts[charger_id]
        yield ForgetTexts(tuple(keys))
        yield from self._tell(charger_id, now)

    def _tell(self, charger_id: str, now: Timestamp) -> Iterator[Effect]:
        charger_texts, kind = self._texts.get(charger_id), f"{ALERT}/{charger_id}"
        if charger_texts is None:
            yield from self._alerts.clear(kind)
            return
        newest = list(charger_texts.texts.values())[-NAMED_IN_ALERT:]
        more = len(charger_texts.texts) - len(newest) + charger_texts.dropped
        named = [*map(_named, newest), *([f"and {more} more"] * (more > 0))]
        yield from self._alerts.raise_(
            kind,
            f"{charger_id}: sessions that cannot be read: {'; '.join(named)}",
            _HINT,
            now,
        )


def _named(text: UnreadText) -> str:
    """Return what is known of a session, as text."""
    number = "one" if text.session_id is None else f"number {text.session_id}"
    since = f" from {iso_utc(text.started_at)}" if text.started_at else ""
    until = f" to {iso_utc(text.ended_at)}" if text.ended_at else ""
    return f"{number}{since}{until}, received {iso_utc(text.received_at)} ({text.reason})"


def _is_of(text: UnreadText, report: SessionReport, *, is_new: bool) -> bool:
    numbers = text.session_id, report.session_id
    if None not in numbers and numbers[0] != numbers[1]:
        return False
    if not report.doubtful:
        named = text.names(report.started_at, report.ended_at)
        if named is not None:
            return named
    elif ENDED in report.doubtful and text.ended_at is not None:
        return text.measured_at == report.measured_at
    elif (ended_at := text.believed[1]) is not None:
        return abs(ended_at - report.ended_at) <= CLOSE
    if STARTED not in report.doubtful and report.started_at > text.told_at:
        return False  # it began after the text was told
    energy_kwh = hints(text.text).energy_kwh
    same_energy = energy_kwh is not None and abs(energy_kwh - report.energy_kwh) <= SAME_ENERGY_KWH
    if energy_kwh is not None and not same_energy:
        return False
    apart = abs(report.at - text.told_at)
    same_number = text.session_id is not None and text.session_id == report.session_id
    if same_number and not report.doubtful:
        if same_energy or text.lasted_as(report.started_at, report.ended_at):
            return True
        return apart <= (SAME_NUMBER_WITHIN if is_new else SAME_END_WITHIN)
    return (is_new or same_number) and apart <= SAME_END_WITHIN
