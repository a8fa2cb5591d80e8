"""A committed report goes out until it is settled, in order, and never blocks the others."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from bridge.conventions.native.sessions import report_document
from bridge.core.changes import ReportPending
from bridge.core.delivery.outbox import SET_ASIDE
from bridge.core.effects import Effect, LogEntry, MarkPublished, SettleReports
from bridge.core.messages import Publish
from bridge.core.sessions.delivery import (
    BURST,
    FIRST_PROBE_S,
    MAX_PROBE_S,
    MAX_REFUSALS,
    NO_SUBSCRIBERS,
    PACE_S,
    REPORTS_A_SECOND,
    SET_ASIDE_S,
    SETTLE_S,
    WINDOW,
    ReportAck,
    ReportDelivery,
)
from bridge.core.sessions.report_merge import cleared
from tests.core.sessions.rows import ONE, TAG, row
from tests.native import as_messages, publishes

SALT = b"salt"
REFUSAL = 135
START_S = 1000.0


class Desk:
    """A delivery, a clock, and what came out of it."""

    def __init__(self, *rows, connected=True, **options):
        self.delivery = ReportDelivery(personal_data=False, salt=SALT, **options)
        self.now_s = START_S
        self.out = []
        self.take(self.delivery.opened(rows, self.now_s))
        if connected:
            self.take(self.delivery.connected(self.now_s))

    def take(self, effects) -> list[Effect]:
        """Let something happen; return what follows."""
        new = as_messages(effects)
        self.out.extend(new)
        return new

    @property
    def sent(self) -> list[Publish]:
        return [effect for effect in self.out if isinstance(effect, Publish)]

    def ack(self, message, code=0):
        return self.take(self.delivery.acked(message, code, self.now_s))

    def ack_all(self, code=0):
        """Acknowledge everything, what follows from it too."""
        for message in self.out:  # grows while it is walked through
            if isinstance(message, Publish):
                self.ack(message, code)

    def save(self, stored, *, changed=True):
        return self.take(self.delivery.saved(stored, changed, self.now_s))

    def taken(self, reports):
        return self.take(self.delivery.acknowledged(reports, self.now_s))

    def replay(self, reports):
        return self.take(self.delivery.replay(reports, self.now_s))

    def tick(self, after_s=0.0):
        self.now_s += after_s
        return self.take(self.delivery.tick(self.now_s))

    def reconnect(self):
        self.delivery.disconnected()
        return self.take(self.delivery.connected(self.now_s))


def keys(effects) -> list[str]:
    """Name what was published, in order."""
    return [e.tag.split(":")[1] for e in effects if isinstance(e, Publish)]


# -- going out ----------------------------------------------------------------------------------


def test_a_report_goes_out_unretained_with_its_key_and_revision_as_tag():
    """The publication is the contract's and can be recognised when it is acknowledged."""
    report = row(7, revision=3)

    assert Desk(report).sent == [
        Publish(
            f"charger/{ONE}/session/report",
            report_document(cleared(report, personal_data=False, salt=SALT)),
            retained=False,
            tag=f"report:{ONE}-7:3",
            owner="sessions",
        )
    ]


def test_nothing_goes_out_before_there_is_a_connection():
    """Reports wait for the broker."""
    desk = Desk(row(1), connected=False)
    desk.save(row(2, charger_id="EH999999"), changed=True)
    assert desk.out == []

    assert keys(desk.reconnect()) == [f"{ONE}-1", "EH999999-2"]


def test_a_charger_s_reports_go_out_in_order_one_at_a_time():
    """Oldest end first, and the next only when the broker answered for the one before."""
    desk = Desk(*(row(n) for n in range(30, 0, -1)))
    assert keys(desk.sent) == [f"{ONE}-1"]
    desk.ack_all()

    assert keys(desk.sent) == [f"{ONE}-{n}" for n in range(1, 31)]


def test_chargers_take_turns_within_the_window():
    """A drain is paced, and no charger waits for all reports of another."""
    chargers = [f"EH00000{n}" for n in range(5)] + [f"EH10000{n}" for n in range(8)]
    desk = Desk(*(row(n, charger_id=one) for one in chargers for n in (1, 2)))
    assert len(desk.sent) == WINDOW
    desk.ack_all()

    assert sorted(keys(desk.sent)[: len(chargers)]) == sorted(f"{one}-1" for one in chargers)
    assert len(desk.sent) == 2 * len(chargers)


