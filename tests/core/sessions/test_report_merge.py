"""One row for each session: a stable key, and what the charger last said of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conventions.native.sessions import report_document
from bridge.core.records.stored_report import StoredReport
from bridge.core.sessions.report_merge import cleared, entered, find_row, merge_reports
from bridge.core.value_format import pseudonymize
from tests.core.sessions.rows import HOUR, REPORT, TAG

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SALT = b"salt"
SECOND = timedelta(seconds=1)

# -- the document -------------------------------------------------------------------------------


def test_the_document_is_the_contracts_to_the_letter():
    """Keys, order and spelling of a session report are public."""
    document = report_document(
        cleared(StoredReport("k", 2, REPORT), personal_data=False, salt=SALT)
    )

    assert document.decode() == (
        '{"key":"k","revision":2,"charger_id":"EH123456","session_id":435,'
        '"started_at":"2026-11-22T12:00:00Z","ended_at":"2026-11-22T13:00:00Z",'
        '"energy_kwh":0.411273,"meter_start_kwh":1277.872637,"meter_stop_kwh":1278.28391,'
        '"auth_reason":3,"auth_reason_name":"offline_whitelist","offline":true,'
        '"incomplete":[],"clock":"ok",'
        f'"auth":"{pseudonymize(TAG, SALT)}","source":"stream",'
        '"measured_at":"2026-11-22T13:00:00Z","received_at":"2026-11-22T13:00:00Z"}'
    )
    assert pseudonymize(TAG, SALT).startswith("sha256:")


def test_the_tag_is_shown_only_when_the_operator_says_so():
    """Plain with personal_data, never otherwise, and null when there is none."""
    row = StoredReport("k", 1, REPORT)
    none = StoredReport("k", 1, replace(REPORT, auth=""))

    assert (
        f'"auth":"{TAG}"' in report_document(cleared(row, personal_data=True, salt=SALT)).decode()
    )
    assert TAG not in report_document(cleared(row, personal_data=False, salt=SALT)).decode()
    assert b'"auth":null' in report_document(cleared(none, personal_data=False, salt=SALT))


def test_a_backfilled_document_says_that_it_does_not_know():
    """Without an auth_reason it is not known whether the session ran offline."""
    row = StoredReport("k", 1, replace(REPORT, auth_reason=None))

    assert b'"auth_reason":null,"auth_reason_name":null,"offline":null' in report_document(row)


# -- the row a report belongs to ----------------------------------------------------------------


def test_a_repeat_finds_its_row_though_the_start_differs_by_seconds():
    """Seconds of disagreement never make a second key."""
    row = StoredReport("EH123456-435", 1, REPORT)
    other = replace(REPORT, started_at=NOON - timedelta(seconds=7))

    assert find_row(REPORT, []) == ("EH123456-435", None)
    assert find_row(other, [row]) == ("EH123456-435", row)


def test_a_counter_that_came_round_gets_a_key_with_its_day():
    """The same counter more than a day apart is another session with a key of its own."""
    row = StoredReport("EH123456-435", 1, REPORT)
    apart = timedelta(days=40)
    later = replace(REPORT, started_at=NOON + apart, ended_at=REPORT.ended_at + apart)
    key, found = find_row(later, [row])

    assert (key, found) == ("EH123456-435-20270101", None)
    second = StoredReport(key, 1, later)
    assert find_row(later, [row, second]) == (key, second)
    assert find_row(REPORT, [row, second]) == ("EH123456-435", row)


# -- the content of a row -----------------------------------------------------------------------


def test_the_same_content_from_elsewhere_is_nothing_new():
    """Source and times of arrival are not content."""
    again = replace(REPORT, source="poll", measured_at=NOON + 2 * HOUR, received_at=NOON + 3 * HOUR)

    assert merge_reports(REPORT, again) is REPORT


def test_a_correction_counts_and_an_older_record_does_not():
    """Of two records the one the charger made later is believed."""
    fixed = replace(REPORT, energy_kwh=0.5, measured_at=NOON + 2 * HOUR)

    assert merge_reports(REPORT, fixed) == fixed
    assert merge_reports(fixed, REPORT) is fixed
    same_moment = replace(REPORT, energy_kwh=0.6)
    assert merge_reports(REPORT, same_moment) == same_moment


def test_a_backfilled_record_never_erases_or_overrides_what_the_charger_said():
    """The REST interface fills gaps and changes nothing else."""
    backfilled = replace(
        REPORT,
        source="backfill",
        auth_reason=None,
        auth="",
        energy_kwh=0.41,
        meter_start_kwh=None,
        started_at=NOON + timedelta(seconds=3),
        measured_at=NOON + 9 * HOUR,
    )

    assert merge_reports(REPORT, backfilled) is REPORT
    came_first = merge_reports(backfilled, REPORT)
    assert came_first == REPORT
    gap = replace(REPORT, meter_stop_kwh=None)
    assert merge_reports(gap, backfilled) == replace(gap, meter_stop_kwh=REPORT.meter_stop_kwh)


def test_a_correction_without_a_reason_leaves_the_one_that_was_told():
    """And one with a reason of its own, or a tag alone, replaces both."""
    later = replace(REPORT, measured_at=NOON + 2 * HOUR, energy_kwh=0.5)
    silent = merge_reports(REPORT, replace(later, auth_reason=None, auth=""))
    assert (silent.energy_kwh, silent.auth_reason, silent.auth) == (0.5, 3, TAG)
    for auth_reason, auth in ((7, ""), (None, "04AA"), (7, "04AA")):
        told = merge_reports(REPORT, replace(later, auth_reason=auth_reason, auth=auth))
        assert (told.auth_reason, told.auth) == (auth_reason, auth)


@pytest.mark.parametrize("field", ["session_id", "meter_start_kwh", "meter_stop_kwh"])
def test_what_one_of_two_records_knows_is_known(field):
    """Whichever came first, and the newer one's where both know it."""
    later = replace(REPORT, measured_at=NOON + 2 * HOUR, energy_kwh=0.5)
    held = getattr(REPORT, field)
    for one, other, known in ((held, None, held), (None, held, held), (held, held + 1, held + 1)):
        told = merge_reports(replace(REPORT, **{field: one}), replace(later, **{field: other}))
        assert getattr(told, field) == known


