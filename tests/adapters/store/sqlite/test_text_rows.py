"""Texts that should be sessions are rows like others: hashed, bounded, and gone when asked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bridge.adapters.store.row_format.text_columns import MAX_TEXTS
from bridge.adapters.store.sqlite import text_rows
from bridge.adapters.store.sqlite.database_file import open_file
from bridge.adapters.store.sqlite.quota import Quota
from bridge.core.records.unread_text import UnreadText

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
TEXT = UnreadText("EH123456", '{"Id"', "no JSON", "stream", NOON, NOON + timedelta(hours=1))
WHOLE = replace(TEXT, text="x", session_id=435, started_at=NOON, ended_at=NOON)


@pytest.fixture
def db(tmp_path):
    """An open store."""
    db, _ = open_file(tmp_path / "bridge.db", Quota(tmp_path, 1000 * 4096))
    yield db
    db.close()


def test_a_text_comes_back_as_it_was_written(db):
    """Once, however often it is told, until it is done with."""
    text_rows.put(db, [TEXT, WHOLE, TEXT])
    assert sorted(text_rows.read_all(db), key=repr) == sorted([TEXT, WHOLE], key=repr)
    text_rows.forget(db, [TEXT.key, "unknown"])

    assert text_rows.read_all(db) == (WHOLE,)


def test_a_damaged_text_is_not_handed_out(db):
    """Its hash tells."""
    text_rows.put(db, [TEXT, WHOLE])
    db.execute("UPDATE unread SET reason = 'other' WHERE session_id = 435")

    assert text_rows.read_all(db) == (TEXT,)


def test_the_oldest_give_way(db):
    """However many chargers tell nonsense."""
    text_rows.put(db, [replace(TEXT, text=str(number)) for number in range(MAX_TEXTS + 5)])

    assert text_rows.read_all(db)[0].text == "5"
    assert len(text_rows.read_all(db)) == MAX_TEXTS
