"""The report of a month adds up, whatever the clocks and the prices do."""

import csv
import html.parser
import io
import json
import random
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.exports.month_report import (
    COLUMNS,
    Month,
    SessionRow,
    as_csv,
    as_html,
    as_json,
    month_report,
    sum_of,
)

OSLO = ZoneInfo("Europe/Oslo")
OCTOBER = Month("2026-10", "Europe/Oslo", OSLO)
SINCE = datetime(2025, 1, 1, tzinfo=UTC)
KARI, OLA = "Kari <Nordmann> & Co", "Ola"


def row(ended_at, energy_kwh=10.0, number=1, **facts):
    """One session."""
    given = {
        "key": f"k{number}",
        "charger_id": "EH000001",
        "charger": "Garage",
        "tag": "sha256:ab",
        "tag_name": KARI,
        "session_id": number,
        "started_at": ended_at - timedelta(hours=2),
        "ended_at": ended_at,
        "energy_kwh": energy_kwh,
        **facts,
    }
    return SessionRow(**given)


def two_hundred():
    """A month of 200 sessions: the clock goes back on the 25th, the price rises on the 16th."""
    rng = random.Random(16)
    rows, total = [], Decimal(0)
    for number in range(200):
        at = OCTOBER.begins_at + (OCTOBER.ends_at - OCTOBER.begins_at) * number / 200
        at = at.replace(microsecond=0) + timedelta(seconds=1)
        energy_kwh = round(rng.uniform(0.1, 60.0), 6)
        price = 1.25 if at < datetime(2026, 10, 16, tzinfo=UTC) else 1.5
        cost = None if number % 50 == 0 else round(energy_kwh * price, 2)
        total += Decimal(str(energy_kwh))
        facts = {"charger_id": f"EH00000{number % 3}", "charger": "", "cost": cost}
        facts |= {"currency": "" if cost is None else "NOK"}
        facts |= {"tag_name": (KARI, OLA, "")[number % 3], "tag": ("a", "b", "")[number % 3]}
        rows.append(row(at, energy_kwh, number, **facts))
    rng.shuffle(rows)
    return rows, total


def numbers_on_paper(page):
    """Return energy and cost of each row of a printed report: sessions, groups, the total."""
    cells = re.findall(r'<td class="n">([0-9.]+)[^<]*</td><td class="n">([0-9.]*)', page)
    return [(Decimal(energy), Decimal(money or 0)) for energy, money in cells]


@pytest.mark.parametrize("by", ["tag", "charger"])
def test_a_month_of_200_sessions_adds_up_across_clock_and_price_changes(by):
    """In every form: the groups, the rows and the total say the same."""
    rows, energy_kwh = two_hundred()
    cost = sum((Decimal(str(one.cost)) for one in rows if one.cost is not None), Decimal(0))
    report = month_report(OCTOBER, by, rows)
    assert (report.total.sessions, report.total.energy_kwh) == (200, energy_kwh)
    assert (report.total.costs, report.total.without_cost) == ({"NOK": cost}, 4)
    assert len(report.groups) == 3
    assert sum(group.total.energy_kwh for group in report.groups) == energy_kwh
    assert sum(group.total.costs["NOK"] for group in report.groups) == cost

    cells = list(csv.DictReader(io.StringIO(as_csv(report))))
    kinds = {kind: [one for one in cells if one["kind"] == kind] for kind in ("session", "sum")}
    (total,) = (one for one in cells if one["kind"] == "total")
    assert list(cells[0]) == list(COLUMNS)
    for found in kinds.values():
        assert sum(Decimal(one["energy_kwh"]) for one in found) == Decimal(total["energy_kwh"])
        assert sum(Decimal(one["cost"] or 0) for one in found) == Decimal(total["cost"]) == cost
    assert total["sessions"] == "200"

    document = json.loads(as_json(report), parse_float=Decimal, parse_int=Decimal)
    assert document["total"]["energy_kwh"] == energy_kwh
    told = [one["energy_kwh"] for group in document["groups"] for one in group["sessions"]]
    assert (len(told), sum(told)) == (200, energy_kwh)

    *shown, (total_kwh, total_cost) = numbers_on_paper(as_html(report))
    assert len(shown) == 200 + 3
    assert sum(kwh for kwh, _ in shown) == total_kwh * 2 == energy_kwh * 2
    assert sum(money for _, money in shown) == total_cost * 2 == cost * 2


def test_both_times_of_the_hour_that_occurs_twice_are_told_apart():
    """By their offset, in order."""
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    report = month_report(OCTOBER, "tag", [row(first + timedelta(hours=1), number=2), row(first)])
    told = json.loads(as_json(report))["groups"][0]["sessions"]
    assert [one["ended_at"] for one in told] == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
    ]
    assert "2026-10-25 02:30+01:00" in as_html(report)


def test_a_session_across_midnight_belongs_to_the_month_in_which_it_ended():
    """By the zone of the report, not by UTC."""
    new_year = row(datetime(2026, 9, 30, 22, 5, tzinfo=UTC))
    assert month_report(OCTOBER, "tag", [new_year]).total.sessions == 1
    assert month_report(Month("2026-10", "UTC", UTC), "tag", [new_year]).total.sessions == 0
    assert month_report(Month("2026-09", "UTC", UTC), "tag", [new_year]).total.sessions == 1


