"""What did not reach us is looked up within the limits, and what is missing is named."""

import itertools
import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bridge.core.alerts import Alerts
from bridge.core.effects import LogEntry, ReadReports, SaveReport, SendRequest
from bridge.core.events import CloudFailed, CloudResponse, ReportsRead, ReportsReadFailed
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.core.records.unread_text import UnreadText
from bridge.core.sessions.backfill import (
    DAY_S,
    FAILURES_BEFORE_ALERT,
    FIRST_RETRY_S,
    GAP_WAIT_S,
    HOUR_S,
    LOST_EVENT_AFTER_S,
    MAX_KNOWN,
    MAX_PER_HOUR,
    MAX_READ,
    MAX_READING,
    MIN_INTERVAL_S,
    SETTLING_S,
    SPACING_S,
    Backfill,
    BackfillRead,
    known_start,
)
from bridge.core.sessions.delivery import NAME
from bridge.core.sessions.unread import Unread
from bridge.core.value_format import iso_utc, read_utc
from bridge.errors import CloudRejected, CloudUnavailable, RateLimited, StoreError
from tests.core.sessions.rows import HOUR, NOON, ONE, REPORT, row
from tests.native import publishes

TWO = "EH999999"
ALERT = "charger/bridge/alert/session_gap"
DOWN = CloudUnavailable("down")
GONE = CloudRejected("not yours", status=403, reason="forbidden")


def listed(*numbers):
    """Spell sessions as the cloud lists them."""
    return json.dumps(
        [
            {
                "id": number,
                "carConnected": iso_utc(row(number).report.started_at),
                "carDisconnected": iso_utc(row(number).report.ended_at),
                "kiloWattHours": 1.5,
            }
            for number in numbers
        ]
    ).encode()


class Office:
    """A backfill, a store that answers its reads, a clock, and what came out of it."""

    def __init__(self, *rows, chargers=(ONE,), keep_days=90):
        self.alerts = Alerts()
        self.unread = Unread(self.alerts, keep_days=keep_days)
        self.backfill = Backfill(self.alerts, self.unread, keep_days=keep_days)
        self.rows = list(rows)
        self.now = Timestamp(NOON + 100 * HOUR, 5000.0)
        self.out = []
        self.take(self.backfill.serve(chargers))
        self.take(self.backfill.store_opened(damaged=False))

    def take(self, effects):
        """Let something happen; reads are answered at once."""
        new = list(effects)
        self.out.extend(new)
        for effect in new:
            if isinstance(effect, ReadReports):
                mine = [o for o in self.rows if o.report.charger_id == effect.charger_id]
                assert self.backfill.waits_for(effect.tag.ref)
                self.take(self.backfill.read(ReportsRead(effect.tag, tuple(mine)), self.now))
        return new

    def wait(self, seconds, *, trusted=True):
        wall, mono_s = self.now.wall + timedelta(seconds=seconds), self.now.mono_s + seconds
        self.now = Timestamp(wall, mono_s, trusted)
        return self.take(self.backfill.tick(self.now))

    def until_due(self):
        return self.wait(max(0.0, self.backfill.deadline_s() - self.now.mono_s))

    def call(self):
        """Wait until the cloud is asked; return the call."""
        for _ in range(50):
            calls = [effect for effect in self.until_due() if isinstance(effect, SendRequest)]
            if calls:
                return calls[0]
        raise AssertionError("the cloud is never asked")

    def answer(self, call, *numbers):
        assert self.backfill.waits_for(call.tag.ref)
        return self.take(
            self.backfill.answered(CloudResponse(call.tag, 200, listed(*numbers)), self.now)
        )

    def fail(self, call, error=DOWN):
        return self.take(self.backfill.failed(CloudFailed(call.tag, error), self.now))

    def save(self, *numbers):
        for number in numbers:
            self.take(self.backfill.saved(row(number), True, self.now))

    @property
    def alert(self):
        """The newest payload of the alert, None before the first."""
        said = [e.payload for e in publishes(self.out) if e.topic == ALERT]
        return said[-1].decode() if said else None


