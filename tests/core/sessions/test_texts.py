"""A text that is no session is kept, cut off, and shown without tags."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.sessions.texts import LONGEST_TEXT, UnreadText, cut, shown
from tests.core.sessions.rows import NOON, ONE, TAG

TEXT = UnreadText(ONE, f'{{"Auth":"{TAG}"', "no JSON", "stream", NOON, NOON)


def test_the_same_text_of_the_same_charger_is_one():
    """However often it is told."""
    assert replace(TEXT, received_at=NOON.replace(hour=13)).key == TEXT.key
    assert replace(TEXT, charger_id="EH999999").key != TEXT.key
    assert replace(TEXT, text="{}").key != TEXT.key
    assert TAG not in repr(TEXT)


@given(st.text())
def test_what_is_kept_is_bounded_and_can_be_stored(text):
    """Half of a surrogate pair cannot."""
    assert len(cut(text * 50)) <= LONGEST_TEXT
    cut(f"{text}\ud800").encode()


def test_it_is_shown_without_tags():
    """An object without its fields, anything else up to the first that may hold one."""
    whole = json.dumps({"Id": 7, "Auth": TAG, "AuthReason": 3})

    assert shown(whole) == '{"Id":7,"AuthReason":3}'
    for text in (whole[:-1], json.dumps([whole]), json.dumps(json.dumps(whole)), TEXT.text):
        assert TAG not in shown(text)
    assert shown('{"Id":7,') == '{"Id":7,'
