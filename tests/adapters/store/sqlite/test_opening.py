"""A store opens whatever state it is in, saves what can be saved, and is silent about nothing."""

import contextlib
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge.adapters.store.sqlite import database_file as file_module
from bridge.adapters.store.sqlite import opening
from bridge.adapters.store.sqlite.command_rows import put as put_commands
from bridge.adapters.store.sqlite.damage import Damage
from bridge.adapters.store.sqlite.database_file import open_file, transaction
from bridge.adapters.store.sqlite.opening import close_store, open_store
from bridge.adapters.store.sqlite.quota import Quota
from bridge.adapters.store.sqlite.recovery.row_recovery import insert_recovered
from bridge.adapters.store.sqlite.report_rows import mark_published, put, save, select, settle
from bridge.adapters.store.sqlite.salt_file import salt_file, write_salt
from bridge.adapters.store.sqlite.schema import PAGE_SIZES
from bridge.core.records.command_row import CommandRow
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.errors import StoreError

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
COUNT = 60


def report(number: int) -> SessionReport:
    """Make the report of a session."""
    return SessionReport(
        charger_id="EH123456",
        session_id=number,
        started_at=NOON,
        ended_at=NOON + timedelta(minutes=number),
        energy_kwh=float(number),
        meter_start_kwh=None,
        meter_stop_kwh=1278.5,
        auth_reason=3,
        auth="04E1B2C3D4",
        source="stream",
        measured_at=NOON,
        received_at=NOON,
    )


def command(number: int, state: str = "waiting", answer: bytes = b"") -> CommandRow:
    """Make a command's row, every third too long for a page."""
    return CommandRow(
        key=f"command-{number}",
        charger_id="EH123456",
        command="toggle",
        name="",
        digest="",
        state=state,
        received_at=NOON,
        expires_at=NOON + HOUR,
        body=b"b" * (9000 if number % 3 == 0 else 20),
        answer=answer,
        flash=False,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "bridge.db"


def opened(path: Path):
    """Open a store with room enough."""
    return open_store(path, Quota(path.parent, 1024 * 4096, 0))


def fill(path: Path, *, crash: bool = False) -> None:
    """Make a store with reports and commands; end it like a crash, its log still beside it."""
    db, _ = opened(path)
    write_salt(path, b"s" * 32)
    for number in range(COUNT):
        with transaction(db):
            save(db, report(number), lambda: None)
            if number % 2:
                mark_published(db, f"EH123456-{number}", 1, NOON)
                settle(db, ((f"EH123456-{number}", 1),))
    with transaction(db):
        put_commands(db, (command(1), command(2, "sent"), command(3, "confirmed", b"{}")))
    if crash:
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(f"{path}{suffix}", f"{path}{suffix}.copy")
    close_store(db)
    if crash:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}.copy").rename(f"{path}{suffix}")


def everything(path: Path) -> tuple[dict[str, StoredReport], object]:
    """Open a store; return all its reports and what it said."""
    db, said = opened(path)
    held = {row.key: row for row in select(db)}
    close_store(db)
    return held, said