def test_a_saved_report_goes_out_at_once_unless_nothing_is_new():
    """New content is owed; an unchanged report that was published or settled is not."""
    desk = Desk()

    assert keys(desk.save(row(1), changed=True)) == [f"{ONE}-1"]
    assert desk.save(row(2, published=True), changed=False) == []
    assert desk.save(row(2, settled=True), changed=False) == []
    assert desk.save(row(1), changed=False) == []
    desk.ack(desk.sent[0])
    assert keys(desk.save(row(3), changed=False)) == [f"{ONE}-3"]


def test_a_repeat_does_not_undo_what_the_broker_just_took():
    """Between the PUBACK and its commit the store still says that it is owed."""
    desk = Desk(row(1))
    desk.ack(desk.sent[0])

    assert desk.save(row(1), changed=False) == []


def test_a_revision_replaced_before_it_was_sent_is_not_sent():
    """What waits is the newest content."""
    desk = Desk(row(1), row(1, revision=2), connected=False)

    assert [message.tag for message in desk.reconnect()] == [f"report:{ONE}-1:2"]


@pytest.mark.parametrize("personal_data", [True, False])
def test_the_operator_s_choice_about_tags_is_obeyed(personal_data):
    """The tag is in the publication exactly when the operator asked for it."""
    delivery = ReportDelivery(personal_data=personal_data, salt=SALT)
    list(delivery.connected(START_S))
    (sent,) = delivery.saved(row(1), changed=True, mono_s=START_S)

    assert (TAG.encode() in publishes([sent])[0].payload) is personal_data


# -- published is not settled -------------------------------------------------------------------


def test_an_acknowledged_report_is_marked_once_and_not_settled():
    """PUBACK 0 is written down, and the report stays where it can be sent again."""
    desk = Desk(row(1))

    assert desk.ack(desk.sent[0]) == [MarkPublished(f"{ONE}-1", 1)]
    assert (desk.delivery.pending, desk.delivery.unsettled) == (0, 1)
    assert desk.ack(desk.sent[0]) == []


def test_an_acknowledgement_of_something_else_is_ignored():
    """Results and values are acknowledged through here too."""
    desk = Desk(row(1))

    assert desk.ack(Publish(f"charger/{ONE}/state/led", b"x")) == []
    assert desk.delivery.pending == 1


def test_what_is_not_settled_goes_out_again_on_a_new_connection_and_is_marked_no_more():
    """A killed broker may have lost what it acknowledged, whatever it says of our session."""
    desk = Desk(row(1), row(2))
    desk.ack_all()
    again = desk.reconnect()

    assert keys(again) == [f"{ONE}-1"]
    assert LogEntry("info", "session.redelivered", {"reports": 2}) in again
    assert keys(desk.ack(desk.sent[-1])) == [f"{ONE}-2"]
    assert desk.ack(desk.sent[-1]) == []


def test_what_an_earlier_process_published_goes_out_again():
    """After a restart nobody knows whether the broker still has it."""
    desk = Desk(row(1, published=True))

    assert keys(desk.sent) == [f"{ONE}-1"]
    assert desk.ack(desk.sent[0]) == []


def test_the_settle_window_is_as_long_as_promised_and_on_one_connection():
    """45 minutes of one connection settle; a reconnect begins anew; nothing before."""
    desk = Desk(row(1))
    desk.ack_all()
    assert desk.tick(SETTLE_S - 1) == []
    desk.reconnect()
    desk.ack_all()
    assert desk.delivery.deadline_s() == desk.now_s + SETTLE_S
    assert desk.tick(SETTLE_S - 1) == []

    assert desk.tick(1) == [SettleReports(((f"{ONE}-1", 1),))]
    assert desk.delivery.unsettled == 0
    assert desk.delivery.deadline_s() is None
    assert keys(desk.reconnect()) == []


def test_nothing_settles_without_a_connection():
    """Who is not connected cannot say that the broker still lives."""
    desk = Desk(row(1))
    desk.ack_all()
    desk.delivery.disconnected()

    assert desk.delivery.deadline_s() is None
    assert desk.tick(10 * SETTLE_S) == []