def period(call):
    """Return the two moments a call asks for."""
    *_, since, until = unquote(call.request.path).split("/")
    return read_utc(since), read_utc(until)


# -- when ---------------------------------------------------------------------------------------


def test_at_the_start_the_store_is_read_and_then_the_cloud_is_asked():
    """From 48 hours before the newest session we know until now."""
    office = Office(row(7), row(3))
    assert office.out == [ReadReports(Tag(NAME, BackfillRead(1)), ONE, limit=MAX_READ)]
    assert office.wait(SETTLING_S - 0.1) == []
    (call,) = office.wait(0.1)

    assert call.request.path.startswith(f"/api/sessions/charger/{ONE}/sessions/")
    since, until = period(call)
    assert since == row(7).report.ended_at - timedelta(hours=48)
    assert until - office.now.wall <= timedelta(minutes=1)


def test_who_has_nothing_begins_two_days_ago():
    """A new installation does not publish last year's bills."""
    since, _ = period(Office().call())

    assert since == NOON + 100 * HOUR + timedelta(seconds=SETTLING_S) - timedelta(hours=48)


def test_what_the_cloud_lists_is_saved_and_the_next_look_is_tomorrow():
    """Every listed session goes to the store, which knows whether it is new."""
    office = Office(row(7))
    effects = office.answer(office.call(), 7, 8)
    saved = [effect.report for effect in effects if isinstance(effect, SaveReport)]

    assert [(one.session_id, one.source, one.auth_reason) for one in saved] == [
        (7, "backfill", None),
        (8, "backfill", None),
    ]
    assert (
        LogEntry("info", "session.backfilled", {"charger_id": ONE, "sessions": 2, "unreadable": 0})
        in effects
    )
    assert office.backfill.deadline_s() == office.now.mono_s + DAY_S


def test_after_the_stream_opened_it_is_looked_again_and_not_at_once():
    """The stream repeats what it has first; that is worth more."""
    office = Office(row(7))
    office.answer(office.call(), 7)
    office.wait(1000)
    office.backfill.stream_opened(office.now.mono_s)

    assert office.backfill.deadline_s() == office.now.mono_s + SETTLING_S


def test_a_stream_that_flaps_all_day_leaves_room_in_the_limit():
    """Six looks an hour at most and never two at once, so that people can ask too."""
    office = Office(row(7))
    asked = []
    while office.now.mono_s < 5000.0 + 5 * HOUR_S:
        for call in [e for e in office.wait(7) if isinstance(e, SendRequest)]:
            asked.append(office.now.mono_s)
            office.answer(call, 7)
        office.backfill.stream_opened(office.now.mono_s)

    assert len(asked) > 4 * MAX_PER_HOUR
    assert all(b - a >= MIN_INTERVAL_S for a, b in itertools.pairwise(asked))
    assert all(b - a >= HOUR_S for a, b in zip(asked, asked[MAX_PER_HOUR:], strict=False))


def test_many_chargers_are_asked_one_after_the_other():
    """A new look begins when the last was answered, and a little later."""
    office = Office(chargers=(ONE, TWO))
    call = office.call()
    assert office.backfill.deadline_s() == office.now.mono_s + LOST_EVENT_AFTER_S
    assert office.wait(10) == []
    office.answer(call)
    assert office.backfill.deadline_s() == office.now.mono_s + SPACING_S
    other = office.call()

    assert {call.request.scope, other.request.scope} == {ONE, TWO}


def test_a_charger_that_comes_later_is_looked_up_too():
    """Also when the list of the account brings it."""
    office = Office(chargers=())
    assert office.backfill.deadline_s() is None
    office.take(office.backfill.serve((ONE,)))

    assert office.call().request.scope == ONE