def edit(path: Path, statement: str) -> None:
    """Change the file behind the store's back."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


@pytest.mark.parametrize("crash", [False, True])
def test_a_sound_store_says_nothing(path, crash):
    """After a clean end and after a crash everything is there, and nobody is alarmed."""
    fill(path, crash=crash)
    held, said = everything(path)

    assert len(held) == COUNT
    assert [row.report.session_id for row in said.contents.owed] == list(range(0, COUNT, 2))
    assert said.contents.commands == (
        command(1),
        command(2, "sent"),
        command(3, "confirmed", b"{}"),
    )
    assert said.damage == Damage()


def break_the_head(path: Path) -> None:
    """Make the first page unreadable."""
    data = bytearray(path.read_bytes())
    data[:100] = b"\xff" * 100
    path.write_bytes(data)


def break_a_page(path: Path) -> None:
    """Tear a page in the middle."""
    data = bytearray(path.read_bytes())
    size = page_size(data)
    data[size * 5 : size * 6] = bytes(size)
    path.write_bytes(data)


def cut_the_end(path: Path) -> None:
    """Lose the last page."""
    data = path.read_bytes()
    path.write_bytes(data[: -page_size(data)])


def page_size(data: bytes) -> int:
    """Read how large a page of a file is."""
    return int.from_bytes(data[16:18], "big")


@pytest.mark.parametrize("page_bytes", PAGE_SIZES)
@pytest.mark.parametrize("harm", [break_the_head, break_a_page, cut_the_end])
def test_a_damaged_file_is_moved_aside_and_its_rows_are_saved(path, harm, page_bytes, monkeypatch):
    """Most rows are where they were, exactly, and go out as if nothing had happened."""
    monkeypatch.setattr(file_module, "PAGE_BYTES", page_bytes)
    fill(path)
    before, _ = everything(shutil.copytree(path.parent, path.parent / "sound") / path.name)
    harm(path)
    held, said = everything(path)

    assert said.damage.moved_to == f"{path}.corrupt.1"
    assert Path(said.damage.moved_to).exists()
    assert held.items() <= before.items()
    assert len(held) > COUNT - 20
    assert said.damage.recovered == len(held) + len(said.contents.commands)
    assert [row.key for row in said.contents.owed] == [
        row.key for row in held.values() if not row.settled
    ]
    again, said = everything(path)
    assert again == held
    assert said.damage == Damage()


@pytest.mark.parametrize("harm", [break_the_head, break_a_page, cut_the_end])
def test_the_log_mends_the_file_it_belongs_to(path, harm):
    """Pages that are still in the log are right, whatever became of them in the file."""
    fill(path, crash=True)
    harm(path)
    held, said = everything(path)

    assert len(held) == COUNT
    assert (said.damage.damaged, said.damage.is_incomplete) == (0, False)


def test_commands_from_a_damaged_file_count_as_sent_unless_they_are_answered(path):
    """The row may be older than what happened, and nothing is sent twice."""
    fill(path)
    break_the_head(path)
    _, said = everything(path)
    states = {row.key: row.state for row in said.contents.commands}

    assert states == {"command-1": "sent", "command-2": "sent", "command-3": "confirmed"}
    assert next(row for row in said.contents.commands if row.answer) == command(
        3, "confirmed", b"{}"
    )


def test_a_log_without_its_file_is_saved_too(path):
    """SQLite would delete it without a word."""
    fill(path, crash=True)
    path.unlink()
    held, said = everything(path)

    assert said.damage.moved_to
    assert len(held) > 0


@pytest.mark.parametrize("harm", ["gone", "empty", "foreign"])
def test_a_log_that_is_gone_is_missed(path, harm):
    """What was committed last may be missing: said, and no command is sent on its word."""
    fill(path, crash=True)
    wal = Path(f"{path}-wal")
    if harm == "gone":
        wal.unlink()
    else:
        wal.write_bytes(b"" if harm == "empty" else b"no log at all\n" * 1000)
    _, said = everything(path)

    assert said.damage.is_incomplete
    assert not said.damage.moved_to
    assert {row.state for row in said.contents.commands} <= {"sent", "confirmed"}


def test_what_a_damaged_log_holds_behind_the_damage_is_saved(path):
    """SQLite stops at the first bad frame; the rows behind it are still what was written."""
    fill(path, crash=True)
    before, _ = everything(shutil.copytree(path.parent, path.parent / "sound") / path.name)
    wal = Path(f"{path}-wal")
    data = bytearray(wal.read_bytes())
    data[len(data) // 3] ^= 1
    wal.write_bytes(data)
    held, said = everything(path)

    assert said.damage.is_incomplete
    assert said.damage.recovered > 0
    assert held == before


@pytest.mark.parametrize("left", [None, b""])
def test_a_store_that_vanished_is_not_begun_anew_in_silence(path, left):
    """Its salt beside it remembers that there was one."""
    fill(path)
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    held, said = everything(path)

    assert held == {}
    assert said.damage.is_incomplete
    assert salt_file(path).exists()


def test_a_first_start_is_no_damage(path):
    """Nothing was there, and nothing is missing."""
    _, said = everything(path)

    assert (said.damage.moved_to, said.damage.is_incomplete) == ("", False)


@pytest.mark.parametrize(
    "change",
    [
        "energy_kwh = 9999.0",
        "published = 1",
        "settled = 1",
        "auth = CAST(x'FFFE' AS TEXT)",
        "auth = x'00'",
        "revision = 'x'",
        "ended_at = 'never'",
        "digest = x'00'",
    ],
)
def test_a_damaged_row_is_counted_and_never_handed_out(path, change):
    """Whatever was changed behind our back, the row's hash tells."""
    fill(path)
    edit(path, f"UPDATE report SET {change} WHERE key = 'EH123456-10'")
    held, said = everything(path)

    assert said.damage.damaged == 1
    assert "EH123456-10" not in held
    assert "EH123456-10" not in {row.key for row in said.contents.owed}
    assert not said.damage.moved_to


def test_a_damaged_command_is_counted_and_never_handed_out(path):
    """A command whose row is not what was written is not carried out."""
    fill(path)
    edit(path, "UPDATE command SET state = 'waiting' WHERE key = 'command-2'")
    _, said = everything(path)

    assert said.damage.damaged == 1
    assert [row.key for row in said.contents.commands] == ["command-1", "command-3"]