def test_many_are_settled_in_commits_of_a_sane_size():
    """A day's worth of reports does not become one endless statement."""
    desk = Desk(*(row(n) for n in range(1, 251)))
    desk.ack_all()

    assert [len(effect.reports) for effect in desk.tick(SETTLE_S)] == [100, 100, 50]


def test_what_was_not_acknowledged_goes_out_again_and_a_superseded_revision_stays_behind():
    """A lost connection loses no report."""
    desk = Desk(row(1), row(2, charger_id="EH999999"))
    desk.save(row(2, revision=2, charger_id="EH999999"), changed=True)
    desk.delivery.disconnected()
    assert desk.save(row(4), changed=True) == []

    again = [message.tag for message in desk.reconnect()]
    assert again == [f"report:{ONE}-1:1", "report:EH999999-2:2"]


def test_where_an_acknowledgement_is_required_only_a_consumer_settles():
    """Without a word it goes out again, every settle window, until there is one."""
    desk = Desk(row(1), require_acknowledgement=True)
    for _ in range(3):
        desk.ack(desk.sent[-1])
        assert keys(desk.tick(SETTLE_S)) == [f"{ONE}-1"]

    assert desk.taken([ReportAck(f"{ONE}-1")]) == [SettleReports(((f"{ONE}-1", 1),))]


def test_what_the_broker_never_had_goes_before_what_it_had():
    """A reconnect does not hold up what is new behind a day of repeats."""
    desk = Desk(row(1), row(2), row(3))
    desk.ack_all()
    desk.delivery.disconnected()
    desk.save(row(4))
    before = len(desk.sent)
    desk.reconnect()
    desk.ack_all()

    assert keys(desk.sent[before:]) == [f"{ONE}-{n}" for n in (4, 1, 2, 3)]


def test_a_drain_is_fast_at_first_and_then_paced():
    """A broker's queue is short, and what does not fit is dropped without a word."""
    desk = Desk(*(row(n) for n in range(BURST + 60)))
    desk.ack_all()
    assert len(desk.sent) == BURST
    assert desk.delivery.deadline_s() == desk.now_s + PACE_S
    desk.tick(PACE_S)
    desk.ack_all()
    assert len(desk.sent) == BURST + REPORTS_A_SECOND * PACE_S

    desk.taken([ReportAck(f"{ONE}-{n}") for n in range(40)])
    desk.ack_all()
    assert len(desk.sent) == BURST + REPORTS_A_SECOND * PACE_S + 40


# -- consumers ----------------------------------------------------------------------------------


def test_a_consumer_s_word_settles_at_once():
    """Also before the broker's acknowledgement reached us."""
    desk = Desk(row(1), row(2))

    assert desk.taken([ReportAck(f"{ONE}-1")]) == [SettleReports(((f"{ONE}-1", 1),))]
    assert keys(desk.ack(desk.sent[0])) == [f"{ONE}-2"]
    desk.ack(desk.sent[-1])
    twice = desk.taken([ReportAck(f"{ONE}-2", 1), ReportAck(f"{ONE}-2")])
    assert twice == [SettleReports(((f"{ONE}-2", 1),))]
    assert (desk.delivery.pending, desk.delivery.unsettled) == (0, 0)
    assert keys(desk.reconnect()) == []


def test_what_a_consumer_has_from_before_need_not_wait_for_its_turn():
    """It was published by an earlier process, and is settled before it goes out again."""
    desk = Desk(row(1, published=True), row(2, published=True))
    desk.taken([ReportAck(f"{ONE}-2")])
    desk.ack_all()

    assert keys(desk.sent) == [f"{ONE}-1"]


def test_a_consumer_s_word_about_nothing_we_know_changes_nothing():
    """Unknown keys, keys of yesterday and other people's inventions are no reason to write."""
    desk = Desk(row(1))

    assert desk.taken([ReportAck("EH123456-9"), ReportAck(f"{ONE}-1", 7)]) == []
    assert desk.delivery.pending == 1