def test_nothing_is_asked_while_the_clock_is_not_trusted():
    """A period in 1970 is no period; as soon as the clock is right it is asked."""
    office = Office(row(7))

    assert office.wait(SETTLING_S, trusted=False) == []
    assert office.backfill.deadline_s() > office.now.mono_s
    assert office.call()


@pytest.mark.parametrize("error", [DOWN, GONE, RateLimited("busy", retry_after_s=900.0)])
def test_a_cloud_that_does_not_answer_is_asked_later_and_less_often(error):
    """As long as it asks for, and longer each time."""
    office = Office(row(7))
    waits = []
    for _ in range(4):
        office.fail(office.call(), error)
        waits.append(office.backfill.deadline_s() - office.now.mono_s)

    asked = getattr(error, "retry_after_s", None) or 0.0
    assert waits == [max(FIRST_RETRY_S * 2**n, asked) for n in range(4)]


def test_an_answer_that_is_none_and_one_that_never_comes_are_failures():
    """HTML, or an event that was lost: it is tried again."""
    office = Office(row(7))
    call = office.call()
    event = CloudResponse(call.tag, 200, b"<html>")
    office.take(office.backfill.answered(event, office.now))
    assert office.backfill.deadline_s() == office.now.mono_s + FIRST_RETRY_S

    office.call()
    (note,) = office.wait(LOST_EVENT_AFTER_S)
    assert (note.event, note.fields["error"]) == ("session.backfill_failed", "no answer")
    assert office.call()


def test_a_store_that_cannot_be_read_is_read_when_it_opens():
    """Without knowing what is there nothing is asked."""
    alerts = Alerts()
    unread = Unread(alerts, keep_days=90)
    backfill = Backfill(alerts, unread, keep_days=90)
    assert list(backfill.serve((ONE,))) == []
    (read,) = backfill.store_opened(damaged=False)
    assert list(backfill.serve((ONE,))) == []
    backfill.stream_opened(5000.0)
    backfill.not_read(ReportsReadFailed(read.tag, StoreError("gone")))
    assert backfill.deadline_s() is None

    (read,) = backfill.store_opened(damaged=False)
    assert read.charger_id == ONE


# -- how far back -------------------------------------------------------------------------------


def test_after_a_store_was_damaged_it_goes_back_a_month_once():
    """What was lost is in the cloud; the next look is an ordinary one."""
    office = Office(row(7))
    office.answer(office.call(), 7)
    office.take(office.backfill.store_opened(damaged=True))
    call = office.call()
    assert period(call)[0] == office.now.wall - timedelta(days=31)
    office.answer(call, 7)

    assert period(office.call())[0] == row(7).report.ended_at - timedelta(hours=48)


def test_it_never_goes_further_back_than_retention_keeps():
    """What was removed because it is old must not come again as new."""
    office = Office(row(7), keep_days=1)
    since, _ = period(office.call())

    assert since > office.now.wall - timedelta(days=1)
    assert since < office.now.wall


def test_a_report_the_store_refused_is_fetched_later():
    """The cloud still has it when there is room again."""
    office = Office(row(90))
    office.answer(office.call(), 90)
    office.backfill.refused(replace(REPORT, started_at=NOON + 10 * HOUR), office.now.mono_s)
    office.backfill.refused(replace(REPORT, started_at=NOON + 20 * HOUR), office.now.mono_s)
    office.backfill.refused(replace(REPORT, charger_id=TWO), office.now.mono_s)
    assert office.backfill.deadline_s() == office.now.mono_s + HOUR_S
    call = office.call()
    assert period(call)[0] < NOON + 10 * HOUR

    office.answer(call, 90)
    assert period(office.call())[0] == row(90).report.ended_at - timedelta(hours=48)