@given(
    st.integers(0, 3 * 365 * 86_400).map(lambda s: SINCE + timedelta(seconds=s)),
    st.sampled_from(["UTC", "Europe/Oslo", "America/St_Johns", "Pacific/Auckland"]),
)
def test_every_session_belongs_to_exactly_one_month(at, zone_name):
    """Of all months around it, in any zone."""
    zone = ZoneInfo(zone_name)
    names = [f"{year}-{month:02}" for year in range(2024, 2029) for month in range(1, 13)]
    months = [Month(name, zone_name, zone) for name in names]
    assert sum(month.has(at) for month in months) == 1


def test_costs_of_two_currencies_are_not_added_up():
    """Each has a row of its own, and the energy is told once."""
    at = OCTOBER.begins_at
    rows = [
        row(at, 1.5, 1, cost=2.0, currency="NOK"),
        row(at, 2.5, 2, cost=3.0, currency="EUR"),
        row(at, 1.0, 3),
    ]
    total = sum_of(rows)
    assert total.costs == {"EUR": Decimal(3), "NOK": Decimal(2)}
    text = as_csv(month_report(OCTOBER, "tag", rows))
    totals = [one for one in csv.DictReader(io.StringIO(text)) if one["kind"] == "total"]
    assert [(one["currency"], one["cost"], one["energy_kwh"]) for one in totals] == [
        ("EUR", "3", "5"),
        ("NOK", "2", ""),
    ]
    assert "1 of 3 without cost" in as_html(month_report(OCTOBER, "tag", rows))


def test_without_names_the_hash_or_nothing_names_a_group():
    """And chargers are named by serial."""
    at = OCTOBER.begins_at
    rows = [row(at, tag_name=""), row(at, number=2, tag_name="", tag=""), row(at, number=3)]
    names = [group.name for group in month_report(OCTOBER, "tag", rows).groups]
    assert names == [KARI, "no tag", "sha256:ab"]
    assert month_report(OCTOBER, "charger", rows).groups[0].name == "Garage (EH000001)"
    unnamed = month_report(OCTOBER, "charger", [row(at, charger="")])
    assert unnamed.groups[0].name == "EH000001"


class _Tags(html.parser.HTMLParser):
    """Collects tags and texts, and what is left open."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@given(st.text(max_size=20), st.text(max_size=20))
def test_the_page_is_whole_and_escaped_whatever_people_are_called(name, currency):
    """Every element is closed, every text is text, and nothing outside is referred to."""
    facts = {"tag_name": name, "charger": name, "cost": 1.0, "currency": currency}
    text = as_html(month_report(OCTOBER, "tag", [row(OCTOBER.begins_at, **facts)]))
    page = _Tags()
    page.feed(text)
    page.close()
    assert page.open == []
    assert {key for key, _ in page.attributes} <= {"lang", "charset", "class", "colspan"}
    assert "http" not in text.replace(name, "").replace(currency, "") or "http" in name + currency
    assert "@media print" in text


def test_a_cell_is_no_formula():
    """A name may begin like one; a number is a number."""
    text = as_csv(month_report(OCTOBER, "tag", [row(OCTOBER.begins_at, tag_name="=1+1", cost=-1)]))
    (first, *_) = csv.DictReader(io.StringIO(text))
    assert (first["tag_name"], first["cost"]) == ("'=1+1", "-1")


def test_paper_shows_every_digit_that_is_added_up():
    """A price of four decimals does not make the sum another one than that of its rows."""
    rows = [row(OCTOBER.begins_at, 0.4112, n, cost=1.2345, currency="NOK") for n in range(3)]
    page = as_html(month_report(OCTOBER, "tag", rows))
    assert page.count('<td class="n">0.4112</td><td class="n">1.2345 NOK</td>') == 3
    assert "1.2336 kWh" in page
    assert "3.7035 NOK" in page
    whole = as_html(month_report(OCTOBER, "tag", [row(OCTOBER.begins_at, 2.5, cost=3)]))
    assert '<td class="n">2.500</td><td class="n">3.00</td>' in whole


def test_a_report_says_when_the_cloud_told_its_costs():
    """On the page in the time zone of the report; without them it says so."""
    read_at = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
    report = month_report(OCTOBER, "tag", [], read_at)
    assert "that the Easee cloud told at 2026-11-01 09:30+01:00." in as_html(report)
    assert json.loads(as_json(report))["costs_read_at"] == "2026-11-01T08:30:00Z"
    without = month_report(OCTOBER, "tag", [])
    assert "Without costs." in as_html(without)
    assert json.loads(as_json(without))["costs_read_at"] is None


def test_an_empty_month_is_a_report_too():
    """With a sum of nothing."""
    report = month_report(OCTOBER, "tag", [])
    assert json.loads(as_json(report))["total"] == {
        "sessions": 0,
        "energy_kwh": 0,
        "costs": {},
        "without_cost": 0,
    }
    assert "0.000 kWh" in as_html(report)
    assert len(as_csv(report).splitlines()) == 2