def test_a_bare_key_never_settles_a_revision_nobody_was_handed():
    """The consumer has the old content; the correction is still to come."""
    desk = Desk(row(1), row(2))
    desk.save(row(2, revision=2), changed=True)

    assert desk.taken([ReportAck(f"{ONE}-2")]) == []
    desk.ack(desk.sent[0])
    assert desk.sent[-1].tag == f"report:{ONE}-2:2"
    assert desk.taken([ReportAck(f"{ONE}-2", 1)]) == []
    assert desk.taken([ReportAck(f"{ONE}-2", 2)]) != []


def test_a_new_revision_is_owed_and_an_older_acknowledgement_does_not_count_for_it():
    """Only the acknowledgement of the newest revision marks it."""
    desk = Desk(row(1))
    first = desk.sent[0]
    desk.save(row(1, revision=2), changed=True)
    (second,) = desk.ack(first)

    assert desk.ack(second) == [MarkPublished(f"{ONE}-1", 2)]
    (third,) = desk.save(row(1, revision=3), changed=True)
    assert desk.delivery.unsettled == 0
    assert desk.ack(third) == [MarkPublished(f"{ONE}-1", 3)]


# -- nobody is there ----------------------------------------------------------------------------


def test_a_report_nobody_was_subscribed_to_stays_owed_and_is_tried_less_and_less_often():
    """One report of the charger knocks; the others wait, other chargers do not."""
    desk = Desk(row(1), row(2), row(1, charger_id="EH999999"))
    unheard, other = desk.sent
    assert desk.ack(unheard, NO_SUBSCRIBERS) == []
    assert MarkPublished("EH999999-1", 1) in desk.ack(other)

    waits = []
    for _ in range(9):
        due_s = desk.delivery.deadline_s()
        waits.append(due_s - desk.now_s)
        assert desk.tick(waits[-1] - 0.1) == []
        (again,) = desk.tick(0.1)
        assert again == unheard
        desk.ack(again, NO_SUBSCRIBERS)
    assert waits[:3] == [FIRST_PROBE_S, 2 * FIRST_PROBE_S, 4 * FIRST_PROBE_S]
    assert waits[-1] == MAX_PROBE_S
    assert desk.delivery.pending == 2


def test_when_somebody_is_there_again_everything_follows():
    """The first one that is taken opens the way for the rest."""
    desk = Desk(row(1), row(2), row(3))
    desk.ack(desk.sent[0], NO_SUBSCRIBERS)
    desk.tick(FIRST_PROBE_S)
    desk.ack_all()

    assert keys(desk.sent) == [f"{ONE}-1", f"{ONE}-1", f"{ONE}-2", f"{ONE}-3"]
    desk.save(row(4))
    desk.ack(desk.sent[-1], NO_SUBSCRIBERS)
    assert desk.delivery.deadline_s() == desk.now_s + FIRST_PROBE_S


@pytest.mark.parametrize("wake", ["a connection", "a new report"])
def test_a_reason_to_try_again_is_taken_at_once(wake):
    """Nobody waits five minutes when something suggests that somebody is there."""
    desk = Desk(row(1))
    for _ in range(5):
        desk.ack(desk.sent[-1], NO_SUBSCRIBERS)
        desk.tick(MAX_PROBE_S)
    desk.ack(desk.sent[-1], NO_SUBSCRIBERS)
    new = row(2)
    effects = desk.reconnect() if wake == "a connection" else desk.save(new, changed=True)

    assert keys(effects) == [f"{ONE}-1"]


def test_where_no_subscriber_is_required_the_broker_s_word_counts():
    """For installations that only look at topics."""
    desk = Desk(row(1), require_subscriber=False)

    assert desk.ack(desk.sent[0], NO_SUBSCRIBERS) == [MarkPublished(f"{ONE}-1", 1)]


# -- a broker that holds nothing ---------------------------------------------------------------


