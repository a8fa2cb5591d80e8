"""The salt stays the same, whatever becomes of the store."""

import stat

import pytest

from bridge.adapters.store.sqlite.database_file import open_file
from bridge.adapters.store.sqlite.quota import Quota
from bridge.adapters.store.sqlite.salt_file import (
    SALT_BYTES,
    keep_salt,
    read_salt,
    salt_file,
    write_salt,
)

SALT = bytes(range(SALT_BYTES))


@pytest.fixture
def path(tmp_path):
    """Where the store is."""
    return tmp_path / "bridge.db"


@pytest.fixture
def db(path):
    """An empty store."""
    db, _ = open_file(path, Quota(path.parent, 100 * 4096, 0))
    yield db
    db.close()


def test_a_salt_is_made_once_and_kept_twice(path, db):
    """It is in the store and beside it, for its owner only."""
    salt = keep_salt(db, path)

    assert keep_salt(db, path) == read_salt(path) == salt
    assert len(salt) == SALT_BYTES
    assert stat.S_IMODE(salt_file(path).stat().st_mode) == 0o600


def test_a_store_begun_anew_has_the_salt_beside_it(path, db):
    """Hashes of tags stay comparable when the file was lost."""
    write_salt(path, SALT)

    assert keep_salt(db, path) == SALT
    salt_file(path).unlink()
    assert keep_salt(db, path) == SALT


@pytest.mark.parametrize("content", [b"", SALT, SALT + b"12345678", b"x" * 41])
def test_a_damaged_copy_is_not_believed(path, db, content):
    """The one in the store is right then, and the copy is written again."""
    salt = keep_salt(db, path)
    salt_file(path).write_bytes(content)

    assert read_salt(path) is None
    assert keep_salt(db, path) == salt == read_salt(path)


def test_a_copy_that_cannot_be_written_is_no_error(path, db):
    """A full disk does not keep the store from opening."""
    salt_file(path).mkdir()

    assert len(keep_salt(db, path)) == SALT_BYTES
