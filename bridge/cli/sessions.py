"""``charger-bridge sessions list|export|replay|report``: reads session reports from the store.

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from bridge.adapters.store.backends import backend_of
from bridge.cli.session_costs import Costs, read_costs
from bridge.config.tags import TagNames, tag_pairs
from bridge.conventions.native.sessions import report_document
from bridge.core.easee.redaction import shown as shown_text
from bridge.core.easee.rest_requests import is_serial
from bridge.core.easee.session_costs import SessionCost, match_costs
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.core.sessions.report_merge import cleared
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc
from bridge.errors import StoreLocked
from bridge.exports.month_report import (
    Month,
    MonthReport,
    SessionRow,
    as_csv,
    as_html,
    as_json,
    month_report,
)
from bridge.ports import StoreReader
from bridge.settings import Settings

LIST_COLUMNS = "{:<24} {:<20} {:>10} {:>8}  {:<20} {:<8}  {}"
# A cell that begins so is a formula to a spreadsheet, and a tag may contain any text.
BEYOND = timedelta(days=1)
REPORTS: Mapping[str, Callable[[MonthReport], str]] = {
    "csv": as_csv,
    "json": as_json,
    "html": as_html,
}
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
    _add_report(actions, add_config)


def _add_report(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
    add_config: Callable[[argparse.ArgumentParser], None],
) -> None:
    text = "write the sessions of a month with energy, cost, tag names and sums"
    action = actions.add_parser("report", help=text, description=text)
    action.set_defaults(sessions_run=_report)
    add_config(action)
    action.add_argument("--month", required=True, type=_month, metavar="YYYY-MM")
    action.add_argument("--by", choices=("tag", "charger"), default="tag", help="default: tag")
    action.add_argument("--format", choices=tuple(REPORTS), default="csv", help="default: csv")
    action.add_argument(
        "--timezone",
        type=_zone,
        metavar="ZONE",
        default="UTC",
        help="time zone of the month and of all times, e.g. Europe/Oslo; default: UTC",
    )
    action.add_argument("--charger", type=_serial, metavar="SERIAL", help="only this charger")
    action.add_argument(
        "--no-costs",
        action="store_true",
        help="do not ask the cloud for costs (one login, one request for each charger)",
    )
    action.add_argument("--output", type=Path, metavar="FILE", help="default: print it")


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a date or time, not {text!r}") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _month(text: str) -> str:
    try:
        at = datetime.strptime(text, "%Y-%m")  # noqa: DTZ007 - a month, not a moment
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a month, 2026-11, not {text!r}") from None
    return f"{at:%Y-%m}"


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise argparse.ArgumentTypeError(
            f"must be a time zone like Europe/Oslo, not {text!r}"
        ) from None


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
        shown = _cells(
            _document(msgspec.structs.replace(stored, report=replace(report, auth="")), None)
        )
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
    documents = (
        _named(_document(stored, salt), settings, stored) for stored in _stored(settings, arguments)
    )
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
        stored = msgspec.structs.replace(stored, report=replace(stored.report, auth=""))
    row = cleared(stored, personal_data=salt is None, salt=salt or b"")
    return report_document(row).decode()


def _named(document: str, settings: Settings, stored: StoredReport) -> str:
    """Return a document with the charger's name, where any charger has one."""
    if not settings.easee.names:
        return document
    name = settings.easee.name_of(stored.report.charger_id) or None
    return f'{document.removesuffix("}")},"charger":{json.dumps(name)}}}'


def _cells(document: str) -> dict[str, str]:
    """Split a document into the cells of a row; numbers stay the text they are."""
    found: dict[str, object] = json.loads(document, parse_float=_Number, parse_int=_Number)
    return {name: _cell(value) for name, value in found.items()}


class _Number(str):
    """A number as it was spelled."""

    __slots__ = ()


def _csv(documents: Iterable[str]) -> str:
    """Write CSV for spreadsheets; an empty cell is an unknown value.

    UTF-8 without a byte order mark: all but names and tags shown in plain is ASCII, and a mark
    would become a part of the first column's name for every other reader.
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


def _report(settings: Settings, arguments: argparse.Namespace) -> int:
    month = Month(arguments.month, arguments.timezone.key, arguments.timezone)
    # A report is placed by its arrival where its own time cannot be: look beyond the borders.
    found = _reader(settings).reports(
        since=month.begins_at - BEYOND,
        until=month.ends_at + BEYOND,
        charger_id=arguments.charger,
    )
    stored = [one for one in found if month.has(one.report.at)]
    costs = Costs()
    if not arguments.no_costs and not arguments.without_secrets:
        costs = asyncio.run(read_costs(settings, [one.report for one in stored]))
    elif arguments.without_secrets and not arguments.no_costs:
        costs.problems.append(f"no costs: {arguments.without_secrets}")
    salt = _reader(settings).tag_hash_key() or b""
    names = TagNames(tag_pairs(settings.publish), salt)
    found_costs = _costs_by_key(stored, costs)
    rows = [_session_row(settings, one, salt, names, found_costs.get(one.key)) for one in stored]
    report = month_report(month, arguments.by, rows, costs.read_at)
    for problem in costs.problems:
        sys.stderr.write(f"charger-bridge: {problem}\n")
    with _output(arguments.output) as stream:
        stream.write(REPORTS[arguments.format](report))
    return 0


def _costs_by_key(stored: Iterable[StoredReport], costs: Costs) -> dict[str, SessionCost]:
    """Return the costs of some sessions, by the key of their report."""
    found: dict[str, SessionCost] = {}
    for charger_id, told in costs.by_charger.items():
        own = (one for one in stored if one.report.charger_id == charger_id)
        sessions = ((one.key, one.report.session_id, one.report.started_at) for one in own)
        found |= match_costs(sessions, told)
    return found


def _session_row(
    settings: Settings, stored: StoredReport, salt: bytes, names: TagNames, cost: SessionCost | None
) -> SessionRow:
    report, is_personal = stored.report, settings.publish.personal_data
    # Without a salt a hash would hide nothing, so then the tag is left out.
    shown = cleared(stored, personal_data=is_personal, salt=salt).report.auth
    return SessionRow(
        key=stored.key,
        charger_id=report.charger_id,
        charger=settings.easee.name_of(report.charger_id),
        tag=shown if is_personal or salt else "",
        tag_name=names.name_of(report.auth),
        session_id=report.session_id,
        started_at=report.started_at,
        ended_at=report.at,
        energy_kwh=report.energy_kwh,
        cost=None if cost is None else cost.cost,
        currency="" if cost is None else cost.currency,
    )


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