@pytest.mark.fault("F46")
def test_at_qos_0_a_report_stays_owed_until_a_consumer_has_it():
    """Nothing is published or settled by itself; all of them go out, and again after a while."""
    desk = Desk(row(1), row(2), connected=False)
    desk.take(desk.delivery.connected(desk.now_s, holds=False))
    for _ in range(2):
        desk.ack(desk.sent[-1])
    assert [message.tag for message in desk.sent] == [f"report:{ONE}-{n}:1" for n in (1, 2)]
    assert (desk.delivery.pending, desk.delivery.unsettled) == (2, 0)
    assert not [e for e in desk.out if isinstance(e, MarkPublished | SettleReports)]
    assert desk.delivery.deadline_s() == desk.now_s + SETTLE_S

    assert keys(desk.tick(SETTLE_S)) == [f"{ONE}-1"]
    desk.ack(desk.sent[-1])
    desk.ack(desk.sent[-1])
    assert (desk.delivery.pending, len(desk.sent)) == (2, 4)
    settled = desk.take(desk.delivery.acknowledged([ReportAck(f"{ONE}-1")], desk.now_s))
    assert settled == [SettleReports(((f"{ONE}-1", 1),))]
    assert keys(desk.take(desk.delivery.connected(desk.now_s, holds=False))) == [f"{ONE}-2"]


def test_a_replay_at_qos_0_sends_what_went_out_before():
    """Somebody asks: he has not got it."""
    desk = Desk(row(1), connected=False)
    desk.take(desk.delivery.connected(desk.now_s, holds=False))
    desk.ack(desk.sent[-1])
    assert keys(desk.take(desk.delivery.replay([row(1)], desk.now_s))) == [f"{ONE}-1"]


def test_a_correction_at_qos_0_goes_out_at_once():
    """A newer revision takes the place of the one that is not proved."""
    desk = Desk(row(1), connected=False)
    desk.take(desk.delivery.connected(desk.now_s, holds=False))
    desk.ack(desk.sent[-1])
    desk.save(row(1, revision=2), changed=True)
    assert desk.sent[-1].tag == f"report:{ONE}-1:2"
    desk.ack(desk.sent[-1])
    assert desk.delivery.pending == 1


def test_at_a_broker_that_holds_again_what_is_owed_counts_as_ever():
    """The same reports are sent, published and settled there."""
    desk = Desk(row(1), connected=False)
    desk.take(desk.delivery.connected(desk.now_s, holds=False))
    desk.ack(desk.sent[-1])
    (again,) = desk.reconnect()
    (mark,) = desk.ack(again)
    assert mark == MarkPublished(f"{ONE}-1", 1)
    assert (desk.delivery.pending, desk.delivery.unsettled) == (0, 1)


# -- refusals -----------------------------------------------------------------------------------


def test_a_refused_report_does_not_block_the_rest_and_is_not_forgotten():
    """After three refusals it is set aside, told of, and tried again after the others."""
    desk = Desk(row(1), row(2))
    for _ in range(MAX_REFUSALS - 1):
        desk.ack(desk.sent[-1], REFUSAL)
    note, following = desk.ack(desk.sent[-1], REFUSAL)

    facts = {"key": f"{ONE}-1", "reason_code": REFUSAL, "refusals": MAX_REFUSALS}
    assert note == LogEntry("error", "ledger.report_refused", facts)
    assert desk.delivery.refused == 1
    assert following.tag == f"report:{ONE}-2:1"
    mark, retried = desk.ack(following)
    assert mark == MarkPublished(f"{ONE}-2", 1)
    assert retried.tag == f"report:{ONE}-1:1"
    (note,) = desk.ack(retried, REFUSAL)
    assert isinstance(note, LogEntry)
    assert (desk.delivery.pending, desk.delivery.refused) == (1, 1)


def test_every_report_that_is_set_aside_is_counted():
    """Of all chargers, and no more when one is done with."""
    desk = Desk(row(1), row(1, charger_id="EH999999"))
    desk.ack_all(SET_ASIDE)
    assert desk.delivery.refused == 2
    desk.save(row(1, revision=2))
    assert desk.delivery.refused == 1


def test_what_waits_to_go_out_again_may_be_acknowledged_by_its_key():
    """The consumer has it from the connection before."""
    desk = Desk(row(1), row(2))
    desk.ack_all()
    desk.reconnect()

    assert desk.taken([ReportAck(f"{ONE}-2")]) == [SettleReports(((f"{ONE}-2", 1),))]