def test_a_time_that_could_not_be_does_not_become_right_by_waiting():
    """A stop of next week is told again in the week after, when it could be."""
    wrong = replace(
        REPORT, ended_at=NOON + 150 * HOUR, doubtful=("ended_at",), placed_at=NOON + HOUR
    )
    again = replace(wrong, doubtful=(), placed_at=None, measured_at=NOON + 400 * HOUR)

    assert merge_reports(wrong, again).doubtful == ("ended_at",)


def test_what_is_new_is_written_and_what_is_not_is_left_alone():
    """A first report, the same again, and a correction under the next revision."""
    row, is_new = entered(REPORT, [])
    assert (row.revision, is_new) == (1, True)
    assert entered(replace(REPORT, source="poll"), [row]) == (row, False)
    corrected, is_new = entered(replace(REPORT, energy_kwh=0.5), [row])
    assert (corrected.key, corrected.revision, is_new) == (row.key, 2, True)


def test_a_clock_that_was_put_back_raises_no_doubt():
    """A time that had passed when it came is possible, however early the list has it again."""
    early = {"received_at": NOON + HOUR / 2}
    doubt = {"doubtful": ("ended_at",), "placed_at": NOON + HOUR / 2, "source": "backfill"}

    assert merge_reports(REPORT, replace(REPORT, **early, **doubt)) is REPORT
    held = replace(REPORT, **early)
    assert merge_reports(held, replace(held, **doubt)).doubtful == ("ended_at",)
    assert merge_reports(REPORT, replace(REPORT, **doubt)).doubtful == ("ended_at",)


