"""What fits is said before it is needed, and what ends something always fits."""

import pytest

from bridge.adapters.store.sqlite import database_file, schema
from bridge.adapters.store.sqlite.database_file import open_file, transaction
from bridge.adapters.store.sqlite.quota import Quota
from bridge.adapters.store.sqlite.schema import PAGE_SIZES
from bridge.errors import StoreFull


@pytest.fixture
def db(tmp_path):
    """A store of a quarter MiB."""
    db, _ = open_file(tmp_path / "bridge.db", Quota(tmp_path, 64 * 4096, 0))
    yield db
    db.close()


def fill(db, room: Quota) -> None:
    """Add rows until no more may be added."""
    for number in range(1000):
        if room.used_share(db) >= 1.0:
            return
        with transaction(db):
            db.execute("INSERT INTO meta VALUES (?, ?)", (f"n{number}", b"x" * 3000))
    pytest.fail("it is never full")


def test_a_full_store_has_room_left_for_what_ends_something(tmp_path, db):
    """The quota is reached before the file is: an update still finds a page."""
    quota = Quota(tmp_path, 64 * 4096, 0)
    quota.require(db)
    fill(db, quota)

    with pytest.raises(StoreFull, match="quota") as caught:
        quota.require(db)
    assert caught.value.hint
    with transaction(db):
        db.execute("INSERT INTO meta VALUES ('an answer', ?)", (b"x" * 3000,))


def test_deleting_makes_room_again(tmp_path, db):
    """Pages that are free count as free, though the file stays as large."""
    quota = Quota(tmp_path, 64 * 4096, 0)
    fill(db, quota)
    with transaction(db):
        db.execute("DELETE FROM meta")

    assert quota.used_share(db) < 0.2
    quota.require(db)


def test_a_disk_without_room_is_as_full_as_can_be(tmp_path, db):
    """Whatever the quota says, below the floor nothing new is taken."""
    quota = Quota(tmp_path, 64 * 4096, 2**62)

    assert quota.usage(db).used_share == 1.0
    with pytest.raises(StoreFull, match="disk"):
        quota.require(db)


@pytest.mark.parametrize(("kib", "log_kib"), [(4, 32), (1024, 128), (8192, 1024), (65536, 4096)])
def test_the_log_of_a_small_store_is_small(tmp_path, kib, log_kib):
    """Beside a store of 1 MiB a log of 4 would fill its disk."""
    quota = Quota(tmp_path, kib * 1024, 0)

    assert quota.checkpoint_pages(1024) == log_kib
    assert quota.checkpoint_pages(4096) == max(32, log_kib // 4)
    assert 1 <= quota.row_bytes <= kib * 1024
    assert quota.max_pages(1024) == kib


@pytest.mark.parametrize("page_bytes", PAGE_SIZES)
def test_the_quota_counts_bytes_whatever_the_page_size(tmp_path, monkeypatch, page_bytes):
    """A file that an earlier version made keeps its larger pages, and has the same room."""
    quota = Quota(tmp_path, 1024 * 1024, 0)
    with monkeypatch.context() as patch:
        patch.setattr(database_file, "PAGE_BYTES", page_bytes)
        open_file(tmp_path / "bridge.db", quota)[0].close()
    db, _ = open_file(tmp_path / "bridge.db", quota)
    fill(db, quota)
    ((pages,),) = db.execute("PRAGMA page_count").fetchall()
    kept_bytes = schema.page_bytes(db)
    held_bytes = pages * kept_bytes
    db.close()

    assert kept_bytes == page_bytes
    assert quota.row_bytes <= held_bytes < quota.row_bytes + 16 * 1024