@pytest.mark.fault("F43")
def test_a_report_the_broker_can_never_take_is_set_aside_at_once_and_stays_owed():
    """Too large, or given back because it ended connections: named, and offered again later."""
    desk = Desk(row(1), row(2))
    note, following = desk.ack(desk.sent[-1], SET_ASIDE)

    assert note.fields == {"key": f"{ONE}-1", "reason_code": SET_ASIDE, "refusals": MAX_REFUSALS}
    assert following.tag == f"report:{ONE}-2:1"
    desk.ack(following)
    assert (desk.delivery.pending, desk.delivery.unsettled) == (1, 1)
    assert keys(desk.reconnect())[:1] == [f"{ONE}-1"]


def test_a_refused_report_is_tried_again_on_a_new_connection_or_with_new_content():
    """A mended broker or a corrected report ends the quarantine."""
    desk = Desk(row(1))
    for _ in range(MAX_REFUSALS):
        desk.ack(desk.sent[-1], REFUSAL)
    assert desk.delivery.refused == 1

    assert keys(desk.reconnect()) == [f"{ONE}-1"]
    desk.ack(desk.sent[-1], REFUSAL)
    new = desk.save(row(1, revision=2), changed=True)
    assert keys(new) == [f"{ONE}-1"]
    assert desk.delivery.refused == 0


def test_a_refused_report_is_tried_again_while_the_connection_lasts():
    """An access list is mended without a new connection; a refusal then costs one message."""
    desk = Desk(row(1))
    for _ in range(MAX_REFUSALS):
        desk.ack(desk.sent[-1], REFUSAL)
    assert desk.delivery.deadline_s() == desk.now_s + SET_ASIDE_S
    assert keys(desk.tick(SET_ASIDE_S - 1)) == []

    for _ in range(2):
        assert keys(desk.tick(SET_ASIDE_S)) == [f"{ONE}-1"]
        assert keys(desk.ack(desk.sent[-1], REFUSAL)) == []
    assert keys(desk.tick(SET_ASIDE_S)) == [f"{ONE}-1"]
    desk.ack(desk.sent[-1])
    assert (desk.delivery.pending, desk.delivery.refused) == (0, 0)


def test_a_refused_report_that_a_consumer_has_anyway_is_done_with():
    """It came by another way, and nothing is left to try."""
    desk = Desk(row(1))
    for _ in range(MAX_REFUSALS):
        desk.ack(desk.sent[-1], REFUSAL)
    desk.taken([ReportAck(f"{ONE}-1")])

    assert (desk.delivery.pending, desk.delivery.refused) == (0, 0)
    assert keys(desk.reconnect()) == []


# -- replay -------------------------------------------------------------------------------------


def test_a_replay_publishes_what_was_settled_and_what_waits_to_be():
    """Once more each, in order, with the same key and revision."""
    desk = Desk(row(2))
    desk.ack_all()
    before = len(desk.sent)
    settled = row(1, published=True, settled=True)
    desk.replay([settled, row(2, published=True)])
    desk.ack_all()

    assert keys(desk.sent[before:]) == [f"{ONE}-1", f"{ONE}-2"]
    assert desk.sent[before].payload == report_document(
        cleared(settled, personal_data=False, salt=SALT)
    )
    assert desk.delivery.pending == 0


def test_a_replay_of_what_is_owed_anyway_adds_nothing():
    """Nobody gets a report twice because two reasons to send it met."""
    desk = Desk(row(1))

    assert desk.replay([row(1)]) == []


def test_what_is_under_way_when_the_store_is_opened_anew_is_under_way_once():
    """It was handed over: a consumer's bare key means it, and the broker's word ends it."""
    desk = Desk(row(1))
    assert desk.take(desk.delivery.opened([row(1)], desk.now_s)) == []
    assert desk.taken([ReportAck(f"{ONE}-1")]) == [SettleReports(((f"{ONE}-1", 1),))]

    other = Desk(row(1), row(2))
    other.take(other.delivery.opened([row(1), row(2)], other.now_s))
    other.ack_all()
    assert keys(other.sent) == [f"{ONE}-1", f"{ONE}-2"]


# -- whatever happens ---------------------------------------------------------------------------

NUMBERS = st.integers(0, 5)