def test_a_report_that_comes_again_replaces_its_damaged_row(path):
    """The new row's revision is above the damaged one's, so a consumer takes it."""
    fill(path)
    edit(path, "UPDATE report SET energy_kwh = 1.5 WHERE key = 'EH123456-10'")
    db, _ = opened(path)
    with transaction(db):
        stored = save(db, report(10), lambda: None)
    close_store(db)
    _, said = everything(path)

    assert stored == (StoredReport("EH123456-10", 2, report(10)), True)
    assert said.damage.damaged == 0


def test_a_row_missing_from_an_index_is_damage(path):
    """Or a report that is there would be stored a second time."""
    fill(path)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("DELETE FROM sqlite_master WHERE name = 'report_session'")
        db.execute(
            "INSERT INTO sqlite_master VALUES ('index', 'report_session', 'report',"
            " (SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_command_1'),"
            " 'CREATE INDEX report_session ON report (charger_id, session_id)')"
        )
    held, said = everything(path)

    assert said.damage.moved_to
    assert len(held) == COUNT


def test_what_is_damaged_beyond_the_check_is_moved_aside_too(path, monkeypatch):
    """A check that was cut short does not let a broken file keep the bridge from starting."""
    fill(path)
    data = path.read_bytes()
    size = page_size(data)
    path.write_bytes(data[: size * 3] + bytes(size * 4) + data[size * 7 :])
    monkeypatch.setattr(file_module, "_check", lambda _db: None)
    held, said = everything(path)

    assert said.damage.moved_to
    assert len(held) > COUNT // 3


def test_a_store_of_a_newer_program_is_left_alone(path):
    """A downgrade is refused with a hint; the file is not touched."""
    fill(path)
    edit(path, "PRAGMA user_version = 999")
    edit(path, "UPDATE meta SET value = 999 WHERE name = 'version'")

    with pytest.raises(StoreError, match="newer") as caught:
        opened(path)
    assert caught.value.hint
    assert not list(path.parent.glob("*.corrupt.*"))


def test_a_version_that_was_only_damaged_is_no_newer_program(path):
    """A flipped bit in the head does not keep the bridge from starting."""
    fill(path)
    edit(path, "PRAGMA user_version = 999")
    held, said = everything(path)

    assert said.damage.moved_to
    assert len(held) == COUNT


class Died(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("harm", ["head", "orphan"])
@pytest.mark.parametrize("step", range(12))
@pytest.mark.fault("F4")
def test_a_process_that_dies_while_it_saves_rows_loses_none(path, monkeypatch, harm, step):
    """Before each file that is moved and each commit: the next process goes on from there."""
    fill(path, crash=harm == "orphan")
    if harm == "orphan":
        path.unlink()
    else:
        break_the_head(path)
    expected, _ = everything(shutil.copytree(path.parent, path.parent / "other") / path.name)
    left = [step]

    def dying(real):
        def call(*args):
            left[0] -= 1
            if left[0] == -1:
                raise Died
            return real(*args)

        return call

    monkeypatch.setattr(Path, "rename", dying(Path.rename))
    monkeypatch.setattr(opening, "open_file", dying(open_file))
    monkeypatch.setattr(opening, "insert_recovered", dying(insert_recovered))
    monkeypatch.setattr(opening, "close_store", lambda db: db.close())
    with contextlib.suppress(Died):
        opened(path)[0].close()
    monkeypatch.undo()
    held, _ = everything(path)

    assert held == expected
    assert len(held) > COUNT // 3
    assert not list(path.parent.glob("*.damaged*"))


def test_more_than_fits_is_saved_as_far_as_it_goes(path):
    """What is owed comes first; of the rest as much as leaves room."""
    db, _ = opened(path)
    rows = [StoredReport(f"EH123456-{n}", 1, report(n), True, n % 50 > 0) for n in range(3000)]
    with transaction(db):
        put(db, rows)
    close_store(db)
    break_the_head(path)
    db, said = open_store(path, Quota(path.parent, 128 * 4096, 0))
    held = list(select(db))
    close_store(db)

    assert len(said.contents.owed) == 60
    assert 60 < len(held) < 3000


def test_a_disk_that_fails_is_not_taken_for_a_broken_file(path, monkeypatch):
    """An I/O error says nothing about the file: nothing is moved."""
    fill(path)

    def fail(*_):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    monkeypatch.setattr("bridge.adapters.store.sqlite.opening.open_file", fail)
    with pytest.raises(sqlite3.OperationalError):
        opened(path)

    assert not list(path.parent.glob("*.corrupt.*"))
