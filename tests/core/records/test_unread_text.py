"""A text that is no session is kept, cut off, and shown without tags."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.records.unread_text import MAX_TEXT_LENGTH, UnreadText, cut
from tests.core.sessions.rows import HOUR, NOON, ONE, TAG

SECOND = timedelta(seconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXT = UnreadText(ONE, f'{{"Auth":"{TAG}"', "no JSON", "stream", NOON, NOON)


def test_the_same_text_of_the_same_charger_and_stamp_is_one():
    """However often it is told; a charger that tells every session alike tells another one."""
    stamped = replace(TEXT, measured_at=NOON - HOUR)
    assert replace(stamped, received_at=NOON + HOUR).key == stamped.key
    assert replace(stamped, measured_at=NOON - 2 * HOUR).key != stamped.key
    assert replace(TEXT, charger_id="EH999999").key != TEXT.key
    assert replace(TEXT, text="{}").key != TEXT.key
    assert TAG not in repr(TEXT)


def test_what_has_no_stamp_is_one_however_often_it_is_told():
    """The list tells it at every look, and a record without a stamp counts as told when it came."""
    for source in ("backfill", "stream"):
        one = replace(TEXT, source=source)
        assert replace(one, measured_at=NOON + HOUR, received_at=NOON + HOUR).key == one.key
    listed = replace(TEXT, source="backfill")
    assert replace(listed, received_at=NOON + 2 * HOUR).key == listed.key


@pytest.mark.parametrize(
    ("start", "stop", "measured_at", "expected"),
    [
        (NOON, NOON + HOUR, NOON + HOUR, True),
        (NOON + 3 * HOUR, NOON + 4 * HOUR, NOON + 4 * HOUR, False),
        (None, NOON + HOUR + 10 * SECOND, NOON + HOUR, True),
        (None, NOON, NOON + HOUR, False),
        # The next session of a counter that stands still may end so soon.
        (None, NOON + HOUR + 100 * SECOND, NOON + 2 * HOUR, None),
        (None, NOON + 2 * HOUR, NOON + 2 * HOUR, False),
        (NOON, None, NOON + HOUR, True),
        (NOON + HOUR / 2, None, NOON + HOUR, True),
        (NOON - HOUR, None, NOON + HOUR, False),
        # The list has an end some seconds behind the next session's start.
        (NOON + HOUR - 7 * SECOND, None, NOON + 2 * HOUR, None),
        # A start behind the stamp that told it cannot be, however late it is told again.
        (NOON + 72 * HOUR, None, NOON + HOUR, None),
        (EPOCH, EPOCH + HOUR, NOON + HOUR, None),
        (None, None, NOON + HOUR, None),
    ],
)
def test_a_text_names_a_session_by_times_that_can_be(start, stop, measured_at, expected):
    """Compared with a session from noon to one o'clock."""
    text = replace(TEXT, started_at=start, ended_at=stop, measured_at=measured_at)
    text = replace(text, received_at=NOON + 99 * HOUR)

    assert text.names(NOON, NOON + HOUR) is expected


def test_a_short_session_is_named_by_its_start():
    """It ends where another may begin."""
    text = replace(TEXT, started_at=NOON)

    assert text.names(NOON, NOON + 9 * SECOND)
    assert text.names(NOON - 5 * SECOND, NOON + 9 * SECOND) is None


def test_a_wrong_clock_still_tells_how_long_a_session_lasted():
    """Short ones all last alike."""
    text = replace(TEXT, started_at=EPOCH, ended_at=EPOCH + HOUR)

    assert text.lasted_as(NOON, NOON + HOUR + 20 * SECOND)
    assert not text.lasted_as(NOON, NOON + 2 * HOUR)
    assert not replace(text, ended_at=None).lasted_as(NOON, NOON + HOUR)
    assert not replace(text, ended_at=EPOCH + 30 * SECOND).lasted_as(NOON, NOON + 30 * SECOND)


@given(st.text())
def test_what_is_kept_is_bounded_and_can_be_stored(text):
    """Half of a surrogate pair cannot."""
    assert len(cut(text * 50)) <= MAX_TEXT_LENGTH
    cut(f"{text}\ud800").encode()