class Life(RuleBasedStateMachine):
    """A store, a consumer, and a broker that dies with what it has not written down.

    Whatever happens in whatever order: nothing is settled before its consumer has it, nothing of
    one charger overtakes, and in the end everything has arrived.
    """

    def __init__(self):
        super().__init__()
        self.delivery = ReportDelivery(personal_data=False, salt=SALT, window=2)
        self.now_s = START_S
        self.rows = {}  # what the store holds, by key
        self.flying = {}  # handed over and not answered, by tag
        self.volatile = {}  # what the broker took and has not written down: tag -> when
        self.consumed = {}  # the highest revision a consumer has for certain, by key
        self.take(self.delivery.opened((), self.now_s))  # somebody took a report before
        self.take(self.delivery.connected(self.now_s))

    def take(self, effects):
        for effect in as_messages(effects):
            if isinstance(effect, Publish):
                self.flying[effect.tag] = effect
            elif isinstance(effect, MarkPublished):
                self.mark(effect.key, effect.revision, published=True)
            elif isinstance(effect, SettleReports):
                for key, revision in effect.reports:
                    assert self.consumed.get(key, 0) >= revision
                    self.mark(key, revision, settled=True)

    def mark(self, key, revision, **facts):
        if self.rows[key].revision == revision:
            self.rows[key] = replace(self.rows[key], **facts)

    def consume(self, tag):
        del self.volatile[tag]
        _, key, revision = tag.split(":")
        self.consumed[key] = max(self.consumed.get(key, 0), int(revision))
        return ReportAck(key, int(revision))

    def answer(self, code):
        message = self.flying.pop(next(iter(self.flying)))
        if code == 0:
            self.volatile[message.tag] = self.now_s
        self.take(self.delivery.acked(message, code, self.now_s))

    @rule(number=NUMBERS)
    def a_session_ends_or_is_repeated(self, number):
        new = row(number, charger_id=f"EH00000{number % 3}")
        changed = new.key not in self.rows
        self.take(
            self.delivery.saved(
                self.rows.setdefault(new.key, new), changed=changed, mono_s=self.now_s
            )
        )

    @precondition(lambda self: self.rows)
    @rule(number=NUMBERS)
    def a_session_is_corrected(self, number):
        held = list(self.rows.values())[number % len(self.rows)]
        new = replace(held, revision=held.revision + 1, published=False, settled=False)
        self.rows[held.key] = new
        self.take(self.delivery.saved(new, changed=True, mono_s=self.now_s))

    @precondition(lambda self: self.flying)
    @rule(code=st.sampled_from([0, 0, 0, REFUSAL, NO_SUBSCRIBERS]))
    def the_broker_answers(self, code):
        self.answer(code)

    @precondition(lambda self: self.volatile)
    @rule(speaks=st.booleans())
    def the_consumer_gets_one(self, speaks):
        taken = self.consume(next(iter(self.volatile)))
        self.take(self.delivery.acknowledged([taken] if speaks else [], self.now_s))

    @rule(dies=st.booleans())
    def the_connection_breaks(self, dies):
        if dies:
            self.volatile.clear()
        self.flying.clear()
        self.delivery.disconnected()
        self.take(self.delivery.connected(self.now_s))

    @rule(fifths=NUMBERS)
    def time_passes(self, fifths):
        """A broker that lives writes its memory down in less than the settle window."""
        self.now_s += fifths * SETTLE_S / 5
        for tag, since_s in list(self.volatile.items()):
            if self.now_s - since_s >= SETTLE_S:
                self.consume(tag)
        self.take(self.delivery.tick(self.now_s))

    @rule()
    def somebody_asks_for_all_of_it_again(self):
        self.take(self.delivery.replay(self.rows.values(), self.now_s))

    @invariant()
    def the_window_holds_and_no_charger_overtakes_itself(self):
        topics = [message.topic for message in self.flying.values()]
        assert len(topics) == len(set(topics)) <= 2

    @invariant()
    def what_is_counted_by_the_way_is_what_there_is(self):
        """It is asked at every event, so it must not look at every charger."""
        delivery = self.delivery
        assert delivery.refused == sum(len(queue.set_aside) for queue in delivery._queues.values())
        tries_s = [queue.not_before_s for queue in delivery._probing.values()]
        assert delivery._next_probe_s() == min(tries_s, default=None)

    def teardown(self):
        """Let the trouble end: everything arrives, and nothing is left to do."""
        self.the_connection_breaks(dies=False)
        while self.flying:
            self.answer(0)
        self.time_passes(fifths=5)
        assert self.delivery.deadline_s() is None
        assert (self.delivery.pending, self.delivery.unsettled) == (0, 0)
        for key, stored in self.rows.items():
            assert stored.settled
            assert self.consumed[key] == stored.revision


