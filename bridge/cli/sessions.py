"""``charger-bridge sessions list|export|replay``: reads session reports from the store.

Listing and exporting only read, also while a bridge is running. Replaying changes the store, so
it needs the store for itself; a running bridge is asked over MQTT instead.
"""

import argparse
import asyncio
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from bridge.adapters.store.backends import backend_of
from bridge.conventions.native.sessions import report_document
from bridge.core.easee.redaction import shown as shown_text
from bridge.core.easee.rest_requests import is_serial
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.core.sessions.report_merge import cleared
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc
from bridge.errors import StoreLocked
from bridge.ports import StoreReader
from bridge.settings import Settings

LIST_COLUMNS = "{:<24} {:<20} {:>10} {:>8}  {:<20} {:<8}  {}"
# A cell that begins so is a formula to a spreadsheet, and a tag may contain any text.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def add_arguments(
    parser: argparse.ArgumentParser, add_config: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Add ``list``, ``export`` and ``replay``."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, text in (
        ("list", _list, "print one line per stored session"),
        ("export", _export, "write the stored sessions as CSV or JSON"),
        ("replay", _replay, "mark stored sessions to be published again at the next start"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.set_defaults(sessions_run=run)
        add_config(action)
        action.add_argument("--since", type=_moment, metavar="TIME", help="ended then or later")
        action.add_argument("--charger", type=_serial, metavar="SERIAL", help="only this charger")
        if name == "export":
            action.add_argument("--format", choices=("csv", "json"), default="csv")
            action.add_argument("--output", type=Path, metavar="FILE", help="default: print it")


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a date or time, not {text!r}") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _serial(text: str) -> str:
    if not is_serial(text):
        raise argparse.ArgumentTypeError(f"must be a serial, not {text!r}")
    return text


def _stored(settings: Settings, arguments: argparse.Namespace) -> Iterator[StoredReport]:
    return _reader(settings).reports(since=arguments.since, charger_id=arguments.charger)


def _reader(settings: Settings) -> StoreReader:
    return backend_of(settings.store).reader(settings.store)


def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    heads = ("key", "ended", "kWh", "revision", "auth reason", "source", "state")
    lines = [LIST_COLUMNS.format(*heads)]
    names = dict(settings.easee.names)
    for stored in _stored(settings, arguments):
        report = stored.report
        shown = _cells(_document(replace(stored, report=replace(report, auth="")), None))
        cells = (stored.key, shown["ended_at"], shown["energy_kwh"], str(stored.revision))
        reason = shown["auth_reason_name"] or "-"
        notes = [*(f"no {name}" for name in report.incomplete), "clock suspect"]
        called = names.get(report.charger_id)
        state = ", ".join([_state(stored), *notes[: None if report.doubtful else -1]])
        state += f"  {called}" if called else ""
        lines.append(LIST_COLUMNS.format(*cells, reason, report.source, state))
    lines += map(_unread_line, _unread(settings, arguments))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _unread(settings: Settings, arguments: argparse.Namespace) -> Iterator[UnreadText]:
    for text in _reader(settings).texts():
        is_wanted = arguments.charger in (None, text.charger_id)
        if is_wanted and (arguments.since is None or text.received_at >= arguments.since):
            yield text


def _unread_line(text: UnreadText) -> str:
    """Return an unreadable session as a line, without tags and control characters."""
    told = "".join(one if one.isprintable() else "?" for one in shown_text(text.text))
    return f"{text.charger_id} {iso_utc(text.received_at)} cannot be read, {text.reason}: {told}"


def _state(stored: StoredReport) -> str:
    if stored.settled:
        return "settled" if stored.published else "kept"
    return "published" if stored.published else "owed"


def _export(settings: Settings, arguments: argparse.Namespace) -> int:
    personal_data = settings.publish.personal_data
    salt = None if personal_data else _reader(settings).tag_hash_key() or b""
    documents = (_document(stored, salt) for stored in _stored(settings, arguments))
    text = _csv(documents) if arguments.format == "csv" else _json(documents)
    with _output(arguments.output) as stream:
        stream.write(text)
    return 0


def _document(stored: StoredReport, salt: bytes | None) -> str:
    """Return the document as it is published.

    Args:
        stored: The row.
        salt: For hashing the tag; None shows it as it is. Without a salt a hash would hide
            nothing, so then it is left out.
    """
    if salt == b"":
        stored = replace(stored, report=replace(stored.report, auth=""))
    row = cleared(stored, personal_data=salt is None, salt=salt or b"")
    return report_document(row).decode()


def _cells(document: str) -> dict[str, str]:
    """Split a document into the cells of a row; numbers stay the text they are."""
    found: dict[str, object] = json.loads(document, parse_float=_Number, parse_int=_Number)
    return {name: _cell(value) for name, value in found.items()}


class _Number(str):
    """A number as it was spelled."""

    __slots__ = ()


def _csv(documents: Iterable[str]) -> str:
    """Write CSV for spreadsheets; an empty cell is an unknown value.

    UTF-8 without a byte order mark: all but a tag shown in plain is ASCII, and a mark would become
    a part of the first column's name for every other reader.
    """
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for cells in map(_cells, documents):
        if writer is None:
            writer = csv.DictWriter(text, fieldnames=list(cells), lineterminator="\r\n")
            writer.writeheader()
        writer.writerow(cells)
    return text.getvalue()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return " ".join(value)
        case _Number():
            return str(value)  # a negative one is no formula
        case _:
            text = str(value)
            return f"'{text}" if text.startswith(FORMULA) else text


def _json(documents: Iterable[str]) -> str:
    """Write a JSON array, one session a line."""
    rows = ",\n".join(documents)
    return f"[\n{rows}\n]\n" if rows else "[]\n"


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    """Open what is written to. A new file is its owner's alone: sessions say who charged when."""
    if path is None:
        yield sys.stdout
        return
    # A pipe without a reader is an error at once; one with a reader may be slow.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
    handle = os.open(path, flags, 0o600)
    os.set_blocking(handle, True)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
        yield stream


def _replay(settings: Settings, arguments: argparse.Namespace) -> int:
    _reader(settings).require()

    async def owe() -> int:
        try:
            store = backend_of(settings.store).store(settings.store, lambda _event: None)
            await store.open()
        except StoreLocked as error:
            topic = Topics(settings.mqtt.base_topic).session_replay
            since = iso_utc(arguments.since) if arguments.since else None
            request = {"since": since, "charger": arguments.charger}
            payload = json.dumps(
                {key: value for key, value in request.items() if value is not None}
            )
            hint = f"ask the running bridge: publish {payload} to {topic}"
            raise StoreLocked(str(error), hint=hint) from error
        try:
            owed = await store.mark_pending(since=arguments.since, charger_id=arguments.charger)
        finally:
            await store.close()
        return len(owed)

    count = asyncio.run(owe())
    sys.stdout.write(f"{count} sessions will be published at the next start\n")
    return 0
