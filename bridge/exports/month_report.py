"""The sessions of a month as a report for people: CSV, JSON, or HTML that prints on paper.

Rules:

1. A session belongs to the month in which it ended, by the time zone of the report: to exactly one.
2. Sums are exact: they are made of the numbers as they are shown, in every format with all their
   digits. Costs of different currencies are never added up, and sessions without cost are counted.
3. Costs are what the cloud tells; the report says when it told them. None is calculated here.
4. Every text is escaped. The HTML refers to nothing outside of it.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from html import escape
from typing import Final, Literal

from bridge.core.session_documents import plain
from bridge.core.value_format import iso_utc

By = Literal["tag", "charger"]
DECEMBER: Final = 12
NO_TAG: Final = "no tag"
# Digits behind the point on paper; a number that has more shows them.
ENERGY_DIGITS: Final = 3
COST_DIGITS: Final = 2
COLUMNS: Final = (
    *("kind", "charger_id", "charger", "tag", "tag_name", "session_id", "started_at", "ended_at"),
    *("energy_kwh", "cost", "currency", "sessions", "without_cost", "key"),
)
# A cell that begins so is a formula to a spreadsheet, and a name may contain any text.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a time zone.

    Attributes:
        name: Year and month, e.g. ``2026-11``.
        zone_name: Of the time zone.
        zone: The time zone.
        begins_at: Its first moment.
        ends_at: The first moment of the next one.
    """

    name: str
    zone_name: str
    zone: tzinfo
    begins_at: datetime = field(init=False)
    ends_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        year, month = (int(part) for part in self.name.split("-"))
        following = (year + 1, 1) if month == DECEMBER else (year, month + 1)
        # Compared in UTC: two times of one zone are compared by their wall clocks.
        begins_at = datetime(year, month, 1, tzinfo=self.zone).astimezone(UTC)
        ends_at = datetime(*following, 1, tzinfo=self.zone).astimezone(UTC)
        object.__setattr__(self, "begins_at", begins_at)
        object.__setattr__(self, "ends_at", ends_at)

    def has(self, at: datetime) -> bool:
        """Return whether a moment lies in it."""
        return self.begins_at <= at < self.ends_at

    def local(self, at: datetime) -> datetime:
        """Return a moment in its time zone."""
        return at.astimezone(self.zone)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session.

    Attributes:
        key: Of its report.
        charger_id: Serial.
        charger: What people call the charger; empty for nothing.
        tag: As it may be published; empty where there was none.
        tag_name: Whose it is; empty where that is not configured.
        session_id: The charger's own counter.
        started_at: When it began.
        ended_at: When it counts as ended.
        energy_kwh: What was charged.
        cost: With value added tax; None where the cloud told none.
        currency: Of the cost.
    """

    key: str
    charger_id: str
    charger: str
    tag: str
    tag_name: str
    session_id: int | None
    started_at: datetime
    ended_at: datetime
    energy_kwh: float
    cost: float | None = None
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """What some sessions add up to.

    Attributes:
        sessions: How many.
        energy_kwh: Of all of them.
        costs: By currency.
        without_cost: Of how many the cloud told no cost.
    """

    sessions: int
    energy_kwh: Decimal
    costs: Mapping[str, Decimal]
    without_cost: int


@dataclass(frozen=True, slots=True)
class Group:
    """The sessions of one tag or charger.

    Attributes:
        name: What people read.
        rows: Its sessions, oldest end first.
        total: Their sum.
    """

    name: str
    rows: tuple[SessionRow, ...]
    total: Sum


@dataclass(frozen=True, slots=True)
class MonthReport:
    """The sessions of a month, by tag or charger.

    Attributes:
        month: The month.
        by: What the sessions are grouped by.
        groups: The sessions, by tag or charger.
        total: Of all of them.
        costs_read_at: When the cloud told the costs; None where it was not asked.
    """

    month: Month
    by: By
    groups: tuple[Group, ...]
    total: Sum
    costs_read_at: datetime | None = None


def month_report(
    month: Month, by: By, rows: Iterable[SessionRow], costs_read_at: datetime | None = None
) -> MonthReport:
    """Make the report of a month.

    Args:
        month: The month.
        by: What the sessions are grouped by.
        rows: Sessions; those that ended outside of the month are left out.
        costs_read_at: When the cloud told the costs; None where it was not asked.
    """
    found = sorted((row for row in rows if month.has(row.ended_at)), key=_order)
    groups: dict[str, list[SessionRow]] = {}
    for row in found:
        groups.setdefault(_group_of(row, by), []).append(row)
    return MonthReport(
        month,
        by,
        tuple(Group(name, tuple(own), sum_of(own)) for name, own in sorted(groups.items())),
        sum_of(found),
        costs_read_at,
    )


def _order(row: SessionRow) -> tuple[datetime, str]:
    return row.ended_at, row.key


def _group_of(row: SessionRow, by: By) -> str:
    if by == "tag":
        return row.tag_name or row.tag or NO_TAG
    return f"{row.charger} ({row.charger_id})" if row.charger else row.charger_id


def sum_of(rows: Sequence[SessionRow]) -> Sum:
    """Add up some sessions."""
    costs: dict[str, Decimal] = {}
    for row in rows:
        if row.cost is not None:
            costs[row.currency] = costs.get(row.currency, Decimal(0)) + _decimal(row.cost)
    return Sum(
        len(rows),
        sum((_decimal(row.energy_kwh) for row in rows), Decimal(0)),
        dict(sorted(costs.items())),
        sum(row.cost is None for row in rows),
    )


def _decimal(number: float) -> Decimal:
    return Decimal(str(plain(number)))


# -- CSV and JSON ------------------------------------------------------------------------------


def as_csv(report: MonthReport) -> str:
    """Write a row for each session, for the sum of each group and currency, and for all of them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for group in report.groups:
        for row in group.rows:
            writer.writerow(_safe({"kind": "session", **_session(report.month, row)}))
        writer.writerows(_sums("sum", group.total, {_column(report.by): group.name}))
    writer.writerows(_sums("total", report.total, {}))
    return text.getvalue()