TestLife = Life.TestCase


def test_at_qos_0_what_was_set_aside_is_tried_again_behind_the_last_of_the_others():
    """As at a broker that holds: it may be mended, and nothing else of its charger waits."""
    desk = Desk(row(1), row(2), connected=False)
    desk.take(desk.delivery.connected(desk.now_s, holds=False))
    for _ in range(MAX_REFUSALS):
        desk.ack(desk.sent[-1], REFUSAL)
    assert keys(desk.sent)[-1] == f"{ONE}-2"

    assert keys(desk.ack(desk.sent[-1])) == [f"{ONE}-1"]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_consumer_s_word_about_something_of_ours_tells_that_there_is_one(is_known):
    """From then on what nobody is subscribed to is owed, and not merely kept."""
    desk = Desk(connected=False)
    desk.delivery = ReportDelivery(personal_data=False, salt=SALT)
    desk.take(desk.delivery.opened((row(1), row(2)), desk.now_s, has_consumer=False))
    desk.reconnect()
    (first,) = desk.sent
    desk.taken([ReportAck(f"{ONE}-1" if is_known else "another")])
    desk.ack(first)
    desk.ack(desk.sent[-1], NO_SUBSCRIBERS)

    assert desk.delivery.pending == 1


# -- other channels ------------------------------------------------------------------------------


def pending(effects):
    """Name what other channels were given, and whether it was late."""
    return [(e.stored.key, e.is_late) for e in effects if isinstance(e, ReportPending)]


def test_other_channels_are_given_every_report_once():
    """At the start what is owed, then what is saved; without its tag in clear, and not a replay."""
    delivery = ReportDelivery(personal_data=False, salt=SALT, channels=("plant",))
    first = list(delivery.opened([row(1)], 0.0))
    assert pending(first) == [(f"{ONE}-1", True)]
    assert first[0].stored.report.auth.startswith("sha256:")
    assert pending(delivery.opened([row(1)], 0.0)) == []
    assert pending(delivery.saved(row(2), True, 0.0)) == [(f"{ONE}-2", False)]
    assert pending(delivery.saved(row(2), False, 0.0)) == []

    assert pending(delivery.replay([row(1), row(2)], 0.0)) == []
    assert pending(ReportDelivery(personal_data=False, salt=SALT).opened([row(1)], 0.0)) == []


def test_a_report_is_settled_when_every_channel_has_delivered_it():
    """A consumer's word alone does not do; nor does the channel's."""
    desk = Desk(channels=("plant",))
    desk.save(row(1))
    assert desk.taken([ReportAck(f"{ONE}-1", 1)]) == []
    assert desk.delivery.unsettled == 1
    settled = list(desk.delivery.delivered("plant", [(f"{ONE}-1", 1)]))
    assert settled == [SettleReports(((f"{ONE}-1", 1),))]

    assert desk.delivery.unsettled == 0
    desk.save(row(2))
    assert list(desk.delivery.delivered("plant", [(f"{ONE}-2", 1)])) == []
    assert desk.taken([ReportAck(f"{ONE}-2", 1)]) == [SettleReports(((f"{ONE}-2", 1),))]


def test_a_report_that_nobody_subscribes_to_is_kept_for_its_channel():
    """It is settled by that one."""
    desk = Desk(connected=False)
    desk.delivery = ReportDelivery(personal_data=False, salt=SALT, channels=("plant",))
    desk.take(desk.delivery.opened([], desk.now_s, has_consumer=False))
    desk.reconnect()
    desk.save(row(1))
    assert desk.ack(desk.sent[-1], 16) == []

    settled = list(desk.delivery.delivered("plant", [(f"{ONE}-1", 1)]))
    assert settled == [SettleReports(((f"{ONE}-1", 1),))]