def test_a_refused_report_that_began_on_a_default_is_looked_for_where_it_came():
    """A start in 2000 would ask the cloud for everything that is kept."""
    office = Office(row(90))
    office.answer(office.call(), 90)
    ended = NOON + 20 * HOUR
    report = replace(REPORT, started_at=NOON - 99999 * HOUR, ended_at=ended)
    office.backfill.refused(replace(report, doubtful=("started_at",)), office.now.mono_s)

    assert ended - timedelta(days=2) < period(office.call())[0] <= ended


def test_what_cannot_be_read_is_looked_for_again_and_less_and_less_often():
    """The list may have it later; from ten minutes to a day."""
    office = Office(row(7))
    at = office.now.wall
    list(office.unread.take(UnreadText(ONE, "{", "no JSON", "stream", at, at), office.now))
    waits = []
    for _ in range(9):
        office.answer(office.call(), 7)
        waits.append(office.backfill.deadline_s() - office.now.mono_s)

    assert waits == [*(600.0 * 2**n for n in range(8)), DAY_S]


# -- gaps ---------------------------------------------------------------------------------------


def test_a_missing_number_is_looked_up_after_some_patience():
    """A burst of offline sessions comes in any order."""
    office = Office(row(7))
    office.answer(office.call(), 7)
    office.wait(1000)
    office.save(9)

    assert office.backfill.deadline_s() == office.now.mono_s + GAP_WAIT_S
    assert office.alert is None
    office.save(8)
    assert office.alert is None


def test_what_a_look_brings_was_never_missing():
    """No alert for what could be recovered."""
    office = Office(row(7))
    office.answer(office.call(), 7)
    office.save(10)
    office.answer(office.call(), 7, 8, 9, 10)
    office.save(8, 9)

    assert office.alert is None


def test_what_a_look_does_not_bring_is_named_until_it_comes():
    """The alert names numbers, shrinks, and ends."""
    office = Office(row(7))
    office.answer(office.call(), 7)
    office.save(12)
    office.answer(office.call(), 7, 9, 12)
    office.save(9)
    assert f"{ONE}: 8, 10-11" in office.alert

    office.save(10)
    assert f"{ONE}: 8, 11" in office.alert
    office.save(11, 8)
    assert office.alert == ""


def test_a_gap_found_at_the_start_is_looked_up_by_the_first_look():
    """It reaches back to the gap, however long ago that is."""
    office = Office(row(3), row(5), row(90))
    office.save(*range(6, 90))
    call = office.call()
    since, _ = period(call)
    assert since <= row(4).report.started_at

    office.answer(call, 3, 5, 90)
    assert f"{ONE}: 4" in office.alert
    assert period(office.call())[0] == since


def test_when_the_cloud_does_not_answer_at_all_the_gap_is_named_too():
    """Three looks in vain are enough to tell the operator."""
    office = Office(row(7), row(9))
    for _ in range(2):
        office.fail(office.call())
        assert office.alert is None
    office.fail(office.call())
    assert f"{ONE}: 8" in office.alert

    office.save(11)
    office.fail(office.call())
    assert f"{ONE}: 8, 10" in office.alert


def test_many_chargers_with_gaps_make_one_alert_of_a_sane_size():
    """Ten are named, the others counted."""
    chargers = [f"EH0000{n:02}" for n in range(12)]
    rows = [row(n, charger_id=one) for one in chargers for n in (1, 3)]
    office = Office(*rows, chargers=chargers)
    for _ in chargers:
        office.answer(office.call())

    assert "EH000009: 2 and 2 chargers" in office.alert


def test_what_the_list_never_tells_readably_is_over_when_the_charger_told_it():
    """Case B3: with a wrong clock, after the list's row was named."""
    office = Office(row(6))
    bad = json.loads(listed(7))
    bad[0]["kiloWattHours"] = "much"
    for is_told in (False, True):
        body = json.dumps(bad).encode()
        call = office.call()
        office.take(office.backfill.answered(CloudResponse(call.tag, 200, body), office.now))
        assert (f"session_unreadable/{ONE}" in office.alerts.kinds) is not is_told
        doubtful = ("started_at", "ended_at")
        report = replace(row(7).report, ended_at=NOON + 9 * HOUR, doubtful=doubtful)
        office.take(office.backfill.saved(structs.replace(row(7), report=report), True, office.now))