def test_a_correction_does_not_move_a_session_whose_stop_cannot_be():
    """It keeps its place among the others, and gets a right stop when one is told."""
    wrong = replace(
        REPORT, ended_at=NOON + 9999 * HOUR, doubtful=("ended_at",), placed_at=NOON + HOUR
    )
    later = replace(wrong, energy_kwh=0.5, measured_at=NOON + 3 * HOUR, placed_at=NOON + 3 * HOUR)
    assert merge_reports(wrong, later).at == NOON + HOUR
    mended = merge_reports(wrong, replace(REPORT, source="backfill", ended_at=NOON + 2 * HOUR))
    assert (mended.at, mended.doubtful, mended.placed_at) == (NOON + 2 * HOUR, (), None)


@pytest.mark.fault("F49")
@given(st.permutations(range(3)))
def test_a_lost_correction_comes_from_the_list_in_any_order(order):
    """The tag stays; the meter the charger told stands no more where the session ended."""
    on = {"ended_at": NOON + 2 * HOUR, "energy_kwh": 9.5}
    listed = replace(REPORT, source="backfill", auth_reason=None, auth=TAG, **on)
    records = [
        replace(listed, meter_start_kwh=None, meter_stop_kwh=None),
        REPORT,
        replace(REPORT, received_at=NOON + 30 * HOUR),
    ]
    held = records[order[0]]
    for index in order[1:]:
        held = merge_reports(held, records[index])

    assert (held.energy_kwh, held.ended_at) == (9.5, NOON + 2 * HOUR)
    assert (held.auth, held.auth_reason) == (TAG, 3)
    assert (held.meter_start_kwh, held.meter_stop_kwh) == (REPORT.meter_start_kwh, None)


@given(st.permutations(range(4)))
def test_any_order_of_records_ends_on_the_same_content(order):
    """Repeats and sources may come in any order, and what is billed by is the same."""
    records = [
        replace(REPORT, source="backfill", auth_reason=None, auth="", energy_kwh=1.0),
        REPORT,
        replace(REPORT, energy_kwh=0.5, measured_at=NOON + 2 * HOUR),
        replace(REPORT, energy_kwh=0.6, measured_at=NOON + 3 * HOUR, meter_stop_kwh=None),
    ]
    held = records[order[0]]
    for index in order[1:]:
        held = merge_reports(held, records[index])

    assert (held.energy_kwh, held.auth_reason, held.auth) == (0.6, 3, TAG)
    assert held.meter_stop_kwh == REPORT.meter_stop_kwh


# -- clocks and counters that deceive -----------------------------------------------------------

Y2000 = datetime(2000, 1, 1, 0, 1, tzinfo=UTC)


def told(*reports, first=None):
    """Enter reports one after the other; return the rows by key."""
    rows = {}
    for report in reports:
        stored, _ = entered(report, list(rows.values()), first)
        rows[stored.key] = stored
    return rows


def test_three_sessions_of_a_counter_that_stands_still_are_three():
    """Case A5: within a day, and each keeps its key when it is told again."""
    sessions = [
        replace(
            REPORT,
            session_id=1,
            started_at=NOON + n * HOUR,
            ended_at=NOON + (n + 0.5) * HOUR,
            energy_kwh=3.0 - n,
            meter_start_kwh=None,
        )
        for n in range(3)
    ]
    rows = told(*sessions, *reversed(sessions))

    assert list(rows) == ["EH123456-1", "EH123456-1-20261122", "EH123456-1-20261122T140000"]
    assert {row.report.energy_kwh: row.revision for row in rows.values()} == {3: 1, 2: 1, 1: 1}


@pytest.mark.parametrize("turn", [1, -1])
def test_of_two_sessions_it_may_be_the_nearest_is_meant(turn):
    """Neither told a time that can be, and both the same energy; the arrival is what is left."""
    lost = replace(
        REPORT,
        started_at=Y2000,
        ended_at=Y2000 + HOUR,
        doubtful=("started_at", "ended_at"),
        meter_start_kwh=None,
        meter_stop_kwh=None,
    )
    rows = [
        StoredReport(f"EH123456-435-{n}", 1, replace(lost, placed_at=NOON + n * HOUR, auth=str(n)))
        for n in (1, 5, 9)
    ][::turn]
    listed = replace(lost, source="backfill", started_at=NOON, ended_at=NOON + HOUR, doubtful=())

    assert find_row(replace(listed, received_at=NOON + 99 * HOUR), rows)[0] == "EH123456-435-1"


