"""A store whose file goes away under it goes on under the same name, with everything in it."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from bridge.adapters.state_files.plain_file import kind
from bridge.adapters.store.sqlite.database_file import identity, open_file
from bridge.adapters.store.sqlite.quota import Quota
from bridge.adapters.store.sqlite.reader import SqliteReader
from bridge.adapters.store.sqlite.recovery.replaced_file import rewrite_under_name
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.core.events import StoreFailed, StoreOpened
from bridge.errors import StoreError
from tests.intruders import INTRUDERS, place
from tests.mosquitto import until
from tests.soak.load import command_of, report_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path):
    """A store's file."""
    return tmp_path / "store" / "bridge.db"


def store_of(path, events):
    """Make a store that is quick to mend itself."""
    return SqliteStore(path, max_mib=4, emit=events.append, floor_bytes=0, first_retry_s=0.01)


def numbers(path):
    """Return the sessions that are found under the store's name."""
    return sorted(row.report.session_id for row in SqliteReader(path).reports())


def remove(path):
    """Delete the file alone."""
    path.unlink()


def remove_all(path):
    """Delete the file and what belongs to it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()


def replace(path):
    """Put somebody else's file in its place."""
    path.rename(f"{path}.away")
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE somebody_elses (x)")
    db.close()


@pytest.mark.parametrize("harm", [remove, remove_all, replace])
async def test_a_file_that_is_gone_is_written_anew_with_everything_in_it(path, harm):
    """Whoever tidies up too much loses no report, and is told."""
    events = []
    store = store_of(path, events)
    await store.open()
    await store.save(report_of(1))
    await store.save_command(command_of(1, 0))
    harm(path)
    await store.save(report_of(2))
    assert numbers(path) == [1, 2]
    await until(lambda: events)
    assert [type(e) for e in events] == [StoreOpened]
    (problem,) = events[0].problems
    assert problem.kind == ("store_replaced" if harm is replace else "store_incomplete")
    assert "2 rows of it were saved" in problem.message
    assert events[0].commands == ()
    await store.save(report_of(3))
    assert len(events) == 1
    await store.close()

    opened = await store.open()
    await store.close()
    assert numbers(path) == [1, 2, 3]
    assert (len(opened.owed), len(opened.commands)) == (3, 1)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_folder_that_is_gone_is_said_and_its_rows_come_back_with_it(path):
    """Nothing is called committed that nobody would find; what was open is still there."""
    events = []
    store = store_of(path, events)
    await store.open()
    await store.save(report_of(1))
    shutil.rmtree(path.parent)
    with pytest.raises(StoreError):
        await store.save(report_of(2))
    await until(lambda: events)
    assert isinstance(events[0], StoreFailed)

    path.parent.mkdir()
    await until(lambda: isinstance(events[-1], StoreOpened))
    await store.save(report_of(2))
    await store.close()
    assert numbers(path) == [1, 2]


async def test_a_file_that_goes_before_the_end_is_written_anew_at_the_end(path):
    """Nothing was written after it was deleted; what it held is there all the same."""
    store = store_of(path, [])
    await store.open()
    await store.save(report_of(1))
    remove_all(path)
    await store.close()

    assert numbers(path) == [1]


def test_a_name_means_one_file_at_a_time(path):
    """A new file of the same name is another, and none is none."""
    path.parent.mkdir()
    assert identity(path) is None
    db, _ = open_file(path, Quota(path.parent, 100 * 4096))
    first = identity(path)
    path.rename(f"{path}.away")
    rewrite_under_name(db, path)

    assert None not in (first, identity(path))
    assert identity(path) != first


@pytest.mark.usefixtures("never_hangs")
@pytest.mark.parametrize("intruder", ["pipe", "socket", "folder"])
async def test_what_is_put_in_the_place_of_a_running_store_is_moved_aside(path, intruder):
    """A pipe or a folder under the store's name costs no report and holds nobody up."""
    events = []
    store = store_of(path, events)
    await store.open()
    await store.save(report_of(1))
    path.unlink()
    with place(intruder, path):
        await store.save(report_of(2))
        await until(lambda: events)
        await store.save(report_of(3))
        await store.close()

    assert numbers(path) == [1, 2, 3]
    aside = path.with_name("bridge.db.corrupt.1")
    assert kind(aside) == INTRUDERS[intruder]
    await store.open()
    await store.close()
