"""Rows are found in the pages of a file by nothing but themselves."""

import sqlite3
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.store.row_format import command_columns, report_columns
from bridge.adapters.store.row_format.command_columns import COMMAND_WIDTH
from bridge.adapters.store.row_format.report_columns import REPORT_WIDTH, REPORT_WIDTH_1
from bridge.adapters.store.sqlite import command_rows, report_rows
from bridge.adapters.store.sqlite.recovery.page_reader import read_rows_from_page
from bridge.adapters.store.sqlite.schema import (
    MIGRATIONS,
    PAGE_SIZES,
)
from tests.soak.load import command_of, report_of

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LARGEST = max(PAGE_SIZES)


def nowhere(_number: int) -> bytes:
    """Find no page."""
    return b""


def everything(page: bytes, page_of) -> list:
    """Carve what is owed, then what is settled."""
    return [
        row
        for settled in (False, True)
        for row in read_rows_from_page(page, page_of, settled=settled)
    ]


@pytest.fixture(scope="module", params=PAGE_SIZES)
def size(request) -> int:
    """The page size of the file."""
    return request.param


@pytest.fixture(scope="module")
def data(tmp_path_factory, size) -> bytes:
    """The bytes of a file with reports, and with commands that go on over several pages."""
    path = tmp_path_factory.mktemp("carving") / "bridge.db"
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA page_size = {size}")
    for step in (step for steps in MIGRATIONS for step in steps):
        if isinstance(step, str):
            db.execute(step)
    for number in range(40):
        row, _ = report_rows.save(db, report_of(number, energy_kwh=float(number)), lambda: None)
        if number % 3 == 0:
            report_rows.settle(db, ((row.key, 1),))
    command_rows.put(db, (command_of(number, number % 4) for number in range(40)))
    db.commit()
    db.close()
    return path.read_bytes()


def pages(data: bytes, size: int) -> list[bytes]:
    """Cut a file into pages."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_every_row_is_found_exactly_as_it_was_written(data, size):
    """Whole numbers stay energies, and a row longer than a page is put together."""

    def page_of(number: int) -> bytes:
        return data[(number - 1) * size : number * size]

    found = [row for page in pages(data, size) for row in everything(page, page_of)]
    reports = [report_columns.from_row(row) for row in found if len(row) == REPORT_WIDTH]
    held = [command_columns.from_row(row) for row in found if len(row) == COMMAND_WIDTH]

    expected = [report_of(number, energy_kwh=float(number)) for number in range(40)]
    assert sorted((r.report for r in reports), key=lambda r: r.session_id) == expected
    assert sorted(held, key=lambda row: row.key) == [command_of(n, n % 4) for n in range(40)]


def test_what_is_settled_is_told_before_it_is_read(data, size):
    """Every third report of the file; commands are never history."""
    found = [
        row
        for page in pages(data, size)
        for row in read_rows_from_page(page, nowhere, settled=True)
    ]
    held = [report_columns.from_row(row) for row in found]

    assert sorted(row.report.session_id for row in held) == list(range(0, 40, 3))
    assert all(row.settled for row in held)


def test_a_row_whose_rest_is_gone_is_passed_over(data, size):
    """Half a command is none."""
    found = [row for page in pages(data, size) for row in everything(page, nowhere)]
    held = [command_columns.from_row(row) for row in found if len(row) == COMMAND_WIDTH]

    assert len(held) == 38
    assert None not in held


@given(st.integers(0, 40), st.lists(st.tuples(st.integers(0, LARGEST - 1), st.binary(max_size=9))))
def test_no_page_is_an_error_whatever_is_in_it(data, size, number, stretches):
    """Damage is passed over, and what is found intact was once written."""
    held = pages(data, size)
    page = bytearray(held[number % len(held)])
    for at, stretch in stretches:
        page[at % size : at % size + len(stretch)] = stretch
    for row in everything(bytes(page[:size]), nowhere):
        if len(row) == COMMAND_WIDTH:
            command = command_columns.from_row(row)
            assert command is None or command in {command_of(n, n % 4) for n in range(40)}
        else:
            stored = report_columns.from_row(row)
            number = -1 if stored is None else stored.report.session_id
            assert stored is None or stored.report == report_of(number, energy_kwh=float(number))


@given(st.binary(max_size=LARGEST), st.sampled_from(PAGE_SIZES))
def test_what_is_no_page_holds_no_row(data, size):
    """Anything may be in a file, and none of it passes for a row."""
    page = data[:size].ljust(size, data[:1] or b"\0")
    for row in everything(page, lambda _number: data):
        assert (command_columns if len(row) == COMMAND_WIDTH else report_columns).from_row(
            row
        ) is None
    assert everything(data[:100], nowhere) == []


OURS = (COMMAND_WIDTH, REPORT_WIDTH_1, REPORT_WIDTH)


def page_with(*cells: int, body: bytes = b"") -> bytes:
    """Make a leaf page whose cells lie there, and something behind them."""
    head = bytes((0x0D, 0, 0)) + len(cells).to_bytes(2, "big") + bytes(3)
    head += b"".join(cell.to_bytes(2, "big") for cell in cells)
    return (head + body + bytes(LARGEST))[:LARGEST]


def test_a_length_that_does_not_hold_the_row_s_head_is_no_row():
    """What stands in the head would be a row of ours; what is read is cut off in the middle."""
    whole = bytes((COMMAND_WIDTH + 1, 1, COMMAND_WIDTH + 1)) + bytes(COMMAND_WIDTH)
    cut = bytes((COMMAND_WIDTH - 1, 1, COMMAND_WIDTH + 1)) + bytes(COMMAND_WIDTH)

    assert everything(page_with(10, body=whole), nowhere) == [[None] * COMMAND_WIDTH]
    assert everything(page_with(10, body=cut), nowhere) == []


def test_a_number_ends_after_nine_bytes():
    """A longer run of continued bytes is garbage; it led to rows of no width of ours."""
    found = bytes.fromhex("5b 919191919191919191 250d3739 00000000000000 21")
    page = (found + bytes(LARGEST))[:LARGEST]

    assert all(len(row) in OURS for row in everything(page, nowhere))


def test_cells_that_all_lead_into_one_run_are_not_walked_for_each():
    """A page is looked at in time: its cells may all point at the same four thousand bytes."""
    run = b"\x91" * LARGEST
    steps = 0

    class Counted(bytes):
        def __getitem__(self, at):
            nonlocal steps
            steps += 1
            return super().__getitem__(at)

    page = Counted(page_with(*range(2100, 3100), body=run))

    assert everything(page, nowhere) == []
    assert steps < 2 * 1000 * 2 * 20


def test_a_cell_is_looked_at_once_however_often_it_is_named():
    """A page of zeros names the same place two thousand times."""
    whole = bytes((COMMAND_WIDTH + 1, 1, COMMAND_WIDTH + 1)) + bytes(COMMAND_WIDTH)

    assert everything(page_with(408, *[408] * 199, body=whole), nowhere) == [[None] * COMMAND_WIDTH]


@given(st.binary(max_size=200), st.lists(st.integers(0, LARGEST), max_size=20))
def test_rows_have_a_width_of_ours_whatever_the_page_holds(body, cells):
    """Whoever takes them tells reports and commands apart by it."""
    for row in everything(page_with(*cells, body=body), nowhere):
        assert len(row) in OURS