def test_a_start_of_2000_is_mended_by_the_list_under_the_same_key():
    """Case A4: one key, the times that can be, a higher revision, and no way back."""
    wrong = replace(REPORT, started_at=Y2000, doubtful=("started_at",))
    listed = replace(REPORT, source="backfill", auth_reason=None, auth="", energy_kwh=0.41)
    (row,) = told(wrong, listed, wrong, listed).values()
    assert (row.key, row.revision) == ("EH123456-435", 2)
    assert (row.report, row.report.clock) == (replace(wrong, started_at=NOON, doubtful=()), "ok")

    (other,) = told(listed, wrong, listed).values()
    assert other.report.started_at == NOON
    assert (other.report.energy_kwh, other.report.auth_reason) == (0.411273, 3)


def test_what_lies_years_before_the_first_session_is_marked():
    """Case A4: a clock that begins on the day its firmware was made."""
    early = replace(REPORT, started_at=datetime(2019, 6, 1, tzinfo=UTC))
    stopped = replace(early, ended_at=datetime(2019, 6, 1, 3, tzinfo=UTC))

    (row,) = told(early, first=NOON).values()
    assert (row.report.doubtful, row.report.placed_at) == (("started_at",), None)
    ahead = replace(early, ended_at=NOON + 99 * HOUR, doubtful=("ended_at",), placed_at=NOON)
    (row,) = told(ahead, first=NOON).values()
    assert (row.report.doubtful, row.report.placed_at) == (("started_at", "ended_at"), NOON)
    (row,) = told(stopped, first=NOON).values()
    assert (row.report.clock, row.report.at) == ("suspect", REPORT.received_at)
    (row,) = told(early).values()
    assert row.report.clock == "ok"


def test_a_correction_behind_a_stamp_from_the_future_counts():
    """Case A3: and a repetition of the first takes nothing away."""
    first = replace(REPORT, measured_at=datetime(2099, 1, 1, tzinfo=UTC), ranked_at=NOON + HOUR)
    fixed = replace(REPORT, energy_kwh=0.6, measured_at=NOON + 2 * HOUR)
    again = replace(first, ranked_at=NOON + 9 * HOUR)
    (row,) = told(first, fixed, again).values()

    assert (row.report.energy_kwh, row.revision) == (0.6, 2)


def test_a_report_without_a_counter_and_the_list_s_with_one_are_one():
    """Case B1: the key stays, the counter is filled in."""
    bare = replace(REPORT, session_id=None, incomplete=("session_id",))
    listed = replace(REPORT, source="backfill", auth_reason=None, auth="")
    (row,) = told(bare, listed).values()

    assert row.key == f"EH123456-s{int(NOON.timestamp())}"
    assert (row.report.session_id, row.report.incomplete) == (435, ())


def test_sessions_that_began_on_one_default_have_keys_of_their_own():
    """Cases A4 and B1: a clock chip begins with the same second each time."""
    odd = replace(
        REPORT,
        session_id=None,
        started_at=Y2000,
        ended_at=Y2000 + HOUR,
        doubtful=("started_at", "ended_at"),
        meter_start_kwh=None,
    )
    sessions = [replace(odd, energy_kwh=float(n), placed_at=NOON) for n in range(1, 5)]

    assert len(told(*sessions, *sessions)) == 4


def test_a_session_that_began_on_a_default_is_named_by_the_day_it_counts_as_ended():
    """Where its number is taken: the day of the default is every such session's."""
    held = StoredReport("EH123456-435", 1, REPORT)
    began = {"started_at": datetime(2000, 1, 1, 0, 1, tzinfo=UTC), "doubtful": ("started_at",)}
    later = replace(REPORT, **began, ended_at=NOON + 30 * HOUR, energy_kwh=9.0, measured_at=NOON)
    later = replace(later, meter_start_kwh=None, meter_stop_kwh=None)

    assert find_row(later, [held]) == ("EH123456-435-20261123", None)