def _column(by: By) -> str:
    return "tag_name" if by == "tag" else "charger"


def _sums(kind: str, total: Sum, named: Mapping[str, str]) -> list[dict[str, str]]:
    """Return a row for each currency; the first one has the energy."""
    head = {
        "kind": kind,
        **named,
        "sessions": str(total.sessions),
        "without_cost": str(total.without_cost),
        "energy_kwh": _plain(total.energy_kwh),
    }
    rows = [{"cost": _plain(cost), "currency": code} for code, cost in total.costs.items()] or [{}]
    first, *others = rows
    return [_safe(head | first), *(_safe({"kind": kind, **named} | other) for other in others)]


def _session(month: Month, row: SessionRow) -> dict[str, str]:
    return {
        "charger_id": row.charger_id,
        "charger": row.charger,
        "tag": row.tag,
        "tag_name": row.tag_name,
        "session_id": "" if row.session_id is None else str(row.session_id),
        "started_at": month.local(row.started_at).isoformat(timespec="seconds"),
        "ended_at": month.local(row.ended_at).isoformat(timespec="seconds"),
        "energy_kwh": _plain(_decimal(row.energy_kwh)),
        "cost": "" if row.cost is None else _plain(_decimal(row.cost)),
        "currency": row.currency,
        "key": row.key,
    }


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _safe(cells: Mapping[str, str]) -> dict[str, str]:
    numbers = ("energy_kwh", "cost")
    return {
        name: f"'{text}" if text.startswith(_FORMULA) and name not in numbers else text
        for name, text in cells.items()
    }


