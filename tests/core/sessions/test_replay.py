"""Replays come page by page, once each, whatever ended in the same moment."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bridge.core.effects import LogEntry, ReadReports
from bridge.core.events import ReportsRead, ReportsReadFailed
from bridge.core.messages import Tag
from bridge.core.sessions.consumer_messages import ReplayRequest
from bridge.core.sessions.replay import MAX_REQUESTS, REFILL_AT, Replay, ReplayRead
from bridge.errors import StoreError
from tests.core.sessions.rows import NOON, row


def make(page=3):
    """Make a replay with small pages."""
    return Replay(page=page)


def stored(rows, ask: ReadReports):
    """Answer a read as the store does."""
    found = [
        one
        for one in sorted(rows, key=lambda one: (one.report.ended_at, one.key))
        if ask.since is None or one.report.ended_at >= ask.since
        if ask.charger_id in (None, one.report.charger_id)
    ]
    return ReportsRead(ask.tag, tuple(found[: ask.limit]))


@given(st.lists(st.integers(0, 4), max_size=25), st.integers(1, 4))
def test_every_stored_report_comes_exactly_once(hours, page):
    """Whatever ended together, and however small the pages are."""
    rows = [
        structs.replace(
            one := row(number), report=replace(one.report, ended_at=row(hour).report.ended_at)
        )
        for number, hour in enumerate(hours)
    ]
    replay = make(page)
    replay.request(ReplayRequest())
    seen = []
    while asks := list(replay.due(0)):
        (ask,) = asks
        assert replay.waits_for(ask.tag.ref)
        seen.extend(one.key for one in replay.read(stored(rows, ask)))

    assert sorted(seen) == sorted(one.key for one in rows)
    assert replay.waiting == 0


def test_the_wish_is_what_is_read():
    """Since and charger reach the store."""
    replay = make()
    replay.request(ReplayRequest(NOON, "EH123456"))

    assert list(replay.due(0)) == [
        ReadReports(Tag("sessions", ReplayRead(1)), "EH123456", NOON, limit=3)
    ]
    assert list(replay.due(0)) == []


def test_the_next_page_waits_until_the_last_is_nearly_gone():
    """A year of reports does not fill the memory."""
    rows = [row(number) for number in range(10)]
    replay = make()
    replay.request(ReplayRequest())
    (ask,) = replay.due(0)
    replay.read(stored(rows, ask))

    assert list(replay.due(REFILL_AT + 1)) == []
    assert list(replay.due(REFILL_AT)) != []


def test_wishes_wait_for_each_other_and_not_too_many():
    """One after the other; the same one twice is one."""
    replay = make()
    wishes = [ReplayRequest(None, f"EH00000{n}") for n in range(MAX_REQUESTS)]
    assert all(replay.request(request) for request in wishes)
    assert not replay.request(ReplayRequest())

    (ask,) = replay.due(0)
    replay.read(ReportsRead(ask.tag, ()))
    assert not replay.request(wishes[1])
    (ask,) = replay.due(0)
    assert ask.charger_id == "EH000001"


def test_a_store_that_cannot_be_read_ends_the_wish_with_a_note():
    """Whoever asked can ask again; the next in line is not held up."""
    replay = make()
    replay.request(ReplayRequest())
    replay.request(ReplayRequest(NOON))
    (ask,) = replay.due(0)

    (note,) = replay.not_read(ReportsReadFailed(ask.tag, StoreError("gone")))
    assert note == LogEntry("warning", "session.replay_failed", {"error": "gone"})
    (ask,) = replay.due(0)
    assert ask.since == NOON
    assert not replay.waits_for(None)