@pytest.mark.parametrize(
    ("change", "is_over"),
    [({}, True), ({"session_id": 8}, False), ({"measured_at": NOON + 8 * HOUR}, False)],
)
def test_an_earlier_record_of_a_session_that_is_known_is_over_after_a_look(change, is_over):
    """It came late and is not in the list; what was told after the session ended may be news."""
    office = Office(row(7))
    report = row(7).report
    early = {"measured_at": report.ended_at, "received_at": office.now.wall, "session_id": 7}
    early |= {"started_at": report.started_at, **change}
    text = UnreadText(**{"charger_id": ONE, "text": "", "reason": "", "source": "poll", **early})
    office.take(office.unread.take(text, office.now))
    assert office.unread.texts(ONE) == (text,)

    office.answer(office.call())
    assert office.unread.texts(ONE) == (text,) * (not is_over)


def test_a_cloud_with_numbers_of_its_own_is_told_of_and_not_believed():
    """Nobody is billed twice."""
    office = Office(row(7))
    body = listed(7, 8).replace(b'"id":7', b'"id":9007').replace(b'"id": 7', b'"id": 9007')
    effects = office.take(
        office.backfill.answered(CloudResponse(office.call().tag, 200, body), office.now)
    )

    saved = [e.report.session_id for e in effects if isinstance(e, SaveReport)]
    assert saved == [7]
    assert "session.counter_mismatch" in [e.event for e in effects if isinstance(e, LogEntry)]


def test_numbers_that_agree_again_are_not_warned_of_any_more():
    """The next list has the charger's own."""
    office = Office(row(7))
    call = office.call()
    body = listed(7, 8).replace(b'"id": 7', b'"id": 9007').replace(b'"id": 8', b'"id": 9008')
    office.take(office.backfill.answered(CloudResponse(call.tag, 200, body), office.now))
    told = "session_numbers" in office.alerts.kinds
    office.answer(office.call(), 7)

    assert told
    assert office.alerts.kinds == ()


def test_a_look_goes_back_to_what_cannot_be_read_and_on_to_this_moment():
    """However long ago it was told; what ended just now is in it too."""
    office = Office(row(90))
    at = NOON + 10 * HOUR
    list(office.unread.take(UnreadText(ONE, "{", "no JSON", "stream", at, at), office.now))
    since, until = period(office.call())

    assert since == at - timedelta(hours=48)
    assert until > office.now.wall


DOUBTED = {"started_at": NOON - 99999 * HOUR, "doubtful": ("started_at",)}


@pytest.mark.parametrize(
    ("stored", "is_told"),
    [
        ({}, True),
        ({"session_id": None}, True),
        ({"session_id": 8}, False),
        ({"session_id": None, "ended_at": row(6).report.ended_at, **DOUBTED}, False),
        (DOUBTED, True),
        ({**DOUBTED, "ended_at": row(77).report.ended_at}, False),
        ({"started_at": row(70).report.started_at, "ended_at": row(70).report.ended_at}, False),
    ],
)
def test_an_entry_nobody_can_read_is_named_unless_its_session_is_stored(stored, is_told):
    """By its times, or by its number alone where the stored ones cannot be compared."""
    office = Office(structs.replace(row(7), report=replace(row(7).report, **stored)))
    body = listed(7).replace(b"1.5", b'"?"')
    call = office.call()
    office.take(office.backfill.answered(CloudResponse(call.tag, 200, body), office.now))

    assert (office.unread.earliest(ONE) is None) is is_told


def test_what_is_known_is_bounded():
    """A million sessions do not fill the memory; the newest are kept."""
    office = Office()
    office.save(*range(1, MAX_KNOWN + 3))
    (sessions,) = office.backfill._sessions.values()

    assert len(sessions.known) == MAX_KNOWN
    assert f"{ONE}-1" not in sessions.known