def as_json(report: MonthReport) -> str:
    """Write one document; numbers are plain decimals."""
    month = report.month
    document = {
        "month": month.name,
        "timezone": month.zone_name,
        "from": month.local(month.begins_at).isoformat(),
        "to": month.local(month.ends_at).isoformat(),
        "by": report.by,
        "costs_read_at": report.costs_read_at and iso_utc(report.costs_read_at),
        "groups": [
            {
                "name": group.name,
                "sessions": [_json_row(month, row) for row in group.rows],
                "sum": _json_sum(group.total),
            }
            for group in report.groups
        ],
        "total": _json_sum(report.total),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _json_row(month: Month, row: SessionRow) -> dict[str, object]:
    return {
        **{name: text or None for name, text in _session(month, row).items()},
        "session_id": row.session_id,
        "energy_kwh": plain(row.energy_kwh),
        "cost": plain(row.cost),
    }


def _json_sum(total: Sum) -> dict[str, object]:
    return {
        "sessions": total.sessions,
        "energy_kwh": _number(total.energy_kwh),
        "costs": {currency: _number(cost) for currency, cost in total.costs.items()},
        "without_cost": total.without_cost,
    }


def _number(number: Decimal) -> float | int:
    return int(number) if number == int(number) else float(number)


# -- HTML --------------------------------------------------------------------------------------

_STYLE: Final = """\
body { font: 11pt/1.4 sans-serif; margin: 2em auto; max-width: 60em; color: #000; }
h1 { font-size: 16pt; } h2 { font-size: 12pt; margin: 1.5em 0 .3em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .15em .5em; border-bottom: 1px solid #bbb; }
th.n, td.n { text-align: right; } tfoot td { font-weight: bold; border-top: 2px solid #000; }
thead { display: table-header-group; } tr { break-inside: avoid; }
h2 { break-after: avoid; }
@page { size: A4; margin: 1.5cm; }
@media print { body { margin: 0; max-width: none; font-size: 9pt; } }
"""


def as_html(report: MonthReport) -> str:
    """Write a page that needs nothing else and prints on paper."""
    month = report.month
    title = f"Charging sessions {month.name}"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        f'<head><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{_STYLE}</style></head>",
        f"<body><h1>{escape(title)}</h1>",
        f"<p>{escape(_about(report))}</p>",
    ]
    for group in report.groups:
        parts += (f"<h2>{_name(group.name)}</h2>", *_table(month, group))
    heading = ("<h2>Total</h2>", "<table><tbody>")
    cells = _total_cells(report.total)
    parts += (*heading, f"<tr><td>Sum</td>{cells}</tr>", "</tbody></table>")
    return "\n".join((*parts, "</body></html>")) + "\n"


def _name(text: str) -> str:
    """Return a name as HTML. One that is written from right to left turns nothing beside it."""
    return f"<bdi>{escape(text)}</bdi>"


def _about(report: MonthReport) -> str:
    """Say which sessions are listed, and what the costs are."""
    which = f"Sessions that ended in the month, time zone {report.month.zone_name}."
    if report.costs_read_at is None:
        return f"{which} Without costs."
    at = _clock(report.month, report.costs_read_at)
    return f"{which} Costs include value added tax and are those that the Easee cloud told at {at}."


def _table(month: Month, group: Group) -> Iterable[str]:
    yield "<table><thead><tr><th>Start</th><th>End</th><th>Charger</th><th>Tag</th>"
    yield '<th class="n">kWh</th><th class="n">Cost</th></tr></thead><tbody>'
    for row in group.rows:
        times = (_clock(month, row.started_at), _clock(month, row.ended_at))
        names = map(_name, (row.charger or row.charger_id, row.tag_name or row.tag))
        cells = "".join(f"<td>{text}</td>" for text in (*times, *names))
        cost = "" if row.cost is None else _money(_decimal(row.cost), row.currency)
        energy = _exact(_decimal(row.energy_kwh), ENERGY_DIGITS)
        yield f'<tr>{cells}<td class="n">{energy}</td><td class="n">{escape(cost)}</td></tr>'
    yield f'</tbody><tfoot><tr><td colspan="4">Sum</td>{_total_cells(group.total)}</tr></tfoot>'
    yield "</table>"


def _clock(month: Month, at: datetime) -> str:
    """Spell a time with its offset: at the end of summer time an hour occurs twice."""
    return month.local(at).isoformat(sep=" ", timespec="minutes")


def _total_cells(total: Sum) -> str:
    costs = ", ".join(_money(cost, currency) for currency, cost in total.costs.items())
    if total.without_cost:
        costs += f"{'; ' * bool(costs)}{total.without_cost} of {total.sessions} without cost"
    energy = _exact(total.energy_kwh, ENERGY_DIGITS)
    return f'<td class="n">{energy} kWh</td><td class="n">{escape(costs)}</td>'


def _money(cost: Decimal, currency: str) -> str:
    return f"{_exact(cost, COST_DIGITS)} {currency}".rstrip()


def _exact(number: Decimal, digits: int) -> str:
    """Spell a number with so many digits behind its point, or more where it has more."""
    _, _, has = _plain(number).partition(".")
    return f"{number:.{max(digits, len(has))}f}"
