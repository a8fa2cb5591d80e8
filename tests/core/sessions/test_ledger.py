"""A committed report is owed until the broker acknowledged it, and never blocks the others."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.effects import Effect, MarkPublished, Note
from bridge.core.messages import Publish
from bridge.core.sessions.ledger import (
    MOST_REFUSALS,
    WINDOW,
    Ledger,
    StoredReport,
    find_row,
    merged,
    report_document,
)
from bridge.core.sessions.reports import SessionReport
from bridge.core.topics import Topics
from bridge.core.values import hashed

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SALT = b"salt"
TAG = "04E1B2C3D4"
REFUSAL = 135

REPORT = SessionReport(
    charger_id="EH123456",
    session_id=435,
    started_at=NOON,
    ended_at=NOON + HOUR,
    energy_kwh=0.411273,
    meter_start_kwh=1277.872637,
    meter_stop_kwh=1278.28391,
    auth_reason=3,
    auth=TAG,
    source="stream",
    measured_at=NOON + HOUR,
    received_at=NOON + HOUR,
)


def stored(number: int = 1, revision: int = 1, charger_id: str = "EH123456") -> StoredReport:
    """Make a row whose session ended ``number`` hours after noon."""
    report = replace(
        REPORT, charger_id=charger_id, session_id=number, ended_at=NOON + number * HOUR
    )
    return StoredReport(f"{charger_id}-{number}", revision, report)


def ledger(**options: int) -> Ledger:
    """Make a ledger that hashes tags."""
    return Ledger(Topics("charger"), personal_data=False, salt=SALT, **options)


def connected(*rows: StoredReport, **options: int) -> tuple[Ledger, list[Publish]]:
    """Make a connected ledger that owes these rows, and what it published."""
    book = ledger(**options)
    effects = [*book.opened(rows), *book.connected(session_present=False)]
    return book, [effect for effect in effects if isinstance(effect, Publish)]


def keys(effects: list[Effect]) -> list[str]:
    """Name what was published, in order."""
    return [e.tag.split(":")[1] for e in effects if isinstance(e, Publish)]


# -- the document -------------------------------------------------------------------------------


def test_the_document_is_the_contracts_to_the_letter():
    """Keys, order and spelling of a session report are public."""
    document = report_document(StoredReport("k", 2, REPORT), personal_data=False, salt=SALT)

    assert document.decode() == (
        '{"key":"k","revision":2,"charger_id":"EH123456","session_id":435,'
        '"started_at":"2026-11-22T12:00:00Z","ended_at":"2026-11-22T13:00:00Z",'
        '"energy_kwh":0.411273,"meter_start_kwh":1277.872637,"meter_stop_kwh":1278.28391,'
        '"auth_reason":3,"auth_reason_name":"offline_whitelist","offline":true,'
        f'"auth":"{hashed(TAG, SALT)}","source":"stream",'
        '"measured_at":"2026-11-22T13:00:00Z","received_at":"2026-11-22T13:00:00Z"}'
    )
    assert hashed(TAG, SALT).startswith("sha256:")


def test_the_tag_is_shown_only_when_the_operator_says_so():
    """Plain with personal_data, never otherwise, and null when there is none."""
    row = StoredReport("k", 1, REPORT)
    none = StoredReport("k", 1, replace(REPORT, auth=""))

    assert f'"auth":"{TAG}"' in report_document(row, personal_data=True, salt=SALT).decode()
    assert TAG not in report_document(row, personal_data=False, salt=SALT).decode()
    assert b'"auth":null' in report_document(none, personal_data=False, salt=SALT)


def test_a_backfilled_document_says_that_it_does_not_know():
    """Without an auth_reason it is not known whether the session ran offline."""
    row = StoredReport("k", 1, replace(REPORT, auth_reason=None))

    assert b'"auth_reason":null,"auth_reason_name":null,"offline":null' in report_document(
        row, personal_data=False, salt=SALT
    )


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

    assert merged(REPORT, again) is REPORT


def test_a_correction_counts_and_an_older_record_does_not():
    """Of two records the one the charger made later is believed."""
    fixed = replace(REPORT, energy_kwh=0.5, measured_at=NOON + 2 * HOUR)

    assert merged(REPORT, fixed) == fixed
    assert merged(fixed, REPORT) is fixed
    same_moment = replace(REPORT, energy_kwh=0.6)
    assert merged(REPORT, same_moment) == same_moment


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

    assert merged(REPORT, backfilled) is REPORT
    came_first = merged(backfilled, REPORT)
    assert came_first == REPORT
    gap = replace(REPORT, meter_stop_kwh=None)
    assert merged(gap, backfilled) == replace(gap, meter_stop_kwh=REPORT.meter_stop_kwh)


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
        held = merged(held, records[index])

    assert (held.energy_kwh, held.auth_reason, held.auth) == (0.6, 3, TAG)
    assert held.meter_stop_kwh == REPORT.meter_stop_kwh


# -- what is owed -------------------------------------------------------------------------------


def test_a_report_goes_out_unretained_with_its_key_and_revision_as_tag():
    """The publication is the contract's and can be recognised when it is acknowledged."""
    row = stored(7, revision=3)
    _, sent = connected(row)

    assert sent == [
        Publish(
            "charger/EH123456/session/report",
            report_document(row, personal_data=False, salt=SALT),
            retained=False,
            tag="report:EH123456-7:3",
        )
    ]