def test_a_time_that_turns_out_to_lie_ahead_is_marked():
    """While our clock could not be believed nothing told so; the newer judgement counts."""
    ahead = replace(REPORT, ended_at=NOON + 50 * HOUR)
    again = replace(ahead, doubtful=("ended_at",), placed_at=NOON, measured_at=NOON + 2 * HOUR)

    known = merge_reports(ahead, again)
    assert (known.doubtful, known.placed_at) == (("ended_at",), NOON)


@pytest.mark.parametrize("order", ["next lost listed", "next listed lost", "lost listed next"])
def test_the_list_mends_a_session_of_seconds_though_the_next_began_at_once(order):
    """A counter that stands still, a clock that was never set, and two seconds in between."""
    short = replace(REPORT, meter_stop_kwh=None, meter_start_kwh=None, measured_at=NOON)
    lost = {"started_at": Y2000, "ended_at": Y2000 + HOUR, "doubtful": ("started_at", "ended_at")}
    times = {"started_at": NOON - 35 * SECOND, "ended_at": NOON + 7 * SECOND}
    reports = {
        "next": replace(short, ended_at=NOON + 49 * SECOND, energy_kwh=40.0),
        "lost": replace(short, **lost, measured_at=NOON - 2 * SECOND, placed_at=NOON + 30 * HOUR),
        "listed": replace(short, **times, source="backfill", auth_reason=None, auth=""),
    }
    rows = told(*map(reports.__getitem__, order.split())).values()

    assert sorted((row.report.energy_kwh, row.report.clock) for row in rows) == [
        (REPORT.energy_kwh, "ok"),
        (40.0, "ok"),
    ]


@pytest.mark.parametrize(
    ("stamp_s", "facts", "end_s"),
    [
        (0, {}, 0),
        (60, {}, 9),
        (-291, {}, -291),
        (-292, {}, 9),
        (-400, {}, 9),  # a stamp that has nothing to do with it
        (0, {"ranked_at": NOON + 2 * HOUR}, 9),
        (0, {"started_at": NOON + HOUR}, 0),
        (0, {"started_at": NOON + HOUR + 5 * SECOND}, 9),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_an_end_that_the_list_mends_is_not_after_the_charger_told_of_it(
    stamp_s, facts, end_s, turn
):
    """The stamp is the charger's own time, and the next session may begin right behind it."""
    ahead = {"ended_at": NOON + 99 * HOUR, "doubtful": ("ended_at",), "placed_at": NOON + 2 * HOUR}
    odd = replace(REPORT, **ahead, measured_at=NOON + HOUR + stamp_s * SECOND, **facts)
    listed = replace(REPORT, source="backfill", ended_at=NOON + HOUR + 9 * SECOND, **facts)
    listed = replace(listed, ranked_at=None)
    (row,) = told(*(odd, listed)[::turn], odd, listed).values()

    assert row.report.ended_at == NOON + HOUR + end_s * SECOND


def test_where_all_names_are_taken_a_number_follows():
    """The day, the time, and from then on a count."""
    names = ("", "-20261122", "-20261122T120000", "-20261122T120000-2")
    rows = [StoredReport(f"EH123456-435{name}", 1, replace(REPORT, session_id=9)) for name in names]

    assert [find_row(REPORT, rows[:taken])[0] for taken in range(1, 5)] == [
        *(f"EH123456-435{name}" for name in names[1:]),
        "EH123456-435-20261122T120000-3",
    ]


def test_when_something_counts_as_told_is_no_content():
    """A repetition with another stamp is nothing new."""
    again = replace(REPORT, measured_at=NOON + 9 * HOUR)

    assert merge_reports(REPORT, replace(again, ranked_at=NOON + 2 * HOUR)) is REPORT
    assert merge_reports(REPORT, replace(again, placed_at=NOON)) is REPORT


def test_a_tag_that_no_record_tells_stays_unread():
    """An empty one is not known."""
    unread = replace(REPORT, auth="", incomplete=("auth",))

    assert merge_reports(unread, replace(unread, energy_kwh=9.0)).incomplete == ("auth",)
    assert merge_reports(unread, REPORT).incomplete == ()
