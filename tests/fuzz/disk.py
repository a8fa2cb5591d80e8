"""The borders towards files, the environment and the log."""

import contextlib
import os
from datetime import timedelta
from pathlib import Path

from bridge import logs
from bridge.adapters.easee.token_file import TokenFile
from bridge.adapters.state_files.charger_list import KeptChargerList
from bridge.adapters.state_files.documents import FileDocuments
from bridge.adapters.state_files.published_discovery import KeptDiscovery
from bridge.adapters.store.row_format import command_columns, report_columns
from bridge.adapters.store.row_format.digest import digest_of
from bridge.adapters.store.sqlite.recovery.page_reader import read_rows_from_page
from bridge.adapters.store.sqlite.recovery.wal_reader import read_log
from bridge.adapters.store.sqlite.schema import PAGE_SIZES
from bridge.config import loading
from bridge.config.file import MAX_FILE_BYTES, read_text
from bridge.config.keys import BY_VARIABLE
from bridge.core.easee.rest_requests import is_serial
from bridge.core.events import (
    StoreOpened,
)
from bridge.core.records.command_row import CommandRow
from bridge.errors import ConfigError
from bridge.settings import MqttSettings, Secret
from tests.fuzz.core import NOON, ONE, any_of, parts, shake, text_of

CONFIG_FD = os.memfd_create("config")
CONFIG = Path(f"/proc/self/fd/{CONFIG_FD}")
ENVIRON = {
    "CHARGER_BRIDGE_EASEE__USERNAME": "someone@example.com",
    "CHARGER_BRIDGE_EASEE__PASSWORD": "fuzz-password",
}


def _hold(data: bytes) -> Path:
    os.ftruncate(CONFIG_FD, 0)
    os.pwrite(CONFIG_FD, data, 0)
    return CONFIG


def configuration(data: bytes) -> None:
    """The configuration file: settings, or every problem on a line of its own."""
    read_text(text_of(data[:MAX_FILE_BYTES]), name="file")
    try:
        loading.load_with_warnings(_hold(data), ENVIRON)
    except ConfigError as error:
        for problem in error.problems:
            assert logs.escape(problem) == problem, problem
            assert len(problem) <= 2000


VARIABLES = sorted(BY_VARIABLE)
MAX_VARIABLE_BYTES = 128 * 1024  # what Linux takes


def environment(data: bytes) -> None:
    """One variable of the environment, known or not."""
    name, value = parts(data, 2)
    number = name[0] if name else 0
    known = VARIABLES[number % len(VARIABLES)]
    variable = known if len(name) < 2 else f"CHARGER_BRIDGE_{text_of(name[:MAX_VARIABLE_BYTES])}"
    given = text_of(value[:MAX_VARIABLE_BYTES]).replace("\0", "")
    if variable.endswith("_FILE"):
        given = "/dev/null/" + given
    try:
        loading.load(None, {**ENVIRON, variable: given})
    except ConfigError as error:
        for problem in error.problems:
            assert logs.escape(problem) == problem, problem


def command_row(data: bytes) -> None:
    """A command's row, its hash right and everything else of another program."""
    texts = [text_of(part) for part in parts(data, 6)]
    command, name, digest, state, charger_id = texts[:5]
    row = CommandRow(
        "key", charger_id or ONE, command, name, digest, state, NOON, NOON + timedelta(seconds=60),
        parts(data, 6)[5], b"", data[-1:] == b"f",
    )  # fmt: skip
    if all(text.isascii() for text in texts[:5]):
        shake(StoreOpened((), commands=(row,)))


def columns(data: bytes) -> None:
    """Rows of any columns, with a hash that is right or wrong: what was written, or nothing."""
    given = any_of(data)
    row = given if isinstance(given, list) else [given]
    for width, read, place in (
        (18, report_columns.from_row, 15),
        (12, command_columns.from_row, 11),
    ):
        cut = [*row, *[None] * width][:width]
        assert read(cut) is None
        covered = [*cut[:place], *cut[place + 1 :]]
        with contextlib.suppress(TypeError, ValueError):  # opening a store takes these for damage
            read([*cut[:place], digest_of(covered), *cut[place + 1 :]])


ANOTHER_PAGE = 2


def page(data: bytes) -> None:
    """A page of a damaged store: rows of our width, or nothing."""
    size = PAGE_SIZES[len(data) % len(PAGE_SIZES)]
    image = (data + bytes(size))[:size]

    def page_of(number: int) -> bytes:
        return image if number == ANOTHER_PAGE else b""

    for settled in (True, False):
        for number, row in enumerate(read_rows_from_page(image, page_of, settled=settled)):
            assert len(row) in (12, 16, 18)
            report_columns.from_row(row)
            if number > 20:
                break


FOLDER = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
STEM = FOLDER / f"charger-bridge-fuzz-{os.getpid()}"


def log_file(data: bytes) -> None:
    """The write-ahead log and its index as bytes: frames of a page each."""
    log, index = parts(data, 2)
    for suffix, content in (("-wal", log + bytes(4200) * 2), ("-shm", index)):
        Path(f"{STEM}{suffix}").write_bytes(content)
    try:
        found = read_log(STEM)
        found.lost(0)
        assert {len(frame.page) for frame in found.frames} <= set(PAGE_SIZES)
    finally:
        for suffix in ("-wal", "-shm"):
            Path(f"{STEM}{suffix}").unlink(missing_ok=True)


def own_files(data: bytes) -> None:
    """The token and roster files: what we wrote, or nothing."""
    handle = os.open(STEM, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(handle, data)
    os.close(handle)
    try:
        stored = TokenFile(STEM, "account").load()
        assert stored.access is None or isinstance(stored.access, Secret)
        documents = FileDocuments(STEM.parent)
        roster = KeptChargerList(documents, "account", STEM.name).load()
        assert all(map(is_serial, (*roster.charger_ids, *roster.left)))
        published = KeptDiscovery(documents, MqttSettings(host="account"), STEM.name).load()
        assert all(isinstance(topic, str) for topic in published)
    finally:
        STEM.unlink()


def log_line(data: bytes) -> None:
    """Any text in any place of a log line: one line, nothing a terminal obeys."""
    first, second = (text_of(part) for part in parts(data, 2))
    fields = {"timestamp": "t", "level": "info", "event": first, "field": second, second: first}
    cleaned = logs.clean_fields({**fields, "deep": {first: [second]}})
    rendered = logs._json(None, "", cleaned)
    shown = logs._console(None, "", {"timestamp": "t", "level": "info", "event": "", **cleaned})
    assert "\n" not in rendered + shown
    assert logs.escape(shown) == shown
