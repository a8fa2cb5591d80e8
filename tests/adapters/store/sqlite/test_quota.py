"""What fits is said before it is needed, and what ends something always fits."""

import pytest

from bridge.adapters.store.sqlite.database_file import open_file, transaction
from bridge.adapters.store.sqlite.quota import Quota
from bridge.errors import StoreFull


@pytest.fixture
def db(tmp_path):
    """A store of 64 pages."""
    db, _ = open_file(tmp_path / "bridge.db", Quota(tmp_path, 64, 0))
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
    quota = Quota(tmp_path, 64, 0)
    quota.require(db)
    fill(db, quota)

    with pytest.raises(StoreFull, match="quota") as caught:
        quota.require(db)
    assert caught.value.hint
    with transaction(db):
        db.execute("INSERT INTO meta VALUES ('an answer', ?)", (b"x" * 3000,))


def test_deleting_makes_room_again(tmp_path, db):
    """Pages that are free count as free, though the file stays as large."""
    quota = Quota(tmp_path, 64, 0)
    fill(db, quota)
    with transaction(db):
        db.execute("DELETE FROM meta")

    assert quota.used_share(db) < 0.2
    quota.require(db)


def test_a_disk_without_room_is_as_full_as_can_be(tmp_path, db):
    """Whatever the quota says, below the floor nothing new is taken."""
    quota = Quota(tmp_path, 64, 2**62)

    assert quota.usage(db).used_share == 1.0
    with pytest.raises(StoreFull, match="disk"):
        quota.require(db)


@pytest.mark.parametrize(("pages", "log"), [(1, 32), (256, 32), (2048, 256), (16384, 1000)])
def test_the_log_of_a_small_store_is_small(tmp_path, pages, log):
    """Beside a store of 1 MiB a log of 4 would fill its disk."""
    quota = Quota(tmp_path, pages, 0)

    assert quota.checkpoint_pages == log
    assert 1 <= quota.pages <= pages