def test_nothing_goes_out_before_there_is_a_connection():
    """Reports wait for the broker."""
    book = ledger()

    assert [*book.opened([stored(1)]), *book.saved(stored(2), changed=True)] == []
    assert keys(list(book.connected(session_present=True))) == ["EH123456-1", "EH123456-2"]


def test_an_acknowledged_report_is_marked_and_no_longer_owed():
    """PUBACK 0, and 16 where nobody listens, settle the debt."""
    for reason_code in (0, 16):
        book, (sent,) = connected(stored(1))

        assert list(book.acked(sent, reason_code)) == [MarkPublished("EH123456-1", 1)]
        assert book.owed == 0
        assert list(book.acked(sent, reason_code)) == []


def test_an_acknowledgement_of_something_else_is_ignored():
    """Results and values are acknowledged through here too."""
    book, _ = connected(stored(1))

    assert list(book.acked(Publish("charger/EH123456/state/led", b"x"), 0)) == []
    assert book.owed == 1


def test_a_saved_report_goes_out_at_once_unless_nothing_is_new():
    """New content is owed; an unchanged report that was published is not."""
    book, _ = connected()

    assert keys(list(book.saved(stored(1), changed=True))) == ["EH123456-1"]
    assert list(book.saved(replace(stored(2), published=True), changed=False)) == []
    assert list(book.saved(stored(1), changed=False)) == []
    assert keys(list(book.saved(stored(3), changed=False))) == ["EH123456-3"]


def test_a_new_revision_is_owed_and_an_older_acknowledgement_does_not_settle_it():
    """Only the acknowledgement of the newest revision counts."""
    book, (first,) = connected(stored(1))
    (second,) = book.saved(stored(1, revision=2), changed=True)

    assert list(book.acked(first, 0)) == []
    assert list(book.acked(second, 0)) == [MarkPublished("EH123456-1", 2)]


def test_a_revision_replaced_before_it_was_sent_is_not_sent():
    """What waits is the newest content."""
    book = ledger()
    list(book.opened([stored(1), stored(1, revision=2)]))

    (sent,) = book.connected(session_present=False)
    assert sent.tag == "report:EH123456-1:2"


def test_oldest_end_first_and_no_more_than_the_window():
    """A drain is paced and in order."""
    rows = [stored(n) for n in range(30, 0, -1)]
    book, sent = connected(*rows)
    assert len(sent) == WINDOW
    for message in sent:  # grows while it is walked through
        sent.extend(e for e in book.acked(message, 0) if isinstance(e, Publish))

    assert keys(sent) == [f"EH123456-{n}" for n in range(1, 31)]


