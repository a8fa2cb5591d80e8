"""An older store becomes a newer one with everything it held, and damage is told from content."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.store.row_format.digest import digest_of, time_text
from bridge.adapters.store.sqlite.database_file import open_file
from bridge.adapters.store.sqlite.quota import Quota
from bridge.adapters.store.sqlite.report_rows import has_consumer, mark_published, read_owed, select
from bridge.adapters.store.sqlite.schema import (
    APPLICATION_ID,
    MIGRATIONS,
    lenient_text,
    overwritten,
)

AT = "2026-11-22T12:00:00.000000+00:00"


def row_of_version_1(number: int, published: int) -> tuple[object, ...]:
    """Build a row as the first version wrote it."""
    key = f"EH123456-{number}"
    content = (key, 1, "EH123456", number, AT, AT, 1.0, None, 7.25, 3, "", "stream", AT, AT)
    columns = (*content, published)
    return (*columns, digest_of(columns))


def store_of_version_1(path) -> None:
    """Make a store as the first version left it: one row owed, one published, one damaged."""
    db = sqlite3.connect(path)
    for step in MIGRATIONS[0]:
        db.execute(step)
    rows = [row_of_version_1(n, published=int(n == 2)) for n in (1, 2, 3)]
    db.executemany(f"INSERT INTO report VALUES ({', '.join('?' * 16)})", rows)
    db.execute("UPDATE report SET energy_kwh = 9999 WHERE session_id = 3")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()


def test_a_store_of_version_1_is_taken_over(tmp_path):
    """What was owed is owed, what was published is settled, and damage is still seen."""
    path = tmp_path / "bridge.db"
    store_of_version_1(path)
    db, _ = open_file(path, Quota(tmp_path, 100 * 4096))
    owed, damaged = read_owed(db)
    held = {row.key: row.settled for row in select(db)}
    db.close()

    assert [row.key for row in owed] == ["EH123456-1"]
    assert held == {"EH123456-1": False, "EH123456-2": True}
    assert damaged == 1


def test_a_store_of_version_1_can_be_read_as_it_is(tmp_path):
    """`sessions list` shows a store that no newer program has opened yet."""
    path = tmp_path / "bridge.db"
    store_of_version_1(path)
    db = sqlite3.connect(path)
    rows = {row.key: (row.published, row.settled) for row in select(db)}
    db.close()

    assert rows == {"EH123456-1": (False, False), "EH123456-2": (True, True)}


def store_of_version_2(path) -> None:
    """Make a store as the second version left it, with clocks that were wrong."""
    store_of_version_1(path)
    db = sqlite3.connect(path)
    for step in MIGRATIONS[1]:
        if isinstance(step, str):
            db.execute(step)
        else:
            step(db)
    far, default = "2036-02-07T06:28:16.000000+00:00", "2000-01-01T00:01:00.000000+00:00"
    for number, start, stop, stamp in ((5, AT, far, AT), (6, default, AT, far)):
        content = ("EH123456", number, start, stop, 1.0, None, None, None, "", "stream", stamp, AT)
        key = f"EH123456-{number}-20001231"
        columns, more = (key, 1, *content, 0), (0, None)
        db.execute(
            f"INSERT INTO report VALUES ({', '.join('?' * 18)})",
            (*columns, digest_of((*columns, *more)), *more),
        )
    db.execute("PRAGMA user_version = 2")
    db.commit()
    db.close()


def judged(db) -> dict:
    """Read what the rows say of their clocks."""
    return {
        row.report.session_id: (row.key, row.report.doubtful, time_text(row.report.at))
        for row in select(db)
    }


def test_a_store_of_version_2_is_taken_over_and_its_clocks_are_judged(tmp_path):
    """No key changes; a stop in 2036 counts as ended when it came; damage is still seen."""
    path = tmp_path / "bridge.db"
    store_of_version_2(path)
    db = sqlite3.connect(path)
    before = judged(db)
    db.close()
    db, _ = open_file(path, Quota(tmp_path, 100 * 4096))
    after = judged(db)
    ranks = {row.report.session_id: time_text(row.report.rank) for row in select(db)}
    owed, damaged = read_owed(db)
    consumer = has_consumer(db)
    db.close()

    assert after == before
    assert after == {
        1: ("EH123456-1", (), AT),
        2: ("EH123456-2", (), AT),
        5: ("EH123456-5-20001231", ("ended_at",), AT),
        6: ("EH123456-6-20001231", ("started_at",), AT),
    }
    assert ranks[6] == AT
    assert (len(owed), damaged, consumer) == (3, 1, True)


def test_a_new_store_has_no_consumer_until_somebody_took_a_report(tmp_path):
    """Contract 6: what nobody ever asked for is kept."""
    db, _ = open_file(tmp_path / "bridge.db", Quota(tmp_path, 100 * 4096))
    assert not has_consumer(db)
    mark_published(db, "EH123456-1", 1, None)

    assert has_consumer(db)
    db.close()


@pytest.mark.fault("F4")
def test_a_migration_that_is_broken_off_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    """A store is of one version or of the next, never between."""
    path = tmp_path / "bridge.db"
    store_of_version_1(path)

    def fail(_db):
        raise sqlite3.OperationalError("the power goes")

    steps = (MIGRATIONS[0], (*MIGRATIONS[1][:-1], fail), MIGRATIONS[2])
    monkeypatch.setattr("bridge.adapters.store.sqlite.database_file.MIGRATIONS", steps)
    with pytest.raises(sqlite3.OperationalError):
        open_file(path, Quota(tmp_path, 100 * 4096))
    monkeypatch.undo()
    db = sqlite3.connect(path)
    version = db.execute("PRAGMA user_version").fetchone()[0]
    columns = len(db.execute("SELECT * FROM report").fetchone())
    db.close()
    assert (version, columns) == (1, 16)

    db, _ = open_file(path, Quota(tmp_path, 100 * 4096))
    assert [row.key for row in read_owed(db)[0]] == ["EH123456-1"]
    db.close()


@given(st.binary())
def test_any_bytes_can_be_read_as_a_text_column(data):
    """A damaged text column stops no reading."""
    assert lenient_text(data).encode("utf-8", "surrogateescape") == data


def test_an_update_sets_every_column_but_the_key():
    """A row that is written again is written whole."""
    assert overwritten("SELECT key, a, b FROM t") == "a = excluded.a, b = excluded.b"