def test_a_report_of_a_charger_nobody_serves_changes_nothing():
    """A ledger may hold rows of a charger that was sold."""
    office = Office()

    assert list(office.backfill.saved(row(7, charger_id=TWO), True, office.now)) == []


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)), st.lists(st.integers(1, 30)))
def test_in_the_end_the_alert_names_exactly_what_nobody_has(ours, clouds, order):
    """Whatever we had, whatever the cloud has, and in whatever order the rest comes."""
    office = Office(*map(row, sorted(ours)))
    for number in order:
        if number in clouds:
            office.save(number)
            ours = ours | {number}
    call = office.call()
    for effect in office.answer(call, *sorted(clouds)):
        if isinstance(effect, SaveReport):
            office.save(effect.report.session_id)
    held = ours | clouds
    missing = {n for n in range(min(held, default=0), max(held, default=0)) if n not in held}
    if not missing:
        assert office.alert in (None, "")
        return
    named = office.alert.split(f"{ONE}: ")[1].split('"')[0].split("; ")[0]
    found = Counter()
    for run in named.split(", "):
        first, _, last = run.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    assert set(found) == missing


def test_a_look_for_a_refused_report_goes_back_to_its_start():
    """A long session is listed where it began, and that is known where its times can be."""
    assert known_start(REPORT) == REPORT.started_at
    doubted = replace(REPORT, doubtful=("started_at",), placed_at=NOON + 5 * HOUR)
    assert known_start(doubted) == NOON + 5 * HOUR


def test_a_store_that_cannot_be_read_is_not_asked_for_a_new_charger_either():
    """Both are read when it opens."""
    office = Office(chargers=())
    (read,) = office.backfill.serve([ONE])
    office.backfill.not_read(ReportsReadFailed(read.tag, StoreError("busy")))
    assert list(office.backfill.serve([TWO])) == []

    reads = office.backfill.store_opened(damaged=False)
    assert [read.charger_id for read in reads] == [ONE, TWO]


def test_after_an_answer_the_first_failure_is_tried_again_as_soon_as_ever():
    """The failures of before are forgotten."""
    office = Office()
    office.fail(office.call())
    office.fail(office.call())
    office.answer(office.call())
    office.fail(office.call())

    assert office.backfill.deadline_s() == office.now.mono_s + FIRST_RETRY_S


def test_what_a_look_did_not_bring_is_named_though_other_looks_fail_meanwhile():
    """The store takes the list's sessions late; what lies between them was looked for already."""
    office = Office(row(10))
    office.answer(office.call(), 15, 19)
    office.save(3)
    for _ in range(FAILURES_BEFORE_ALERT):
        office.fail(office.call())
    assert "4-9" in office.alert
    office.save(15, 19)

    assert "4-9, 11-14, 16-18" in office.alert


def test_stored_reports_are_read_of_a_few_chargers_at_a_time():
    """Of each once; of one whose reports could not be read again, when the store opens."""
    serials = tuple(f"EH{number:06}" for number in range(50))
    alerts = Alerts()
    backfill = Backfill(alerts, Unread(alerts, keep_days=90), keep_days=90)
    now = Timestamp(NOON, 5000.0)
    reads = [*backfill.serve(serials), *backfill.store_opened(damaged=False)]
    asked = []
    while reads:
        assert len(reads) <= MAX_READING
        read = reads.pop(0)
        asked.append(read.charger_id)
        if len(asked) == 10:
            backfill.not_read(ReportsReadFailed(read.tag, StoreError("away")))
            new = backfill.store_opened(damaged=False)
        else:
            new = backfill.read(ReportsRead(read.tag, ()), now)
        reads += [effect for effect in new if isinstance(effect, ReadReports)]

    assert Counter(asked) == Counter((*serials, serials[9]))