def test_what_was_not_acknowledged_goes_out_again_after_a_reconnect():
    """A lost connection loses no report, and a superseded revision stays behind."""
    book, sent = connected(stored(1), stored(2), stored(3), window=2)
    list(book.acked(sent[0], 0))
    list(book.saved(stored(2, revision=2), changed=True))
    book.disconnected()
    assert list(book.saved(stored(4), changed=True)) == []

    again = list(book.connected(session_present=True))
    assert [m.tag for m in again] == ["report:EH123456-3:1", "report:EH123456-2:2"]


def test_a_refused_report_does_not_block_the_rest_and_is_not_forgotten():
    """After three refusals it is set aside, told of, and tried again at the end."""
    poisoned, good = stored(1), stored(2)
    book, sent = connected(poisoned, good, window=1)
    for _ in range(MOST_REFUSALS - 1):
        (sent[0],) = book.acked(sent[0], REFUSAL)
    note, next_sent = book.acked(sent[0], REFUSAL)

    assert note == Note(
        "error",
        "ledger.report_refused",
        {"key": "EH123456-1", "reason_code": REFUSAL, "refusals": MOST_REFUSALS},
    )
    assert book.refused == 1
    assert next_sent.tag == "report:EH123456-2:1"
    mark, retried = book.acked(next_sent, 0)
    assert mark == MarkPublished("EH123456-2", 1)
    assert retried.tag == "report:EH123456-1:1"
    (note,) = book.acked(retried, REFUSAL)
    assert isinstance(note, Note)
    assert (book.owed, book.refused) == (1, 1)


def test_a_refused_report_is_tried_again_on_a_new_connection_or_with_new_content():
    """A mended broker or a corrected report ends the quarantine."""
    book, sent = connected(stored(1))
    effects = sent
    while sent := keys(effects) and [e for e in effects if isinstance(e, Publish)]:
        effects = list(book.acked(sent[0], REFUSAL))
    book.disconnected()

    assert keys(list(book.connected(session_present=True))) == ["EH123456-1"]
    assert keys(list(book.saved(stored(1, revision=2), changed=True))) == ["EH123456-1"]


@given(
    st.lists(st.integers(1, 12), min_size=1, unique=True),
    st.lists(st.sampled_from(["ack", "ack", "refuse", "reconnect"]), max_size=60),
    st.integers(1, 4),
)
def test_whatever_the_broker_does_every_report_is_delivered(numbers, fates, window):
    """Refusals and reconnects delay a report, never lose it, and never pass the window."""
    book = ledger(window=window)
    flying: dict[str, Publish] = {}
    marked: list[str] = []

    def take(effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Publish):
                flying[effect.tag] = effect
            elif isinstance(effect, MarkPublished):
                marked.append(effect.key)
        assert len(flying) <= window

    take(list(book.opened([stored(n) for n in numbers])))
    for fate in ["reconnect", *fates, "reconnect", *["ack"] * 40]:
        if fate == "reconnect":
            book.disconnected()
            flying.clear()
            take(list(book.connected(session_present=False)))
        elif flying:
            message = flying.pop(next(iter(flying)))
            take(list(book.acked(message, 0 if fate == "ack" else REFUSAL)))

    assert sorted(marked) == sorted(f"EH123456-{n}" for n in numbers)
    assert book.owed == 0


@pytest.mark.parametrize("personal_data", [True, False])
def test_the_ledger_obeys_the_operators_choice_about_tags(personal_data):
    """The tag is in the publication exactly when the operator asked for it."""
    book = Ledger(Topics("charger"), personal_data=personal_data, salt=SALT)
    list(book.connected(session_present=False))
    (sent,) = book.saved(stored(1), changed=True)

    assert (TAG.encode() in sent.payload) is personal_data
